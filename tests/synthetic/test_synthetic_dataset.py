"""Folders of embedded classes: whole or absent, the same every time, and true to their own truth."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.synthetic import dataset
from nerfgen_ns.synthetic.dataset import write_dataset


@pytest.fixture(scope="module")
def train_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("heads") / "train", identities=3, size=32)


@pytest.fixture(scope="module")
def test_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("heads") / "test", identities=2, views=3, size=32)


def _frames(folder: Path) -> list[dict]:
    return json.loads((folder / "transforms.json").read_text())["frames"]


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _project(points: np.ndarray, frame: dict) -> np.ndarray:
    """Project as the contract of the folder says, with nothing of the product."""
    pose = np.array(frame["transform_matrix"])
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    u = frame["cx"] + frame["fl_x"] * local[:, 0] / -local[:, 2]
    v = frame["cy"] - frame["fl_y"] * local[:, 1] / -local[:, 2]
    return np.stack([u, v], axis=1)


def test_landmarks_are_the_3d_landmarks_seen_by_the_written_camera(train_dir: Path, test_dir: Path) -> None:
    for frame in _frames(train_dir) + _frames(test_dir):
        projected = _project(np.array(frame["landmarks3d"]), frame)
        np.testing.assert_allclose(projected, frame["landmarks"], atol=1e-3)
        assert frame["transform_matrix"] == frame["true_transform_matrix"]
        assert set(frame["landmarks_visible"]) <= {0, 1}


def test_canonical_landmarks_are_the_mean_and_pairs_mirror(train_dir: Path) -> None:
    canonical = json.loads((train_dir / "canonical_landmarks.json").read_text())
    points = np.array(canonical["landmarks"])
    assert 30 <= len(points) == len(canonical["names"]) <= 70
    np.testing.assert_allclose(
        points, np.mean([f["landmarks3d"] for f in _frames(train_dir)], axis=0), atol=1e-5
    )
    for left, right in canonical["pairs"]:
        np.testing.assert_allclose(points[left], points[right] * [-1, 1, 1], atol=1e-5)
        assert canonical["names"][left].replace("_left", "_right") == canonical["names"][right]


def test_reprojection_error_is_that_of_the_canonical_landmarks(train_dir: Path) -> None:
    canonical = np.array(json.loads((train_dir / "canonical_landmarks.json").read_text())["landmarks"])
    for frame in _frames(train_dir):
        offsets = _project(canonical, frame) - frame["landmarks"]
        assert frame["reprojection_rmse"] == pytest.approx(np.sqrt((offsets**2).sum(1).mean()), abs=1e-3)
        assert 0 < frame["reprojection_rmse"] < 2


def test_files_have_the_promised_form(train_dir: Path) -> None:
    for frame in _frames(train_dir):
        image, matte, labels = (
            Image.open(train_dir / frame[key]) for key in ("file_path", "mask_path", "semantic_path")
        )
        assert (image.mode, matte.mode, labels.mode) == ("RGB", "L", "L")
        assert image.size == matte.size == labels.size == (frame["w"], frame["h"]) == (32, 32)
        depth = np.load(train_dir / frame["depth_path"])["depth"]
        assert depth.dtype == np.float16 and depth.shape == (32, 32)
        np.testing.assert_array_equal(np.isfinite(depth), np.asarray(labels) > 0)


def test_to_train_on_cars_there_are_images_and_cameras_alone(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "train", identities=3, size=32, class_name="cars")
    assert sorted(path.name for path in folder.iterdir()) == [
        "canonical_landmarks.json",
        "images",
        "transforms.json",
    ]
    for frame in _frames(folder):
        assert not {"mask_path", "depth_path", "semantic_path"} & frame.keys()
        image = np.asarray(Image.open(folder / frame["file_path"]))
        assert (image[[0, -1]] == 255).all() and (image < 255).any()
        np.testing.assert_allclose(
            _project(np.array(frame["landmarks3d"]), frame), frame["landmarks"], atol=1e-3
        )


def test_to_judge_cars_there_is_the_truth_as_well(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "test", identities=1, views=2, size=32, class_name="cars")
    assert json.loads((folder / "transforms.json").read_text())["class_name"] == "cars"
    for frame in _frames(folder):
        image, matte = (np.asarray(Image.open(folder / frame[key])) for key in ("file_path", "mask_path"))
        assert (image[matte == 0] == 255).all()
        depth = np.load(folder / frame["depth_path"])["depth"]
        assert np.isfinite(depth[matte == 255]).all() and np.isinf(depth[matte == 0]).all()


def test_roles_and_identities_of_training_and_test_folders(train_dir: Path, test_dir: Path) -> None:
    assert [(f["identity"], f["role"]) for f in _frames(train_dir)] == [(i, "train") for i in range(3)]
    roles = ["query", "target", "target"]
    assert [(f["identity"], f["role"]) for f in _frames(test_dir)] == [
        (i, r) for i in range(2) for r in roles
    ]


def test_a_test_folder_shows_the_training_heads_from_new_views(train_dir: Path, test_dir: Path) -> None:
    train, test = _frames(train_dir), _frames(test_dir)
    for frame in test:
        assert frame["landmarks3d"] == train[frame["identity"]]["landmarks3d"]
        assert frame["yaw"] != train[frame["identity"]]["yaw"]


def test_the_first_identity_counts_on(train_dir: Path, tmp_path: Path) -> None:
    later = _frames(write_dataset(tmp_path / "later", identities=1, size=32, first_identity=2))
    assert later[0]["identity"] == 2
    assert later[0]["landmarks3d"] == _frames(train_dir)[2]["landmarks3d"]


def test_the_same_seed_writes_the_same_bytes(train_dir: Path, tmp_path: Path) -> None:
    assert _contents(write_dataset(tmp_path / "again", identities=3, size=32)) == _contents(train_dir)


def test_a_folder_with_the_same_options_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_dataset(tmp_path / "heads", identities=1, size=16)
    monkeypatch.setattr(dataset, "_write_folder", lambda *_: pytest.fail("rendered again"))
    assert write_dataset(folder, identities=1, size=16) == folder


def test_a_folder_with_other_contents_is_refused_and_kept(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "heads", identities=1, size=16)
    before = _contents(folder)
    with pytest.raises(UsageError, match="/heads: "):
        write_dataset(folder, identities=1, size=16, seed=1)
    with pytest.raises(UsageError, match="/heads: "):
        write_dataset(folder, identities=1, size=16, class_name="cars")
    assert _contents(folder) == before


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "heads").mkdir()
    assert len(_frames(write_dataset(tmp_path / "heads", identities=1, size=16))) == 1


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def interrupt(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type,return-value]

    original = dataset._write_frame
    monkeypatch.setattr(dataset, "_write_frame", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "heads", identities=3, size=16)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NerfgenError, match="file/heads"):
        write_dataset(tmp_path / "file" / "heads", identities=1, size=16)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"identities": 0}, "0 identities"),
        ({"views": 0}, "0 views"),
        ({"size": 8}, " 8 pixels"),
        ({"seed": -1}, "seed -1"),
        ({"first_identity": -1}, "first identity -1"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, int], named: str) -> None:
    with pytest.raises(UsageError, match=f"/heads: .*{named}"):
        write_dataset(tmp_path / "heads", **({"identities": 1} | wrong))
    assert list(tmp_path.iterdir()) == []


def test_the_module_writes_a_folder_from_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nerfgen_ns.synthetic", "--output-dir", str(tmp_path / "heads")]
    done = subprocess.run([*command, "--identities", "2", "--size", "16"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(_frames(tmp_path / "heads")) == 2
    again = subprocess.run([*command, "--identities", "3"], capture_output=True, text=True)
    assert again.returncode == 2 and str(tmp_path / "heads") in again.stderr
