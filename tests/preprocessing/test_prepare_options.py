"""Options of `prepare`: what contradicts what, and which of them belong to collections with known cameras."""

import json
import math
import shutil

import numpy as np
import pytest
import tyro
from PIL import Image

from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.prepare import PrepareConfig, prepare, prepare_shard
from nerfgen_ns.preprocessing.prepared_folder import Shard
from nerfgen_ns.synthetic.dataset import write_dataset
from nerfgen_ns.utils.files import read_json

COUNT, SIDE = 4, 48
POINTS = [[10.0, 10.0], [30.0, 10.0], [20.0, 20.0], [12.0, 30.0], [28.0, 30.0]]


@pytest.fixture(scope="module")
def cars(tmp_path_factory):
    """Rendered cars with their cameras, in nerfstudio's form."""
    folder = tmp_path_factory.mktemp("cars") / "train"
    return write_dataset(folder, COUNT, size=SIDE, class_name="cars")


@pytest.fixture
def photographs(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "photographs").mkdir()
    for name in "abcd":
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photographs/{name}.png")
    return tmp_path / "photographs"


def csv_of(points, images="abcd"):
    rows = [f"{image}.png,{number},{x},{y}" for image in images for number, (x, y) in enumerate(points)]
    return "image,landmark,x,y\n" + "\n".join(rows) + "\n"


def test_focal_is_a_number_on_the_command_line_and_none_by_default():
    arguments = ["--data", "a", "--output-dir", "b"]
    assert tyro.cli(PrepareConfig, args=arguments).focal is None
    config = tyro.cli(PrepareConfig, args=[*arguments, "--focal", "2.1", "--focal-mode", "per-image"])
    assert (config.focal, config.focal_mode) == (2.1, "per-image")
    config = tyro.cli(PrepareConfig, args=[*arguments, "--background-color", "1", "2", "3", "--up=-y"])
    assert config.background_color == (1, 2, 3) and config.up == "-y"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"views": 1}, "--views 1: "),
        ({"up": "+z"}, r"--up \+z: "),
        ({"world_scale": -1.0}, "--world-scale -1.0: "),
        ({"focal": 0.0}, "--focal 0.0: "),
        ({"landmarks": "none.csv"}, "--landmarks .*none.csv: "),
        ({"landmark_model": "nobody"}, "nobody"),
        ({"landmark_model_file": "none.task"}, "--landmark-model-file .*none.task: "),
        ({"identity": "none.csv"}, "--identity .*none.csv: "),
        ({"mattes": "chalk"}, "--mattes chalk: "),
        ({"mattes": "folder"}, "--mattes folder .*--matte-folder"),
        ({"mattes": "folder", "matte_folder": "nowhere"}, "--matte-folder .*nowhere: "),
        ({"background_color": (1, 2, 3)}, "--background-color .*--mattes background"),
        ({"mattes": "background", "background_color": (1, 2, 300)}, "--background-color .*255"),
        ({"mattes": "alpha", "matte_model_file": "photographs/a.png"}, "--matte-model-file .*--mattes alpha"),
        ({"landmarks": "five.csv", "landmark_model": "cats"}, "--landmarks .*--landmark-model"),
        ({"canonical_landmarks": "five.csv"}, "five.csv: .*JSON"),
        ({"canonical_landmarks": "empty.json"}, "empty.json: "),
        ({"canonical_landmarks": "empty.json", "focal_mode": "shared"}, "--focal-mode shared: "),
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_work(photographs, tmp_path, change, named):
    (tmp_path / "five.csv").write_text(csv_of(POINTS))
    (tmp_path / "empty.json").write_text("{}")
    change = {
        name: tmp_path / value if isinstance(value, str) and ("." in value or value == "nowhere") else value
        for name, value in change.items()
    }
    with pytest.raises(UsageError, match=named):
        prepare(PrepareConfig(data=photographs, output_dir=tmp_path / "out", **change))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (csv_of(POINTS).replace("b.png,1,30.0", "b.png,1,nan"), "row 8: 'b.png', landmark 1: .*nan"),
        (csv_of(POINTS) + "a.png,0,1,1\n", "row 22: 'a.png', landmark 0: "),
        (csv_of(POINTS).replace("c.png,2,20.0", "c.png,2,20000"), "row 14: .*20000"),
        (csv_of(POINTS) + "e.png,0,1,1\n", "row 22: .*'e.png'"),
        (csv_of(POINTS).replace("d.png,4,28.0,30.0", "d.png,4,28.0"), "row 21 .*3 "),
    ],
)
def test_a_landmark_file_with_something_wrong_in_it_leaves_everything_as_it_was(
    photographs, tmp_path, text, named
):
    path = tmp_path / "landmarks.csv"
    path.write_text(text)
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match=f"landmarks.csv: {named}"):
        prepare(PrepareConfig(data=photographs, output_dir=tmp_path / "out", landmarks=path))
    assert not any((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("size", "value", "named"),
    [((20, 20), 255, ".*20×20 .*c.png 48×48"), ((48, 48), 0, ".*c.png")],
)
def test_a_matte_of_another_size_or_all_zero_is_named(photographs, tmp_path, size, value, named):
    (tmp_path / "mattes").mkdir()
    for name in "abcd":
        matte = Image.new("L", size if name == "c" else (SIDE, SIDE), value if name == "c" else 255)
        matte.save(tmp_path / f"mattes/{name}.png")
    (tmp_path / "landmarks.csv").write_text(csv_of(POINTS))
    config = PrepareConfig(
        data=photographs,
        output_dir=tmp_path / "out",
        landmarks=tmp_path / "landmarks.csv",
        mattes="folder",
        matte_folder=tmp_path / "mattes",
        aligned=True,
        workers=1,
    )
    with pytest.raises(UsageError, match=f"mattes/c.png: {named}"):
        prepare(config)
    assert not (tmp_path / "out/transforms.json").exists()


def as_srn(cars, folder):
    """SRN's form: z up, objects look to +y, OpenCV cameras."""
    (folder / "pose").mkdir(parents=True)
    shutil.copytree(cars / "images", folder / "rgb")
    frames = read_json(cars / "transforms.json")["frames"]
    for frame in frames:
        matrix = world(frame, (0, 0, 1), (0, 1, 0)) @ np.diag([1.0, -1, -1, 1])
        name = frame["file_path"].removeprefix("images/").removesuffix(".png")
        (folder / f"pose/{name}.txt").write_text(" ".join(map(repr, matrix.ravel().tolist())))
    (folder / "intrinsics.txt").write_text(
        f"{frames[0]['fl_x']} {SIDE / 2} {SIDE / 2} 0.\n0. 0. 0.\n1.\n{SIDE} {SIDE}\n"
    )


def as_blender(cars, folder):
    """Blender's form: z up, objects look to −y."""
    shutil.copytree(cars / "images", folder / "images")
    frames = read_json(cars / "transforms.json")["frames"]
    value = {
        "camera_angle_x": 2 * math.atan(SIDE / 2 / frames[0]["fl_x"]),
        "frames": [
            {
                "file_path": "./" + frame["file_path"].removesuffix(".png"),
                "transform_matrix": world(frame, (0, 0, 1), (0, -1, 0)).tolist(),
            }
            for frame in frames
        ],
    }
    (folder / "transforms.json").write_text(json.dumps(value))


def world(frame, up, forward):
    axes = np.eye(4)
    axes[:3, :3] = np.column_stack([np.cross(up, forward), up, forward])
    return axes @ np.array(frame["transform_matrix"])


@pytest.mark.parametrize("form", ["nerfstudio", "srn", "blender"])
def test_known_cameras_in_every_form_become_the_same_prepared_folder(cars, tmp_path, form):
    data = cars
    if form != "nerfstudio":
        data = tmp_path / "data"
        {"srn": as_srn, "blender": as_blender}[form](cars, data)
    config = PrepareConfig(
        data=data, output_dir=tmp_path / "out", class_name="cars", world_scale=1.0, workers=1
    )
    report = prepare(config)
    true = read_json(cars / "transforms.json")["frames"]
    made = read_json(tmp_path / "out/transforms.json")
    assert made["class_name"] == "cars" and report.accepted == len(made["frames"]) == COUNT
    for frame, truth in zip(made["frames"], true, strict=True):
        np.testing.assert_allclose(frame["transform_matrix"], truth["transform_matrix"], atol=1e-6)
        assert frame["fl_x"] == pytest.approx(truth["fl_x"]) and "mask_path" not in frame
    assert report.median_error is None and report.page.exists()
    assert report.concerns[0].name == "few photographs"
    parsed = NerfgenDataParserConfig(data=tmp_path / "out").setup().get_dataparser_outputs("train")
    assert len(parsed.image_filenames) == COUNT
    assert prepare(config) == report


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"landmark_model": "cats"}, "--landmark-model cats: "),
        ({"size": 64}, "--size 64: "),
        ({"aligned": True}, "--aligned: "),
        ({"focal": 2.1}, "--focal 2.1: "),
        ({"focal_mode": "shared"}, "--focal-mode shared: "),
        ({"up": "+x", "forward": "-x"}, r"\+x.*-x"),
        ({"mattes": "chalk"}, "--mattes chalk: "),
    ],
)
def test_options_of_photographs_are_refused_where_the_cameras_are_known(cars, tmp_path, change, named):
    with pytest.raises(UsageError, match=named):
        prepare(PrepareConfig(data=cars, output_dir=tmp_path / "out", **change))
    assert not (tmp_path / "out").exists()


