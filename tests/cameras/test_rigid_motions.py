"""Rigid motions: rotations, and that rays move as the cameras that send them."""

import math

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from scipy.spatial.transform import Rotation

from nerfgen_ns.cameras.se3 import motion_matrices, move_cameras, move_rays, rotation_matrices


def random_motions(count: int) -> torch.Tensor:
    return motion_matrices(torch.randn(count, 6))


def test_rotation_matrices_are_rotations_about_their_vectors() -> None:
    vector = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    matrix = rotation_matrices(vector)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(matrix @ vector, vector)
    assert math.acos((matrix.trace().item() - 1) / 2) == pytest.approx(vector.norm().item())
    quarter = rotation_matrices(torch.tensor([0.0, math.pi / 2, 0.0]))
    torch.testing.assert_close(quarter @ torch.tensor([0.0, 0, 1]), torch.tensor([1.0, 0, 0]))


def test_a_motion_that_is_zero_changes_nothing_and_still_has_a_gradient() -> None:
    vector = torch.zeros(3, requires_grad=True)
    matrix = rotation_matrices(vector)
    assert torch.equal(matrix, torch.eye(3))
    matrix[0, 1].backward()
    torch.testing.assert_close(vector.grad, torch.tensor([0.0, 0.0, -1.0]))


HALF_TURNS = [
    (math.pi - below) * torch.tensor(axis, dtype=torch.float64) / math.hypot(*axis)
    for axis in ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (1.0, -2.0, 3.0))
    for below in (0.0, 1e-9, 1e-4, -1e-4)
]


RANDOM = np.random.default_rng(0)
SMALL = torch.from_numpy(RANDOM.normal(size=(50, 3)) * np.logspace(-12, 0, 50)[:, None])
LARGE = torch.from_numpy(RANDOM.normal(size=(20, 3)) * 6.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("vectors", [torch.stack(HALF_TURNS), SMALL, LARGE])
def test_rotations_of_any_angle_are_as_scipy_has_them(vectors: torch.Tensor, dtype: torch.dtype) -> None:
    vectors = vectors.to(dtype).double()
    expected = torch.from_numpy(Rotation.from_rotvec(vectors.numpy()).as_matrix()).to(dtype)
    atol = 5e-6 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(rotation_matrices(vectors.to(dtype)), expected, atol=atol, rtol=0.0)


def test_gradients_are_right_at_zero_at_half_a_turn_and_between() -> None:
    for vector in (
        *HALF_TURNS,
        torch.full((3,), 1e-7, dtype=torch.float64),
        torch.rand(3, dtype=torch.float64),
    ):
        assert torch.autograd.gradcheck(rotation_matrices, vector.clone().requires_grad_())


def test_cameras_are_turned_about_the_origin_and_then_shifted() -> None:
    quarter = rotation_matrices(torch.tensor([0.0, math.pi / 2, 0.0]))
    motion = motion_matrices(torch.tensor([0.0, math.pi / 2, 0.0, 0.0, 1.0, 0.0]))
    camera = torch.eye(3, 4)
    camera[:, 3] = torch.tensor([0.0, 0.0, 2.0])
    moved = move_cameras(camera[None], motion[None])[0]
    torch.testing.assert_close(moved[:, :3], quarter)
    torch.testing.assert_close(moved[:, 3], torch.tensor([2.0, 1.0, 0.0]))


def test_moved_rays_are_the_rays_of_moved_cameras() -> None:
    motions = random_motions(3)
    poses = random_motions(3)
    cameras = Cameras(poses, fx=9.0, fy=8.0, cx=4.0, cy=3.0, width=8, height=6)
    owners = torch.tensor([0, 2, 1, 1, 2])[:, None]
    places = 6 * torch.rand(5, 2)
    moved = move_rays(cameras.generate_rays(owners, places), motions[owners[:, 0]])
    cameras.camera_to_worlds = move_cameras(poses, motions)
    expected = cameras.generate_rays(owners, places)
    torch.testing.assert_close(moved.origins, expected.origins)
    torch.testing.assert_close(moved.directions, expected.directions)
    torch.testing.assert_close(moved.pixel_area, expected.pixel_area)
