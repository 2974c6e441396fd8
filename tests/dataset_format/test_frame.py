"""A frame: its camera, that of the photograph it was cropped from, and its files."""

from pathlib import Path

import numpy as np
import pytest
from nerfstudio.cameras.cameras import Cameras
from scipy.spatial.transform import Rotation

from nerfgen_ns.cameras.projection import project
from nerfgen_ns.cameras.trajectories import look_at_origin
from nerfgen_ns.dataset_format.frame import Frame
from tests.helpers.frames import some_frame

POINTS = np.random.default_rng(0).normal(size=(9, 3)) * 0.3


def test_the_camera_projects_as_the_contract_of_the_folder_says() -> None:
    frame = some_frame(fl_x=300.0, cx=60.0, cy=66.0)
    local = (POINTS - frame.transform_matrix[:3, 3]) @ frame.transform_matrix[:3, :3]
    u = 60.0 + 300.0 * local[:, 0] / -local[:, 2]
    v = 66.0 - 300.0 * local[:, 1] / -local[:, 2]
    np.testing.assert_allclose(project(frame.camera, POINTS)[0], np.stack([u, v], axis=1))


@pytest.mark.parametrize("degrees", [0.0, 17.0, -120.0])
def test_a_crop_is_taken_back(degrees: float) -> None:
    photograph, scale = some_frame(fl_x=300.0, cx=0.0, cy=0.0), 1.8
    angle = np.radians(degrees)
    linear = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    # The crop's camera shows each point where the photograph's point goes.
    expected = project(photograph.camera, POINTS)[0] @ linear.T
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", -angle).as_matrix()
    crop = some_frame(
        fl_x=300.0 * scale,
        cx=0.0,
        cy=0.0,
        transform_matrix=photograph.transform_matrix @ turn,
        photograph_to_crop=np.column_stack([linear, [3.0, 4.0]]),
    )
    np.testing.assert_allclose(project(crop.camera, POINTS)[0], expected)
    found, focal = crop.photograph_camera()
    np.testing.assert_allclose(found, photograph.transform_matrix, atol=1e-9)
    assert focal == pytest.approx(300.0)
    np.testing.assert_array_equal(photograph.photograph_camera()[0], photograph.transform_matrix)


def test_a_frame_of_nerfstudio_s_camera_has_all_of_it() -> None:
    pose = look_at_origin(np.array([[25.0, -10.0]]), 2.5)
    camera = Cameras(pose, fx=10.0, fy=12.0, cx=4.5, cy=3.0, width=8, height=6)
    frame = Frame.of_camera("images/a.png", camera, identity=3)
    assert frame.to_json() == {
        "file_path": "images/a.png",
        "transform_matrix": [*pose[0].double().tolist(), [0.0, 0.0, 0.0, 1.0]],
        **{"fl_x": 10.0, "fl_y": 12.0, "cx": 4.5, "cy": 3.0, "w": 8, "h": 6},
        "identity": 3,
    }


def test_the_same_camera_knows_nothing_of_the_photograph() -> None:
    frame = some_frame(distortion={"k1": 0.1}, role="query", source="a.jpg", depth_path="depth/a.npz")
    other = frame.same_camera("images/b.png", identity="b")
    assert (other.role, other.source, other.depth_path, other.identity) == (None, None, None, "b")
    assert other.distortion == {"k1": 0.1} and other.fl_x == frame.fl_x
    np.testing.assert_array_equal(other.transform_matrix, frame.transform_matrix)


def test_files_are_named_from_the_root_or_in_their_shortest_form(tmp_path: Path) -> None:
    frame = some_frame(file_path="./images//a.png", depth_path="depth/a.npz", mask_path="/mattes/a.png")
    assert frame.files == ["images/a.png", "/mattes/a.png", "depth/a.npz"]
    named = frame.with_files_of(tmp_path)
    assert [Path(name) for name in named.files] == [
        tmp_path / "images/a.png",
        Path("/mattes/a.png"),
        tmp_path / "depth/a.npz",
    ]


def test_the_true_camera_is_the_frame_s_own_unless_it_is_told() -> None:
    frame = some_frame()
    np.testing.assert_array_equal(frame.true_camera, frame.transform_matrix)
    np.testing.assert_array_equal(some_frame(true_transform_matrix=2 * np.eye(4)).true_camera, 2 * np.eye(4))
