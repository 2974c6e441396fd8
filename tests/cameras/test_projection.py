import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfgen_ns.cameras.projection import Cameras, observe, project, rotation_matrices, rotation_vectors


def test_projection_follows_the_pixel_convention():
    camera = Cameras(
        np.eye(3)[None], np.array([[0.0, 0.0, -2.0]]), np.array([100.0]), np.array([[64.0, 60.0]])
    )
    pixels = project(camera, np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]))[0]
    np.testing.assert_allclose(pixels, [[64, 60], [89, 60], [64, 35]])
    np.testing.assert_allclose(camera.camera_to_world()[0, :3, 3], [0, 0, 2])


def test_each_camera_may_have_its_own_points():
    generator = np.random.default_rng(0)
    cameras = Cameras(
        Rotation.random(3, random_state=0).as_matrix(),
        generator.normal(size=(3, 3)) * 0.1 - [0, 0, 5],
        np.full(3, 200.0),
        np.full((3, 2), 64.0),
    )
    points = generator.normal(size=(3, 7, 3))
    together = project(cameras, points)
    for place in range(3):
        np.testing.assert_allclose(together[place], project(cameras[place : place + 1], points[place])[0])


def test_relative_depth_grows_away_from_the_camera_in_pixels():
    camera = Cameras(np.eye(3)[None], np.array([[0.0, 0.0, -4.0]]), np.array([200.0]), np.zeros((1, 2)))
    depth = observe(camera, np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]))[0, :, 2]
    np.testing.assert_allclose(depth, [-50.0, 50.0])


def test_rotation_matrices_agree_with_scipy_also_near_zero():
    vectors = np.random.default_rng(0).normal(size=(50, 3)) * np.logspace(-12, 0, 50)[:, None]
    np.testing.assert_allclose(
        rotation_matrices(vectors), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-14
    )


def test_rotation_vectors_are_the_inverse_of_rotation_matrices():
    vectors = np.random.default_rng(1).normal(size=(50, 3)) * np.logspace(-9, 0, 50)[:, None]
    np.testing.assert_allclose(rotation_vectors(rotation_matrices(vectors)), vectors, atol=1e-12)


@pytest.mark.parametrize("below", [0.0, 1e-12, 1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, -1, 0), (0, 0, 1), (1, -2, 3), (-1, 1e-9, 0), (0, 3, -4)])
def test_rotation_vectors_of_half_a_turn_are_half_a_turn_about_the_axis(axis, below):
    unit = np.array(axis) / np.linalg.norm(axis)
    rotations = np.stack(
        [2 * np.outer(unit, unit) - np.eye(3), rotation_matrices((np.pi - below) * unit[None])[0]]
    )
    for rotation, angle in zip(rotations, (np.pi, np.pi - below), strict=True):
        (vector,) = rotation_vectors(rotation[None])
        np.testing.assert_allclose(np.linalg.norm(vector), angle, atol=1e-12)
        np.testing.assert_allclose(rotation_matrices(vector[None])[0], rotation, atol=1e-12)
