"""Camera paths: where the cameras stand and what they look at."""

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from nerfgen_ns.cameras.trajectories import (
    look_at_origin,
    orbit,
    path_around,
    swing,
    turned_cameras,
    usual_angles,
)


def test_swing_starts_in_front_and_reaches_both_sides() -> None:
    path = swing(48, yaw=40.0, pitch=8.0)
    assert path.shape == (48, 2)
    assert path[0] == pytest.approx([0.0, 0.0])
    assert path[:, 0].max() == pytest.approx(40.0)
    assert path[:, 0].min() == pytest.approx(-40.0)
    assert path[:, 1].max() == pytest.approx(8.0, rel=0.02)


def test_swing_closes_without_a_jump() -> None:
    path = swing(48)
    steps = np.linalg.norm(np.diff(np.concatenate([path, path[:1]]), axis=0), axis=1)
    assert steps.max() < 1.5 * steps[0]


@pytest.mark.parametrize(
    ("angles", "position"),
    [
        ((0.0, 0.0), (0.0, 0.0, 3.0)),
        ((90.0, 0.0), (3.0, 0.0, 0.0)),
        ((-90.0, 0.0), (-3.0, 0.0, 0.0)),
        ((0.0, 30.0), (0.0, 1.5, 3.0 * 0.75**0.5)),
    ],
)
def test_cameras_stand_where_yaw_and_pitch_say(
    angles: tuple[float, float], position: tuple[float, float, float]
) -> None:
    pose = look_at_origin(np.array([angles]), distance=3.0)[0]
    torch.testing.assert_close(pose[:, 3], torch.tensor(position), atol=1e-6, rtol=0.0)


def test_poses_are_upright_rotations() -> None:
    poses = look_at_origin(np.random.default_rng(0).uniform(-60, 60, (20, 2)), distance=2.0)
    rotations = poses[:, :, :3]
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).expand(20, 3, 3), atol=1e-6, rtol=0.0)
    assert (torch.linalg.det(rotations) > 0).all()
    assert (poses[:, 1, 1] > 0).all()
    torch.testing.assert_close(poses[:, 1, 0], torch.zeros(20))


def photographs() -> Cameras:
    poses = look_at_origin(np.array([[10.0, 0.0], [-20.0, 5.0], [0.0, 0.0]]), distance=2.5)
    return Cameras(
        poses, fx=torch.tensor([[80.0], [84.0], [90.0]]), fy=84.0, cx=20.0, cy=20.0, width=40, height=40
    )


def test_turned_cameras_look_at_the_origin_from_the_usual_distance() -> None:
    cameras = turned_cameras(photographs(), swing(6), size=16)
    assert cameras.shape == (6,)
    for view in range(6):
        rays = cameras[view : view + 1].generate_rays(camera_indices=0, keep_shape=True)
        assert rays.origins[0, 0].norm() == pytest.approx(2.5, abs=1e-5)
        # The four central pixels surround the ray through the origin.
        central = rays.directions[7:9, 7:9].mean(dim=(0, 1))
        torch.testing.assert_close(central / central.norm(), -rays.origins[0, 0] / 2.5, atol=1e-5, rtol=0.0)


def test_turned_cameras_have_the_usual_field_of_view_at_any_size() -> None:
    for size in (16, 200):
        cameras = turned_cameras(photographs(), swing(2), size)
        assert float(cameras.fx[0]) / size == pytest.approx(84.0 / 40.0)
        assert (int(cameras.width[0]), int(cameras.height[0])) == (size, size)


def photographs_at(angles: list[tuple[float, float]]) -> Cameras:
    poses = look_at_origin(np.array(angles), distance=4.0)
    return Cameras(poses, fx=84.0, fy=84.0, cx=20.0, cy=20.0, width=40, height=40)


def test_an_orbit_goes_once_around_in_even_steps_at_one_height() -> None:
    path = orbit(8, pitch=25.0)
    assert path[:, 0] == pytest.approx(np.arange(0.0, 360.0, 45.0))
    assert path[:, 1] == pytest.approx(25.0)


def test_photographs_from_behind_make_a_class_seen_from_all_around() -> None:
    around = [(yaw, pitch) for yaw, pitch in zip(range(0, 360, 30), [0, 20, 40] * 4, strict=True)]
    assert usual_angles(photographs_at(around)) == (True, pytest.approx(20.0, abs=1e-3))
    frontal = [(yaw, 10.0) for yaw in (-45.0, -20.0, 0.0, 30.0, 60.0)]
    assert usual_angles(photographs_at(frontal)) == (False, 0.0)


def test_the_path_shows_what_the_photographs_show() -> None:
    around = photographs_at([(yaw, 20.0) for yaw in range(0, 360, 30)])
    np.testing.assert_allclose(path_around(around, 12), orbit(12, 20.0), atol=1e-3)
    np.testing.assert_array_equal(path_around(photographs(), 12), swing(12))
