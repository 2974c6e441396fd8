"""Depths of landmarks across images against other implementations, on random and degenerate input."""

import math

import numpy as np
import pytest
from scipy.stats import beta, pearsonr

from nerfgen_ns.metrics.geometry import (
    depths_at,
    independent_level,
    keypoint_score,
    mean_shape_depths,
    relative_depths,
)


@pytest.fixture
def depths() -> tuple[np.ndarray, np.ndarray]:
    """Depths of 12 landmarks in 30 images and the true ones, some not visible."""
    generator = np.random.default_rng(0)
    true = 2.7 + 0.1 * generator.standard_normal((30, 12))
    rendered = true + 0.1 * generator.standard_normal((30, 12))
    true[generator.random((30, 12)) < 0.1] = np.nan
    rendered[generator.random((30, 12)) < 0.1] = np.inf
    return rendered, true


def by_scipy(rendered: np.ndarray, true: np.ndarray) -> list[float]:
    values = []
    for place in range(rendered.shape[1]):
        both = np.isfinite(rendered[:, place]) & np.isfinite(true[:, place])
        values.append(pearsonr(rendered[both, place], true[both, place]).statistic)
    return values


def test_correlations_and_their_sums_equal_scipy(depths):
    rendered, true = depths
    rendered[:, 3] = 5.4 - rendered[:, 3]
    expected = by_scipy(rendered, true)
    score = keypoint_score(rendered, true, permutations=3)
    np.testing.assert_allclose(score.correlations, expected, atol=1e-12)
    assert expected[3] < -0.5
    assert score.absolute_sum == pytest.approx(sum(map(abs, expected)))
    assert score.signed_sum == pytest.approx(sum(expected))
    assert (score.landmarks, score.images) == (12, 30)


@pytest.mark.parametrize("images", [2, 3, 8, 60])
def test_independent_level_is_the_mean_of_the_law_of_r(images):
    # (1 + r) / 2 of independent normal variables follows a beta distribution; two images give r = ±1.
    half = images / 2 - 1
    expected = beta(half, half).expect(lambda x: abs(2 * x - 1)) if images > 2 else 1.0
    assert independent_level(images) == pytest.approx(expected, rel=1e-4)


def test_chance_of_independent_depths_is_what_the_law_of_r_says():
    generator = np.random.default_rng(1)
    rendered, true = generator.standard_normal((2, 20, 40))
    score = keypoint_score(rendered, true, permutations=100)
    expected = 40 * independent_level(20)
    assert score.absolute_chance == pytest.approx(expected, rel=0.05)
    assert score.absolute_chance < score.absolute_chance_95 < 1.5 * expected
    assert score.absolute_sum == pytest.approx(expected, rel=0.25)
    assert abs(score.signed_sum) < expected / 2


def test_chance_keeps_what_landmarks_have_in_common():
    # All landmarks of an image move together: their sum is as lucky as one of them.
    generator = np.random.default_rng(2)
    common = generator.standard_normal((2, 15, 1)) * np.ones(30)
    score = keypoint_score(*(common + 1e-3 * generator.standard_normal((2, 15, 30))), permutations=300)
    assert score.absolute_chance == pytest.approx(30 * independent_level(15), rel=0.15)
    assert score.absolute_chance_95 > 1.8 * score.absolute_chance


def test_the_same_seed_gives_the_same_chance(depths):
    scores = [keypoint_score(*depths, permutations=5, seed=seed) for seed in (4, 4, 5)]
    assert scores[0].absolute_chance == scores[1].absolute_chance != scores[2].absolute_chance


def test_one_landmark_has_a_correlation_but_nothing_to_relate_it_to(depths):
    rendered, true = (values[:, :1] for values in depths)
    assert keypoint_score(rendered, true, 3).absolute_sum == pytest.approx(abs(by_scipy(rendered, true)[0]))
    score = keypoint_score(*relative_depths(rendered, true), 3)
    assert score.landmarks == score.images == 0
    assert math.isnan(score.absolute_sum) and math.isnan(score.signed_sum)
    assert math.isnan(score.absolute_chance) and math.isnan(score.absolute_chance_95)


@pytest.mark.parametrize("images", [0, 1])
def test_one_image_or_none_has_no_correlation(depths, images):
    rendered, true = (values[:images] for values in depths)
    score = keypoint_score(rendered, true, 3)
    assert np.isnan(score.correlations).all() and len(score.correlations) == 12
    assert math.isnan(score.absolute_sum) and math.isnan(score.absolute_chance)
    assert math.isnan(independent_level(images))


def test_a_landmark_at_the_same_depth_in_all_images_is_not_counted(depths):
    rendered, true = depths
    rendered[:, 0], true[:, 1], true[:, 2] = 2.7, 2.7, np.nan
    score = keypoint_score(rendered, true, 3)
    assert np.isnan(score.correlations[:3]).all()
    assert score.landmarks == 9
    assert score.absolute_sum == pytest.approx(sum(map(abs, by_scipy(rendered[:, 3:], true[:, 3:]))))


def test_relative_depths_forget_how_far_away_the_object_stands(depths):
    rendered, true = depths
    expected = relative_depths(rendered, true)
    moved = relative_depths(rendered + np.arange(30)[:, None], true - 3 * np.arange(30)[:, None])
    np.testing.assert_allclose(moved, expected, atol=1e-9)
    both = np.isfinite(rendered[0]) & np.isfinite(true[0])
    np.testing.assert_allclose(expected[0][0, both], rendered[0, both] - rendered[0, both].mean())
    np.testing.assert_allclose(expected[1][0, both], true[0, both] - true[0, both].mean())
    assert np.isnan(expected[0][0, ~both]).all() and np.isnan(expected[1][0, ~both]).all()


def test_depth_is_read_in_the_pixel_of_a_landmark():
    depth = np.arange(6.0).reshape(2, 3)
    depth[1, 2] = np.inf
    landmarks = np.array([[0.0, 0.0], [2.99, 0.5], [0.5, 1.999], [2.5, 1.5], [3.0, 0.5], [-0.1, 0.5]])
    np.testing.assert_array_equal(depths_at(depth, landmarks), [0, 2, 3, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(depths_at(depth, np.array([[np.nan, 0.5]])), [np.nan])


def test_mean_shape_lies_as_deep_as_the_camera_matrix_says():
    generator = np.random.default_rng(3)
    points = generator.standard_normal((5, 3))
    cameras = np.tile(np.eye(4), (2, 1, 1))
    cameras[0, 2, 3] = 3.0
    rotation, _ = np.linalg.qr(generator.standard_normal((3, 3)))
    cameras[1, :3, :3], cameras[1, :3, 3] = rotation, generator.standard_normal(3)
    depths = mean_shape_depths(points, cameras)
    np.testing.assert_allclose(depths[0], 3.0 - points[:, 2])
    ahead = np.linalg.inv(cameras[1]) @ np.c_[points, np.ones(5)].T
    np.testing.assert_allclose(depths[1], -ahead[2])
