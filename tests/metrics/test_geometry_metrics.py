"""Metrics of shape against numpy by hand, on random and degenerate input."""

import math

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from scipy.spatial.transform import Rotation
from torchmetrics.functional.classification import binary_jaccard_index

from nerfgen_ns.cameras.alignment import Similarity, camera_errors
from nerfgen_ns.cameras.trajectories import look_at_origin
from nerfgen_ns.metrics.geometry import (
    camera_error,
    normal_error,
    normals_of_colors,
    normals_of_depth,
    points_of_depth,
    silhouette_iou,
)


def square_camera(angles: tuple[float, float], size: int = 65) -> Cameras:
    """A camera that looks at the origin from three units away."""
    pose = look_at_origin(np.array([angles]), 3.0)
    return Cameras(pose, fx=2.1 * size, fy=2.1 * size, cx=size / 2, cy=size / 2, width=size, height=size)


def ball_depth(camera: Cameras, radius: float = 0.5) -> torch.Tensor:
    """The z-depth of a ball around the origin, infinite beside it."""
    rays = camera.generate_rays(camera_indices=0, keep_shape=True)
    toward = (rays.origins * rays.directions).sum(-1)
    inside = toward**2 - (rays.origins**2).sum(-1) + radius**2
    distance = torch.where(inside > 0, -toward - inside.clamp(min=0).sqrt(), math.inf)
    return distance * (rays.directions @ -camera.camera_to_worlds[0, :, 2])


def test_silhouette_iou_equals_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    accumulation, matte = torch.rand(2, 20, 30, generator=generator)
    expected = binary_jaccard_index((accumulation > 0.5).int(), (matte > 0.5).int())
    assert silhouette_iou(accumulation, matte) == pytest.approx(float(expected))


def test_silhouettes_that_do_not_meet_score_nothing_and_none_at_all_are_not_scored():
    shown, nothing = torch.ones(4, 4), torch.zeros(4, 4)
    assert silhouette_iou(shown, nothing) == silhouette_iou(nothing, shown) == 0.0
    assert silhouette_iou(shown, shown) == 1.0
    assert math.isnan(silhouette_iou(nothing, nothing))


def test_normal_error_is_the_mean_angle_by_hand():
    generator = np.random.default_rng(0)
    first, second = generator.standard_normal((2, 8, 9, 3))
    matte = generator.random((8, 9))
    cosine = (first * second).sum(-1) / np.linalg.norm(first, axis=-1) / np.linalg.norm(second, axis=-1)
    expected = np.degrees(np.arccos(cosine))[matte > 0.5].mean()
    assert normal_error(*map(torch.from_numpy, (first, second, matte))) == pytest.approx(expected)


def test_small_angles_are_not_lost():
    normals = torch.zeros(4, 4, 3)
    normals[..., 2] = 1.0
    turned = torch.tensor([math.sin(1e-6), 0.0, math.cos(1e-6)]).expand(4, 4, 3)
    assert normal_error(normals, turned, torch.ones(4, 4)) == pytest.approx(math.degrees(1e-6), rel=1e-3)


def test_normals_that_are_not_there_are_not_judged():
    normals, matte = torch.ones(4, 4, 3), torch.ones(4, 4)
    broken = normals.clone()
    broken[0], broken[1] = math.nan, 0.0
    assert normal_error(broken, normals, matte) == pytest.approx(0.0, abs=1e-6)
    assert math.isnan(normal_error(broken[:2], normals[:2], matte[:2]))
    assert math.isnan(normal_error(normals, normals, 0 * matte))
    assert (normals_of_colors(torch.full((2, 2, 3), 0.5)) == 0).all()


def test_points_of_a_depth_map_project_back_into_their_pixels():
    camera = square_camera((35.0, -10.0), size=6)
    depth = 2.0 + torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
    world_to_camera = torch.linalg.inv(torch.vstack([camera.camera_to_worlds[0], torch.eye(4)[3:]]))
    points = torch.cat([points_of_depth(depth, camera), torch.ones(6, 6, 1)], dim=-1) @ world_to_camera.T
    torch.testing.assert_close(-points[..., 2], depth)
    centers = torch.arange(6) + 0.5
    columns, rows = 3.0 + 12.6 * points[..., 0] / depth, 3.0 - 12.6 * points[..., 1] / depth
    torch.testing.assert_close(columns, centers.expand(6, 6))
    torch.testing.assert_close(rows, centers[:, None].expand(6, 6))


@pytest.mark.parametrize("angles", [(0.0, 0.0), (60.0, 20.0)])
def test_normals_of_a_ball_point_away_from_its_middle(angles):
    camera = square_camera(angles)
    depth = ball_depth(camera)
    normals = normals_of_depth(depth, camera)
    there = torch.isfinite(normals).all(dim=-1)
    assert 0.8 * torch.isfinite(depth).sum() < there.sum() < torch.isfinite(depth).sum()
    assert not there[0].any() and not there[~torch.isfinite(depth)].any()
    assert normal_error(normals, points_of_depth(depth, camera), torch.ones(65, 65)) < 1.5


def some_cameras(count: int) -> np.ndarray:
    """Cameras around the origin."""
    angles = np.random.default_rng(0).normal(scale=25.0, size=(count, 2))
    cameras = np.tile(np.eye(4), (count, 1, 1))
    cameras[:, :3] = look_at_origin(angles, 2.7).double().numpy()
    return cameras


def test_camera_error_forgets_one_similarity_and_finds_the_turns():
    true = some_cameras(9)
    gauge = Similarity(1.7, Rotation.from_euler("y", 20, degrees=True).as_matrix(), np.array([0.1, 0.2, 0.3]))
    moved = gauge.move_cameras(true)
    exact = camera_error(moved, true)
    assert exact["rotation error, degrees, median"] == pytest.approx(0.0, abs=1e-3)
    assert exact["camera center error, units of the truth, median"] == pytest.approx(0.0, abs=1e-3)
    turned = moved.copy()
    for place in range(0, 8, 2):
        for camera, degrees in ((place, 4.0), (place + 1, -4.0)):
            turned[camera, :3, :3] = (
                turned[camera, :3, :3] @ Rotation.from_euler("z", degrees, degrees=True).as_matrix()
            )
    assert camera_error(turned, true)["rotation error, degrees, median"] == pytest.approx(4.0, abs=0.2)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_cameras_have_no_error_left(count):
    cameras = some_cameras(3)
    values = camera_error(cameras[:count], cameras[:count])
    assert values.keys() == camera_errors(cameras, cameras).keys()
    assert all(math.isnan(value) for value in values.values())


def test_a_camera_that_is_no_number_is_left_out():
    true = some_cameras(6)
    fitted = true.copy()
    fitted[2, 0, 3] = np.nan
    assert camera_error(fitted, true) == camera_error(np.delete(true, 2, 0), np.delete(true, 2, 0))