def test_known_cameras_are_not_divided_into_shards(cars, tmp_path):
    with pytest.raises(UsageError, match="--shard 1/2: "):
        prepare_shard(PrepareConfig(data=cars, output_dir=tmp_path / "out"), Shard(1, 2))


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("transform_matrix", np.full((4, 4), np.nan).tolist(), "frame 2 .*images/00002.png"),
        ("transform_matrix", np.diag([1.0, 1, -1, 1]).tolist(), "frame 2 .*images/00002.png"),
        ("transform_matrix", np.diag([2.0, 1, 1, 1]).tolist(), "frame 2 .*images/00002.png"),
        ("transform_matrix", np.zeros((4, 4)).tolist(), "frame 2 .*images/00002.png"),
        ("fl_x", 0, "frame 2 .*images/00002.png"),
        ("fl_x", -5, "frame 2 .*images/00002.png"),
    ],
)
def test_a_camera_that_cannot_be_one_is_named_by_file_and_frame(cars, tmp_path, key, value, named):
    shutil.copytree(cars, tmp_path / "data")
    transforms = read_json(cars / "transforms.json")
    transforms["frames"][2][key] = value
    (tmp_path / "data/transforms.json").write_text(json.dumps(transforms))
    with pytest.raises(UsageError, match=f"transforms.json: {named}"):
        prepare(PrepareConfig(data=tmp_path / "data", output_dir=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_photographs_beside_a_folder_with_cameras_are_photographs(cars, photographs, tmp_path):
    shutil.copytree(cars, photographs / "cars")
    with pytest.raises(UsageError, match="--views 1: "):
        prepare(PrepareConfig(data=photographs, output_dir=tmp_path / "out", views=1))
