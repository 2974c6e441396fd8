"""A prepared folder as columns of numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfgen_ns.dataset_format.columns import camera_angles, read_overview
from nerfgen_ns.dataset_format.transforms import stream_frames
from nerfgen_ns.errors import UsageError

HEADS = Path(__file__).resolve().parents[2] / "../shared/data/heads/train"


def frame(place: int, **more) -> dict:
    entry = {"file_path": f"images/{place:04d}.png", "transform_matrix": np.eye(4).tolist()}
    entry |= {"fl_x": 200.0 + place, "fl_y": 200.0, "cx": 50.0, "cy": 40.0, "w": 100, "h": 80}
    return entry | more


def write(path: Path, frames: list[dict], a_frame_a_line: bool) -> Path:
    head = {"camera_model": "OPENCV", "class_name": "cats"}
    if a_frame_a_line:
        lines = ",\n".join(json.dumps(entry) for entry in frames)
        path.write_text(f'{json.dumps(head)[:-1]}, "frames": [\n{lines}\n]}}\n')
    else:
        path.write_text(json.dumps(head | {"frames": frames}, indent=2))
    return path


def test_angles_of_known_cameras():
    angles = np.array([[0, 0, 0], [30, 0, 0], [0, 20, 0], [0, 0, 10], [-170, 40, -25], [90, -60, 179]], float)
    rotation = Rotation.from_euler("YXZ", angles * [1, -1, 1], degrees=True).as_matrix()
    np.testing.assert_allclose(camera_angles(rotation), angles, atol=1e-9)


def test_angles_are_those_that_rendered_heads_are_labeled_with():
    if not HEADS.exists():
        pytest.skip("the rendered heads are not beside the repository")
    frames = json.loads((HEADS / "transforms.json").read_text())["frames"]
    rotation = np.array([entry["transform_matrix"] for entry in frames])[:, :3, :3]
    labels = [[entry[name] for name in ("yaw", "pitch", "roll")] for entry in frames]
    np.testing.assert_allclose(camera_angles(rotation), labels, atol=1e-3)


@pytest.mark.parametrize("a_frame_a_line", [True, False])
def test_an_overview_is_read_in_either_layout(tmp_path, a_frame_a_line):
    frames = [
        frame(
            0,
            identity=7,
            source="a.jpg",
            mask_path="mattes/0000.png",
            reprojection_rmse=1.5,
            photograph_to_crop=[[0.0, 1.0, 0.0], [-1.0, 0.0, 80.0]],
        ),
        frame(1),
    ]
    path = write(tmp_path / "transforms.json", frames, a_frame_a_line)
    overview = read_overview(tmp_path)
    assert (overview.class_name, len(overview)) == ("cats", 2)
    np.testing.assert_allclose(overview.turn, [-90.0, 0.0])
    assert overview.source == ["a.jpg", "images/0001.png"] and overview.matte == ["mattes/0000.png", None]
    np.testing.assert_allclose(overview.focal, [2.0, 2.01])
    np.testing.assert_array_equal(overview.identity, [7, 1])
    np.testing.assert_array_equal(overview.error, [1.5, np.nan])
    assert [(place, one.to_json()) for place, one in stream_frames(path)] == list(enumerate(frames))
    assert [(place, one.to_json()) for place, one in stream_frames(path, {1})] == [(1, frames[1])]


@pytest.mark.parametrize(
    "broken",
    [
        {"transform_matrix": [[1, 2]]},
        {"fl_x": None},
        {"w": 0, "h": 0},
        {"identity": "anna"},
        {"file_path": "../1.png"},
    ],
)
def test_a_frame_that_is_none_is_named(tmp_path, broken):
    write(tmp_path / "transforms.json", [frame(0), frame(1) | broken], True)
    with pytest.raises(UsageError, match=r"transforms\.json: frame (1|images/0001\.png): "):
        read_overview(tmp_path)


def test_a_folder_that_is_not_prepared_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"transforms\.json"):
        read_overview(tmp_path)
    (tmp_path / "transforms.json").write_text("[1, 2]")
    with pytest.raises(UsageError, match=r'transforms\.json: .*"frames"'):
        read_overview(tmp_path)
