"""The folders that variants train on."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ablation.data import first_photographs
from benchmarks.cameras import SCHEME_68
from nerfgen_ns.cameras.alignment import rotation_errors
from nerfgen_ns.cameras.projection import Cameras, homogeneous, project
from nerfgen_ns.cameras.trajectories import look_at_origin
from nerfgen_ns.errors import UsageError
from nerfgen_ns.evaluation.comparisons import read_views


@pytest.fixture
def seen_from_known_cameras(tmp_path: Path) -> Path:
    """Twenty-four photographs of one shape of 68 landmarks, which is symmetric, and no image files."""
    random = np.random.default_rng(0)
    partners = SCHEME_68.mirror_partners
    assert partners is not None
    shape = random.normal(size=(68, 3)) * [0.1, 0.12, 0.06] + SCHEME_68.center
    shape = (shape + shape[partners] * [-1, 1, 1]) / 2
    matrices = look_at_origin(random.normal(size=(24, 2)) * [20, 8], 2.7).double().numpy()
    frames = []
    cameras = Cameras.from_camera_to_world(matrices, np.full(24, 268.8), np.full((24, 2), 64.0))
    for place, landmarks in enumerate(project(cameras, shape)):
        frames.append(
            {
                "file_path": f"images/{place}.png",
                "transform_matrix": homogeneous(matrices[place]).tolist(),
                "landmarks2d": landmarks.tolist(),
                "identity": place,
            }
        )
    shared = {"fl_x": 268.8, "fl_y": 268.8, "cx": 64.0, "cy": 64.0, "w": 128, "h": 128}
    (tmp_path / "transforms.json").write_text(json.dumps({**shared, "frames": frames}))
    return tmp_path


def test_fewer_photographs_are_the_first_of_more(small_heads: Path, tmp_path: Path) -> None:
    two = first_photographs(small_heads / "train", 2, tmp_path / "two")
    three = first_photographs(small_heads / "train", 3, tmp_path / "three")
    assert [view.identity for view in read_views(two)] == [0, 1]
    assert [view.path for view in read_views(three)][:2] == [view.path for view in read_views(two)]
    assert all(view.depth is not None for view in read_views(two))


def test_more_photographs_than_there_are_is_a_wrong_call(small_heads: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"/train: .*\b4\b.*\b5\b"):
        first_photographs(small_heads / "train", 5, tmp_path / "five")


def test_true_cameras_stay_and_exact_landmarks_bring_back_nearly_the_same(
    seen_from_known_cameras: Path, tmp_path: Path
) -> None:
    def frames(name: str, cameras: str) -> list[dict]:
        folder = first_photographs(seen_from_known_cameras, 20, tmp_path / name, cameras)  # type: ignore[arg-type]
        return json.loads((folder / "transforms.json").read_text())["frames"]

    given = json.loads((seen_from_known_cameras / "transforms.json").read_text())["frames"][:20]
    matrices = [frame["transform_matrix"] for frame in given]
    assert [frame["transform_matrix"] for frame in frames("true", "true")] == matrices
    fitted = frames("fitted", "exact landmarks")
    assert [frame["true_transform_matrix"] for frame in fitted] == matrices
    found = np.array([frame["transform_matrix"] for frame in fitted])
    assert not np.allclose(found, matrices)
    assert np.median(rotation_errors(found, np.array(matrices))) < 1.0


def test_cameras_from_landmarks_that_are_not_there_is_a_wrong_call(small_heads: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="landmarks2d"):
        first_photographs(small_heads / "train", 3, tmp_path / "fitted", "exact landmarks")
