"""What the data factory draws: codes, cameras, backgrounds and landmarks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from nerfgen_ns.cameras.trajectories import look_at_origin, turned_cameras
from nerfgen_ns.dataset_format.columns import camera_angles
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.config import FactoryConfig
from nerfgen_ns.semantics.factory import box_of, over_background, seen_landmarks
from nerfgen_ns.semantics.factory_draws import CodeLandmarks, Draws, draw_camera, ridge, turned
from tests.helpers.small_models import make_camera


@pytest.fixture(scope="module")
def run(labeled_config: Path) -> Run:
    return load_run(labeled_config)


def angles_of(cameras: Cameras) -> np.ndarray:
    return camera_angles(cameras.camera_to_worlds[:, :3, :3].double().numpy())


def test_an_object_depends_on_the_seed_and_its_number_alone(run: Run) -> None:
    few, many = (Draws(run, FactoryConfig(count=count, views=2)) for count in (3, 9))
    assert (len(few), few.views_of(1), len(many)) == (2, 1, 5)
    one, other = few.draw(1), many.draw(1)
    assert torch.equal(one.code, other.code) and len(one.cameras) == 1
    assert torch.equal(one.cameras.camera_to_worlds, other.cameras.camera_to_worlds[:1])
    assert torch.equal(one.backgrounds[0], other.backgrounds[0])
    assert not torch.equal(one.code, few.draw(0).code)
    assert not torch.equal(one.code, Draws(run, FactoryConfig(count=3, views=2, seed=1)).draw(1).code)


def test_truncation_scales_the_spread_and_0_gives_the_mean(run: Run) -> None:
    mean = run.codes.mean(dim=0, keepdim=True)
    codes = [Draws(run, FactoryConfig(truncation=one)).draw(0).code for one in (0.0, 0.5, 1.0)]
    torch.testing.assert_close(codes[0], mean)
    torch.testing.assert_close(codes[2] - mean, 2.0 * (codes[1] - mean))


def test_backgrounds_are_sampled_or_the_objects_own_and_one_in_a_video(run: Run) -> None:
    own = Draws(run, FactoryConfig(backgrounds="own")).draw(0)
    assert all(torch.equal(behind, own.code) for behind in own.backgrounds)
    sampled = Draws(run, FactoryConfig()).draw(0)
    assert len({tuple(behind.flatten().tolist()) for behind in [*sampled.backgrounds, sampled.code]}) == 5
    video = Draws(run, FactoryConfig(video=True)).draw(0)
    assert len({tuple(behind.flatten().tolist()) for behind in video.backgrounds}) == 1


def test_another_background_changes_what_is_behind_the_object_alone(run: Run) -> None:
    camera = run.cameras[:1]
    outputs = run.render(run.code(0), camera)
    rays = camera.generate_rays(camera_indices=0, keep_shape=True)
    same = over_background(run.model, outputs, rays, run.code(0))
    torch.testing.assert_close(same, outputs["rgb"])
    other = over_background(run.model, outputs, rays, run.code(1))
    behind = run.render(run.code(1), camera)["background"]
    expected = outputs["foreground"] + (1 - outputs["accumulation"]) * behind
    torch.testing.assert_close(other, expected)


def test_cameras_are_spread_as_the_photographs() -> None:
    random = np.random.default_rng(0)
    given = np.stack([random.normal(5, 20, 200), random.normal(-3, 8, 200)], axis=-1)
    photographs = turned_cameras(make_camera(10, 10), given, 10)
    drawn = [draw_camera(photographs, 32, FactoryConfig(), random) for _ in range(400)]
    angles = np.concatenate([angles_of(camera) for camera in drawn])
    np.testing.assert_allclose(angles[:, :2].mean(axis=0), given.mean(axis=0), atol=4)
    np.testing.assert_allclose(angles[:, :2].std(axis=0), given.std(axis=0), rtol=0.2)
    assert len(np.unique(angles[:, 0].round(6))) == 400
    for camera in drawn[:3]:
        assert (int(camera.width), int(camera.height), float(camera.cx)) == (32, 32, 16)
        assert float(camera.fx) == pytest.approx(10 * 3.2, rel=1e-5)
        assert float(camera.camera_to_worlds[0, :, 3].norm()) == pytest.approx(2.7, rel=1e-5)


def test_a_photograph_that_is_not_square_is_whole_in_the_image() -> None:
    photographs = make_camera(6, 8)
    photographs.cx, photographs.cy = photographs.cx + 1, photographs.cy - 0.5
    camera = draw_camera(photographs, 16, FactoryConfig(), np.random.default_rng(0))
    assert (float(camera.cx), float(camera.cy), float(camera.fx)) == (10, 7, 20)


def test_given_ranges_hold() -> None:
    random = np.random.default_rng(0)
    photographs = turned_cameras(make_camera(10, 10), random.normal(0, 15, (50, 2)), 10)
    config = FactoryConfig(yaw=(50, 80), pitch=(-10, -5))
    angles = np.concatenate([angles_of(draw_camera(photographs, 16, config, random)) for _ in range(50)])
    assert angles[:, 0].min() >= 50 - 1e-3 and angles[:, 0].max() <= 80 + 1e-3 and angles[:, 0].std() > 5
    assert angles[:, 1].min() >= -10 - 1e-3 and angles[:, 1].max() <= -5 + 1e-3
    np.testing.assert_allclose(angles[:, 2], 0, atol=1e-3)


def test_turning_a_camera_adds_to_its_angles() -> None:
    pose = look_at_origin(np.array([[10.0, 20.0]]), 2.0)[0].double().numpy()
    angles = camera_angles(turned(pose, np.array([5.0, -7.0]))[None, :, :3])[0]
    np.testing.assert_allclose(angles, [15, 13, 0], atol=1e-4)


def test_landmarks_that_depend_linearly_on_codes_are_found_exactly() -> None:
    random = np.random.default_rng(0)
    inputs, slopes = random.normal(size=(40, 3)), random.normal(size=(3, 5))
    inputs -= inputs.mean(axis=0)
    np.testing.assert_allclose(ridge(inputs, inputs @ slopes), slopes, atol=2e-3)
    noise = random.normal(size=(40, 5))
    assert np.abs(ridge(inputs, noise - noise.mean(axis=0))).max() < 0.3


def test_landmarks_of_codes_are_near_those_of_the_photographs(run: Run) -> None:
    draws = Draws(run, FactoryConfig())
    landmarks = CodeLandmarks.of(run, draws.space)
    assert landmarks is not None
    shown = landmarks.of_code(run.codes.mean(dim=0, keepdim=True))
    assert shown.shape == (len(landmarks.names), 3) and np.abs(shown).max() < 1


def test_a_landmark_behind_a_surface_is_hidden() -> None:
    camera = make_camera(8, 8)
    landmarks = np.array([[0.05, 0.05, 0.5], [0.05, 0.05, -0.5], [5.0, 0, 0], [0, 0, 9.0]])
    depth = torch.full((8, 8), 2.2)
    pixels, visible = seen_landmarks(landmarks, camera, depth)
    assert visible.tolist() == [True, False, False, False]
    np.testing.assert_allclose(pixels[0], [4 + 10 * 0.05 / 2.2, 4 - 10 * 0.05 / 2.2], rtol=1e-5)


def test_a_box_is_the_smallest_around_its_pixels() -> None:
    inside = np.zeros((5, 7), dtype=bool)
    assert box_of(inside) is None
    inside[1, 2] = inside[3, 5] = True
    assert box_of(inside) == (2, 1, 4, 3)
