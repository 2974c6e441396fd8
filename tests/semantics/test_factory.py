"""`nerfgen factory`: what the formats' own libraries read, whether it agrees, and how a data set is made."""

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.data.utils.data_utils import get_depth_image_from_path
from PIL import Image

from nerfgen_ns.cameras.projection import Cameras, project, z_depths
from nerfgen_ns.class_model import ClassModel
from nerfgen_ns.dataset_format.label_maps import Legend
from nerfgen_ns.dataset_format.transforms import read_transforms
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.evaluation.folders import open_test_folder
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.pack import HEADS
from nerfgen_ns.semantics import factory_formats
from nerfgen_ns.semantics.config import FactoryConfig
from nerfgen_ns.semantics.label_training import with_labels
from tests.helpers.labeled_runs import FEW

COUNT, VIEWS, SIZE = 5, 2, 24
FORMATS = ("webdataset", "coco", "nerfstudio")


def config_of(kind: str, **options: Any) -> FactoryConfig:
    known: dict[str, Any] = {"count": COUNT, "views": VIEWS, "size": SIZE, "images_per_tar": VIEWS}
    return FactoryConfig(format=kind, **{**known, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def labeled() -> ClassModel:
    """The heads that ship, with landmarks, whose upper and lower halves have labels."""
    shipped = load_run(HEADS)
    landmarks = {
        "landmarks": [[0.0, 0.0, 0.35], [0.1, 0.1, 0.3], [0.0, 0.0, -0.5]],
        "names": ["nose", "eye", "nape"],
    }
    run = replace(shipped, record=replace(shipped.record, canonical_landmarks=landmarks))
    maps = {}
    for number in (0, 1):
        camera = run.cameras[number : number + 1]
        inside = run.render(run.code(int(run.record.rows[number])), camera)["accumulation"][..., 0] > 0.5
        rows = torch.arange(len(inside))[:, None]
        maps[number] = torch.where(inside, 1 + (rows > len(inside) / 2).long(), 0).numpy().astype(np.uint8)
    return ClassModel(with_labels(run, maps, Legend.of_names(["background", "upper", "lower"]), FEW))


@pytest.fixture(scope="module")
def made(labeled: ClassModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A data set in each format, which tests must leave as it is."""
    folder = tmp_path_factory.mktemp("factory")
    for kind in FORMATS:
        report = labeled.factory(folder / kind, config_of(kind))
        assert (report.images, report.objects, report.unfinished) == (COUNT, 3, 0)
    return {kind: folder / kind for kind in FORMATS}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def camera_of(frame: dict[str, Any]) -> Cameras:
    return Cameras.from_camera_to_world(
        np.array([frame["transform_matrix"]]),
        np.array([[frame["fl_x"], frame["fl_y"]]]),
        np.array([[frame["cx"], frame["cy"]]]),
    )


def read_points(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    from plyfile import PlyData

    (vertex,) = PlyData.read(BytesIO(content)).elements
    return np.stack([vertex[axis] for axis in "xyz"], axis=-1), np.array(vertex["label"])


def check_points(frame: dict[str, Any], depth: np.ndarray, labels: np.ndarray, cloud: bytes) -> None:
    """Compare the points of an object with the depth and the labels of one of its images."""
    points, of_points = read_points(cloud)
    camera = camera_of(frame)
    pixels, own = np.floor(project(camera, points)[0]).astype(int), z_depths(camera, points)[0]
    inside = ((pixels >= 0) & (pixels < SIZE)).all(axis=1)
    pixels, own, of_points = pixels[inside], own[inside], of_points[inside]
    shown = depth[pixels[:, 1], pixels[:, 0]]
    known = np.isfinite(shown)
    assert known.mean() > 0.85
    # A point may be behind what is seen, and hardly ever before it.
    before = own[known] < shown[known] - 0.1
    near = np.abs(own - shown) < 0.1
    assert before.mean() < 0.05 and near.mean() > 0.5
    assert (labels[pixels[:, 1], pixels[:, 0]] == of_points)[near].mean() > 0.8


def test_webdataset_reads_the_tars_and_points_agree_with_depth_and_labels(made: dict[str, Path]) -> None:
    from webdataset import WebDataset

    folder = made["webdataset"]

    def samples(kind: str) -> list[dict[str, Any]]:
        tars = f"{folder}/{kind}-{{000000..000002}}.tar"
        return list(WebDataset(tars, shardshuffle=False).decode("rgb8", partial=True))

    views, objects = samples("views"), samples("objects")
    assert [view["__key__"] for view in views] == [
        f"{k:06d}_{v:02d}" for k, v in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    ]
    for view in views:
        frame, maps = view["json"], view["maps.npz"]
        assert view["image.png"].shape == (SIZE, SIZE, 3) and view["matte.png"].shape[:2] == (SIZE, SIZE)
        np.testing.assert_array_equal(np.isfinite(maps["depth"]), view["matte.png"][..., 0] > 127)
        normals = np.linalg.norm(maps["normals"].astype(float), axis=-1)
        np.testing.assert_allclose(normals, np.isfinite(maps["depth"]), atol=2e-3)
        check_points(frame, maps["depth"], maps["labels"], objects[frame["identity"]]["ply"])
        landmarks = objects[frame["identity"]]["json"]["landmarks3d"]
        assert landmarks == frame["landmarks3d"]
        expected = project(camera_of(frame), np.array(landmarks))[0]
        np.testing.assert_allclose(frame["landmarks2d"], expected, atol=0.01)


def test_nerfstudio_and_our_parser_read_the_frames(made: dict[str, Path]) -> None:
    folder = made["nerfstudio"]
    parser = NerfstudioDataParserConfig(
        data=folder, orientation_method="none", center_method="none", auto_scale_poses=False, eval_mode="all",
        downscale_factor=1,
    ).setup()  # fmt: skip
    outputs = parser.get_dataparser_outputs("train")
    frames = read_transforms(folder).frames
    assert [str(path.relative_to(folder)) for path in outputs.image_filenames] == [
        one.file_path for one in frames
    ]
    poses = torch.tensor(np.stack([frame.transform_matrix[:3] for frame in frames])).float()
    torch.testing.assert_close(outputs.cameras.camera_to_worlds, poses)
    ours = open_test_folder(folder, "made")
    assert ours.labels == ["background", "upper", "lower"]
    assert outputs.mask_filenames is not None
    for number, frame in enumerate(frames):
        own = ours.frames[number]
        assert own.file_path == frame.file_path and own.identity == number // VIEWS
        depth = ours.depth(number)
        given = get_depth_image_from_path(
            outputs.metadata["depth_filenames"][number],
            SIZE,
            SIZE,
            outputs.metadata["depth_unit_scale_factor"],
        )[..., 0]
        torch.testing.assert_close(given, torch.where(depth.isinf(), 0.0, depth), atol=6e-4, rtol=0)
        labels = np.array(Image.open(folder / str(frame.semantic_path)))
        np.testing.assert_array_equal(ours.semantics(number).numpy(), labels)
        cloud = (folder / frame.others["points_path"]).read_bytes()
        check_points(frame.to_json(), depth.numpy(), labels, cloud)


def test_pycocotools_reads_masks_boxes_and_keypoints(made: dict[str, Path]) -> None:
    from pycocotools.coco import COCO

    folder = made["coco"]
    coco = COCO(str(folder / "annotations.json"))
    assert [one["name"] for one in coco.loadCats([1, 2])] == ["upper", "lower"]
    images = coco.loadImgs(coco.getImgIds())
    assert len(images) == COUNT
    for image in images:
        labels = np.array(Image.open(folder / image["semantic_path"]))
        by_category = {one["category_id"]: one for one in coco.imgToAnns[image["id"]]}
        for category, annotation in by_category.items():
            inside = coco.annToMask(annotation) > 0
            with np.load(folder / image["depth_path"]) as arrays:
                depth = arrays["depth"]
            expected = labels == category if category < 3 else np.isfinite(depth)
            np.testing.assert_array_equal(inside, expected)
            left, top, width, height = (int(number) for number in annotation["bbox"])
            assert inside[top : top + height, left : left + width].sum() == annotation["area"] == inside.sum()
            assert inside[:, left].any() and inside[top + height - 1].any()
        assert set(by_category) == {*np.unique(labels[labels > 0]).tolist(), 3}
        assert image["box"] == by_category[3]["bbox"]
        points = np.array(by_category[3]["keypoints"]).reshape(-1, 3)
        seen = points[:, 2] > 0
        assert by_category[3]["num_keypoints"] == seen.sum() > 0
        np.testing.assert_allclose(points[seen, :2], np.array(image["landmarks2d"])[seen])
        assert coco.loadCats([3])[0]["keypoints"] == ["nose", "eye", "nape"]
        assert points[2, 2] == 1, "the nape is hidden"


def test_formats_show_the_same(made: dict[str, Path]) -> None:
    def frames(kind: str) -> dict[str, Any]:
        if kind == "nerfstudio":
            return {Path(one.file_path).stem: one.to_json() for one in read_transforms(made[kind]).frames}
        images = json.loads((made[kind] / "annotations.json").read_text())["images"]
        return {Path(one["file_name"]).stem: one for one in images}

    first, second = frames("nerfstudio"), frames("coco")
    for name, frame in first.items():
        assert frame.items() <= second[name].items()
        one, other = (made[kind] / frame["file_path"] for kind in ("nerfstudio", "coco"))
        assert one.read_bytes() == other.read_bytes()


def test_the_card_says_what_is_there_and_the_schema_holds(made: dict[str, Path]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for kind in FORMATS:
        card = (made[kind] / "README.md").read_text()
        assert (
            f"{COUNT} annotated images" in card and "| 2 | lower |" in card and "--truncation` | 0.8" in card
        )
    schema = json.loads((made["nerfstudio"] / "schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for frame in read_transforms(made["nerfstudio"]).frames:
        entry = json.loads(json.dumps(frame.to_json()))
        assert list(validator.iter_errors(entry)) == []
        assert not validator.is_valid({**entry, "boxes": {"nose": [0, 0, 1, 1]}})


@pytest.mark.parametrize("kind", ["webdataset", "nerfstudio"])
def test_shards_together_make_what_one_call_makes(
    kind: str, labeled: ClassModel, made: dict[str, Path], tmp_path: Path
) -> None:
    first = labeled.factory(tmp_path / "out", config_of(kind), "1/2")
    assert (first.objects, first.unfinished) == (2, 1)
    assert not (tmp_path / "out" / "README.md").exists()
    second = labeled.factory(tmp_path / "out", config_of(kind), "2/2")
    assert (second.objects, second.unfinished) == (1, 0)
    assert contents(tmp_path / "out") == contents(made[kind])


@pytest.mark.parametrize("kind", FORMATS)
def test_a_full_disk_leaves_nothing_half_written_and_the_same_call_continues(
    kind: str, labeled: ClassModel, made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, png = 0, factory_formats.png

    def full(image: np.ndarray) -> bytes:
        nonlocal calls
        calls += 1
        if calls > (5 if kind == "webdataset" else 11):
            raise OSError(errno.ENOSPC, "No space left on device")
        return png(image)

    out = tmp_path / "out"
    monkeypatch.setattr(factory_formats, "png", full)
    with pytest.raises(NerfgenError, match=str(tmp_path)) as raised:
        labeled.factory(out, config_of(kind))
    assert "\n" not in str(raised.value)
    whole, left = contents(made[kind]), contents(out)
    assert left.items() <= whole.items() and len(left) > 1
    monkeypatch.setattr(factory_formats, "png", png)
    report = labeled.factory(out, config_of(kind))
    assert report.images < COUNT and contents(out) == whole
    assert labeled.factory(out, config_of(kind)).images == 0


def test_doubtful_pixels_are_unlabeled(labeled: ClassModel, tmp_path: Path) -> None:
    config = config_of("nerfstudio", count=1, min_confidence=1.0)
    labeled.factory(tmp_path / "out", config)
    (frame,) = read_transforms(tmp_path / "out").frames
    labels = np.array(Image.open(tmp_path / "out" / str(frame.semantic_path)))
    with np.load(tmp_path / "out" / str(frame.depth_path)) as arrays:
        assert (labels[np.isfinite(arrays["depth"])] == 255).all()
    assert frame.others["boxes"] == {} and frame.others["box"] is not None
    _, of_points = read_points((tmp_path / "out" / frame.others["points_path"]).read_bytes())
    assert set(of_points.tolist()) == {255}


def test_a_data_set_can_be_trained_on_again(made: dict[str, Path]) -> None:
    from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig

    outputs = NerfgenDataParserConfig(data=made["nerfstudio"]).setup().get_dataparser_outputs("train")
    assert outputs.cameras.metadata["cam_idx"].flatten().tolist() == [0, 0, 1, 1, 2]


def test_the_command_makes_a_video(
    call_nerfgen: Callable[..., int],
    labeled_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [
        "--load-config",
        labeled_config,
        "--output-dir",
        tmp_path / "out",
        "--count",
        4,
        "--size",
        16,
    ]
    options = ["--format", "nerfstudio", "--views", 4, "--video", "--yaw", -30, 30, "--pitch", 0, 0]
    assert call_nerfgen("factory", *arguments, *options) == 0
    assert str(tmp_path / "out") in capsys.readouterr().out
    places = [frame.transform_matrix[:3, 3] for frame in read_transforms(tmp_path / "out").frames]
    yaws = [np.degrees(np.arctan2(x, z)) for x, _, z in places]
    np.testing.assert_allclose(yaws, [0, 30, 0, -30], atol=1e-3)
    np.testing.assert_allclose([place[1] for place in places], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--shard", "3/2"), "--shard"),
        (("--shard", "half"), "--shard"),
        (("--count", 0), "--count"),
        (("--views", 0), "--views"),
        (("--size", 4), "--size"),
        (("--seed", -1), "--seed"),
        (("--truncation", -1), "--truncation"),
        (("--min-confidence", 2), "--min-confidence"),
        (("--yaw", 30, -30), "--yaw"),
        (("--pitch", 0, 100), "--pitch"),
    ],
)
def test_an_option_that_makes_no_sense_ends_with_one_line_and_nothing_written(
    options: tuple[object, ...],
    named: str,
    call_nerfgen: Callable[..., int],
    labeled_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("--load-config", labeled_config, "--output-dir", tmp_path / "out", *options)
    assert call_nerfgen("factory", *arguments) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_run_without_labels_and_other_folders_end_with_one_line(
    call_nerfgen: Callable[..., int],
    trained_config: Path,
    labeled_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, file = tmp_path / "out", tmp_path / "file"
    assert call_nerfgen("factory", "--load-config", trained_config, "--output-dir", out) == 2
    assert "nerfgen label" in capsys.readouterr().err and not out.exists()
    file.write_text("mine")
    arguments = ("factory", "--load-config", labeled_config, "--output-dir")
    for folder in (file, tmp_path):
        assert call_nerfgen(*arguments, folder) == 2
        error = capsys.readouterr().err
        assert str(folder) in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and file.read_text() == "mine"


def test_a_folder_that_was_begun_with_other_options_stays(
    labeled: ClassModel, made: dict[str, Path], tmp_path: Path
) -> None:
    out = shutil.copytree(made["coco"], tmp_path / "out")
    before = contents(out)
    for options, named in (({"seed": 1}, "--seed"), ({"count": 6}, "--count")):
        with pytest.raises(UsageError, match=named):
            labeled.factory(out, config_of("coco", **options))
    with pytest.raises(UsageError, match="--format"):
        labeled.factory(out, config_of("nerfstudio"))
    (out / "factory.json").write_text("[]")
    with pytest.raises(UsageError, match=r"factory\.json"):
        labeled.factory(out, config_of("coco"))
    assert {**contents(out), "factory.json": before["factory.json"]} == before
