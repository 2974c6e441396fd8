import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras as NerfstudioCameras
from scipy.spatial.transform import Rotation

from nerfgen_ns.cameras.projection import Cameras, homogeneous, observe, project, project_tensors, z_depths
from nerfgen_ns.cameras.trajectories import look_at_origin


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


def test_camera_matrices_become_cameras_and_come_back():
    matrices = homogeneous(
        np.concatenate(
            [Rotation.random(4, random_state=1).as_matrix(), np.arange(12.0).reshape(4, 3, 1)], axis=2
        )
    )
    np.testing.assert_array_equal(matrices[:, 3], np.tile([0, 0, 0, 1], (4, 1)))
    for given in (matrices, matrices[:, :3]):
        cameras = Cameras.from_camera_to_world(given, np.full(4, 9.0), np.zeros((4, 2)))
        np.testing.assert_allclose(cameras.camera_to_world(), matrices, atol=1e-14)


def test_projection_is_that_of_the_camera_matrix_for_arrays_and_tensors():
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
    matrix = homogeneous(look_at_origin(np.array([[25.0, 10.0]]), 3.0).double().numpy())
    seen_by = NerfstudioCameras(
        torch.from_numpy(matrix[:, :3]).float(), fx=130.0, fy=120.0, cx=33.0, cy=31.0, width=64, height=64
    )
    local = np.linalg.inv(matrix[0]) @ np.column_stack([points, np.ones(20)])[..., None]
    intrinsics = np.array([[130.0, 0, 33.0], [0, 120.0, 31.0], [0, 0, 1]])
    pixels = (intrinsics @ (local[:, :3] * [[1], [-1], [-1]]))[..., 0]
    cameras = Cameras.from_nerfstudio([seen_by])
    np.testing.assert_allclose(z_depths(cameras, points)[0], pixels[:, 2], atol=1e-6)
    np.testing.assert_allclose(project(cameras, points)[0], pixels[:, :2] / pixels[:, 2:], atol=1e-4)
    place, depth = project_tensors(seen_by, torch.from_numpy(points).float().view(4, 5, 3))
    np.testing.assert_allclose(depth.view(-1), pixels[:, 2], atol=1e-5)
    np.testing.assert_allclose(place.view(-1, 2), pixels[:, :2] / pixels[:, 2:], atol=1e-3)
