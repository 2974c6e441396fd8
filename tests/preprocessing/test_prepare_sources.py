"""`prepare` from every source of landmarks, mattes, identities and cameras, on heads rendered for it."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from nerfgen_ns.cameras.projection import project
from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
from nerfgen_ns.dataset_format.columns import open_landmarks
from nerfgen_ns.dataset_format.transforms import stream_frames
from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing import workers as capture_pool
from nerfgen_ns.preprocessing.prepare import PrepareConfig, prepare, prepare_shard
from nerfgen_ns.preprocessing.prepared_folder import Shard
from nerfgen_ns.synthetic.dataset import write_dataset
from nerfgen_ns.synthetic.head_surface import NAMES, PAIRS
from nerfgen_ns.utils.files import read_json

COUNT, SIDE = 16, 64
FIVE = {
    "left_eye": "pupil_left",
    "right_eye": "pupil_right",
    "nose": "nose_tip",
    "mouth_left": "mouth_corner_left",
    "mouth_right": "mouth_corner_right",
}


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """The folder of rendered heads, and their frames with the truth."""
    folder = write_dataset(tmp_path_factory.mktemp("heads") / "train", COUNT, size=SIDE)
    return folder, read_json(folder / "transforms.json")["frames"]


@pytest.fixture
def photographs(heads, tmp_path):
    """The images alone."""
    folder, _ = heads
    shutil.copytree(folder / "images", tmp_path / "photographs")
    return tmp_path / "photographs"


@pytest.fixture(scope="module")
def five(heads, tmp_path_factory):
    """A folder prepared with five landmarks of each head, which tests must leave as it is: its report, the
    photographs, the file of landmarks."""
    folder, frames = heads
    made = tmp_path_factory.mktemp("five")
    shutil.copytree(folder / "images", made / "photographs")
    landmarks = write_five(made / "five.csv", frames)
    return prepare(options(made / "photographs", made, landmarks=landmarks)), made / "photographs", landmarks


def image_of(frame):
    return Path(frame["file_path"]).name


def write_five(path, frames):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "landmark", "x", "y"])
        for frame in frames:
            for name, full_name in FIVE.items():
                rows.writerow([image_of(frame), name, *frame["landmarks"][NAMES.index(full_name)]])
    return path


def frames_of(folder):
    return read_json(folder / "transforms.json")["frames"]


def rotation_errors(prepared, frames):
    """Degrees between fitted and true cameras of the photographs, and by how much all are turned alike."""
    true = {image_of(frame): np.array(frame["true_transform_matrix"])[:3, :3] for frame in frames}
    turns = []
    for frame in frames_of(prepared):
        linear = np.array(frame["photograph_to_crop"])[:, :2]
        roll = np.eye(3)
        roll[:2, :2] = linear / np.hypot(*linear[:, 0]) * [[1, -1], [-1, 1]]
        turns.append(true[frame["source"]] @ (np.array(frame["transform_matrix"])[:3, :3] @ roll).T)
    rotations = Rotation.from_matrix(np.array(turns))
    gauge = rotations.mean()
    return np.degrees((gauge.inv() * rotations).magnitude()), np.degrees(gauge.magnitude())


def options(photographs, tmp_path, name="out", **changes):
    usual = {"size": 48, "workers": 1, "mattes": "none"}
    return PrepareConfig(data=photographs, output_dir=tmp_path / name, **usual | changes)


def test_five_landmarks_in_a_csv_file_make_cameras_near_the_true_ones(heads, five):
    _, frames = heads
    report, _, _ = five
    assert report.accepted == report.identities == COUNT and not report.rejected
    folder = report.path.parent
    errors, gauge = rotation_errors(folder, frames)
    assert np.median(errors) < 7 and gauge < 7
    made = frames_of(folder)
    assert all("mask_path" not in frame for frame in made)
    positions = np.array([np.array(frame["transform_matrix"])[:3, 3] for frame in made])
    assert (positions[:, 2] > 0).all()
    canonical = read_json(folder / "canonical_landmarks.json")
    assert canonical["names"] == list(FIVE) and canonical["mirror_partners"] == [1, 0, 2, 4, 3]
    assert "report.html" in str(report.page) and report.page.stat().st_size > 10_000
    parsed = NerfgenDataParserConfig(data=folder).setup().get_dataparser_outputs("train")
    assert len(parsed.image_filenames) == COUNT


def test_reprojections_of_the_stored_shape_have_the_stored_error(heads, photographs, tmp_path):
    from nerfgen_ns.preprocessing.report.prepare_report import ClassShape

    _, frames = heads
    value = {image_of(frame): frame["landmarks"] for frame in frames}
    path = tmp_path / "all.json"
    path.write_text(json.dumps({"names": NAMES, "pairs": PAIRS, "images": value}))
    prepare(options(photographs, tmp_path, landmarks=path))
    shape = ClassShape.of(read_json(tmp_path / "out/canonical_landmarks.json"))
    landmarks = open_landmarks(tmp_path / "out")
    for place, frame in stream_frames(tmp_path / "out"):
        points = shape.mean + np.tensordot(frame.coefficients, shape.basis, axes=1)
        offsets = project(frame.camera, points)[0] - landmarks[place]
        rmse = np.sqrt((offsets**2).sum(axis=1).mean())
        assert rmse == pytest.approx(frame.reprojection_rmse, abs=0.01)
    errors, gauge = rotation_errors(tmp_path / "out", frames)
    assert np.median(errors) < 3 and gauge < 7


def test_missing_landmarks_and_confidences_in_a_json_file(heads, photographs, tmp_path):
    _, frames = heads
    images = {}
    for place, frame in enumerate(frames):
        points = [list(point) for point in frame["landmarks"]]
        confidence = [1.0] * len(points)
        points[place] = None
        confidence[place + 1] = 0.25
        images[image_of(frame)] = {"landmarks": points, "confidence": confidence}
    images[image_of(frames[0])]["landmarks"][3:] = [None] * (len(NAMES) - 3)
    del images[image_of(frames[1])]
    path = tmp_path / "some.json"
    path.write_text(json.dumps({"names": NAMES, "images": images}))
    report = prepare(options(photographs, tmp_path, landmarks=path))
    reasons = {rejection.source: rejection.reason for rejection in report.rejected}
    assert reasons == {
        image_of(frames[0]): f"only 2 of its {len(NAMES)} landmarks are known",
        image_of(frames[1]): "it has no landmarks",
    }
    landmarks = open_landmarks(tmp_path / "out")
    assert landmarks.shape == (COUNT - 2, len(NAMES), 2)
    for row, place in enumerate(range(2, COUNT)):
        missing = np.isnan(landmarks[row]).all(axis=1)
        assert np.flatnonzero(missing).tolist() == [place]
    errors, gauge = rotation_errors(tmp_path / "out", frames)
    assert np.median(errors) < 3 and gauge < 7


def test_mattes_come_from_a_folder_an_alpha_channel_or_a_solid_background(heads, five, tmp_path):
    folder, frames = heads
    _, photographs, landmarks = five
    (tmp_path / "cut out").mkdir()
    (tmp_path / "green").mkdir()
    for frame in frames:
        with (
            Image.open(folder / frame["file_path"]) as image,
            Image.open(folder / frame["mask_path"]) as matte,
        ):
            image.putalpha(matte)
            image.save(tmp_path / "cut out" / image_of(frame))
            background = Image.new("RGB", image.size, (0, 255, 0))
            background.paste(image, mask=matte)
            background.save(tmp_path / "green" / image_of(frame))
    sources = {
        "folder": options(
            photographs, tmp_path, "folder", landmarks=landmarks, mattes="folder",
            matte_folder=folder / "mattes",
        ),
        "alpha": options(tmp_path / "cut out", tmp_path, "alpha", landmarks=landmarks, mattes="alpha"),
        "background": options(
            tmp_path / "green", tmp_path, "background", landmarks=landmarks, mattes="background",
            background_color=(0, 255, 0),
        ),
    }  # fmt: skip
    mattes = {}
    for name, config in sources.items():
        assert prepare(config).accepted == COUNT
        paths = [config.output_dir / frame["mask_path"] for frame in frames_of(config.output_dir)]
        mattes[name] = np.array([np.asarray(Image.open(path)) for path in paths])
    np.testing.assert_array_equal(mattes["folder"], mattes["alpha"])
    assert (np.abs(mattes["folder"] / 255 - mattes["background"] / 255) < 0.5).mean() > 0.95


def test_a_photograph_whose_landmarks_no_camera_explains_is_rejected(heads, photographs, tmp_path):
    _, frames = heads
    value = {image_of(frame): frame["landmarks"] for frame in frames}
    odd = image_of(frames[7])
    value[odd] = np.random.default_rng(0).permutation(value[odd]).tolist()
    path = tmp_path / "all.json"
    path.write_text(json.dumps({"names": NAMES, "pairs": PAIRS, "images": value}))
    report = prepare(options(photographs, tmp_path, landmarks=path))
    ((source, reason, mend),) = [(r.source, r.reason, r.mend) for r in report.rejected]
    assert (source, reason) == (odd, "no camera explains where its landmarks are") and mend
    made = frames_of(tmp_path / "out")
    assert [frame["identity"] for frame in made] == list(range(COUNT - 1))
    assert odd not in [frame["source"] for frame in made]


def test_photographs_of_one_object_share_identity_and_shape(heads, photographs, tmp_path):
    _, frames = heads
    path = tmp_path / "all.json"
    value = {image_of(frame): frame["landmarks"] for frame in frames}
    value["torn.png"] = frames[0]["landmarks"]
    (photographs / "torn.png").write_bytes(b"no image")
    path.write_text(json.dumps({"names": NAMES, "images": value}))
    identity = tmp_path / "identity.csv"
    identity.write_text(
        "image,identity\ntorn.png,z\n" + "".join(f"{image_of(frame)},a\n" for frame in frames[3:6:2])
    )
    report = prepare(options(photographs, tmp_path, landmarks=path, identity=identity))
    made = frames_of(tmp_path / "out")
    assert [frame["identity"] for frame in made] == [0, 1, 2, 3, 4, 3, *range(5, COUNT - 1)]
    assert made[3]["coefficients"] == made[5]["coefficients"]
    assert (report.accepted, report.identities, len(report.rejected)) == (COUNT, COUNT - 1, 1)


def test_aligned_photographs_are_taken_whole(heads, photographs, tmp_path):
    folder, frames = heads
    landmarks = write_five(tmp_path / "five.csv", frames)
    prepare(options(photographs, tmp_path, landmarks=landmarks, aligned=True, size=SIDE))
    for frame, made in zip(frames, frames_of(tmp_path / "out"), strict=True):
        own = tmp_path / "out" / made["file_path"]
        with Image.open(folder / frame["file_path"]) as one, Image.open(own) as other:
            np.testing.assert_array_equal(np.asarray(one.convert("RGB")), np.asarray(other))
        assert (made["cx"], made["cy"]) == (SIDE / 2, SIDE / 2)


@pytest.mark.parametrize("mode", ["shared", "per-image"])
def test_the_focal_length_may_be_estimated(heads, photographs, tmp_path, mode):
    _, frames = heads
    path = tmp_path / "all.json"
    value = {image_of(frame): frame["landmarks"] for frame in frames}
    path.write_text(json.dumps({"names": NAMES, "pairs": PAIRS, "images": value}))
    prepare(options(photographs, tmp_path, landmarks=path, focal=2.3, focal_mode=mode))
    made = frames_of(tmp_path / "out")
    focal = np.array([frame["fl_x"] for frame in made])
    assert (np.ptp(focal) > 0) == (mode == "per-image")
    scale = [np.hypot(*np.array(frame["photograph_to_crop"])[:, 0]) for frame in made]
    assert np.median(focal / scale) == pytest.approx(frames[0]["fl_x"], rel=0.3)
    canonical = read_json(tmp_path / "out/canonical_landmarks.json")
    assert canonical["focal"] == pytest.approx(np.median(focal) / 48, abs=1e-5)


def test_photographs_with_a_landmark_file_are_fitted_into_a_class_that_exists(heads, five, tmp_path):
    _, frames = heads
    report, photographs, _ = five
    known = frames_of(report.path.parent)[4]
    (tmp_path / "one").mkdir()
    shutil.copy(photographs / known["source"], tmp_path / "one")
    one = write_five(tmp_path / "one.csv", [frames[4]])
    canonical = report.path.with_name("canonical_landmarks.json")
    config = options(tmp_path / "one", tmp_path, "new", landmarks=one, canonical_landmarks=canonical)
    prepare(config)
    (frame,) = frames_of(tmp_path / "new")
    turn = np.array(frame["transform_matrix"])[:3, :3].T @ np.array(known["transform_matrix"])[:3, :3]
    assert np.degrees(Rotation.from_matrix(turn).magnitude()) < 3
    value = read_json(canonical)
    assert read_json(tmp_path / "new/canonical_landmarks.json")["landmarks"] == value["landmarks"]
    value["names"] = value["names"][::-1]
    (tmp_path / "other.json").write_text(json.dumps(value))
    config.canonical_landmarks = tmp_path / "other.json"
    with pytest.raises(UsageError, match=r"other\.json: .* 5 .*\(mouth_right, "):
        prepare(config)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_landmarks_of_a_file_in_shards_and_in_workers_give_the_same_bytes(five, tmp_path, monkeypatch):
    report, photographs, given = five
    landmarks = shutil.copy2(given, tmp_path / "five.csv")
    for number in (2, 1):
        shard = prepare_shard(options(photographs, tmp_path, landmarks=landmarks), Shard(number, 2))
        assert shard.captured == COUNT // 2
    monkeypatch.setattr(capture_pool, "capture_many", None)
    prepare(options(photographs, tmp_path, landmarks=landmarks))
    assert contents(tmp_path / "out") == contents(report.path.parent)
    with landmarks.open("a") as file:
        file.write("00000.png,left_eye,1,1\n")
    before = contents(tmp_path / "out")
    with pytest.raises(UsageError, match=r"five.csv: row \d+: .* left_eye: .*row 2"):
        prepare(options(photographs, tmp_path, landmarks=landmarks))
    assert contents(tmp_path / "out") == before
