"""Metrics of depth maps against other implementations, on random and degenerate input."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import pearsonr

from nerfgen_ns.metrics.geometry import correlation, depth_correlation, depth_error


@pytest.fixture
def maps() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A depth, the true one, infinite in places, and a matte."""
    generator = torch.Generator().manual_seed(0)
    true = 2.7 + 0.1 * torch.randn(20, 30, generator=generator)
    depth = 0.6 * true + 0.5 + 0.03 * torch.randn(20, 30, generator=generator)
    true[:3] = math.inf
    matte = (torch.rand(20, 30, generator=generator) > 0.4).float()
    return depth, true, matte


def judged(depth, true, matte) -> tuple[np.ndarray, np.ndarray]:
    inside = (matte.numpy() > 0.5) & np.isfinite(true.numpy())
    return depth.double().numpy()[inside], true.double().numpy()[inside]


def test_correlation_equals_scipy_and_torchmetrics(maps):
    from torchmetrics.functional import pearson_corrcoef

    rendered, true = judged(*maps)
    assert depth_correlation(*maps) == pytest.approx(pearsonr(rendered, true).statistic, abs=1e-12)
    by_torchmetrics = pearson_corrcoef(torch.from_numpy(rendered), torch.from_numpy(true))
    assert depth_correlation(*maps) == pytest.approx(float(by_torchmetrics), abs=1e-6)


def test_error_is_what_a_search_over_scale_and_shift_finds(maps):
    rendered, true = judged(*maps)
    found = minimize(
        lambda guess: np.mean((guess[0] * rendered + guess[1] - true) ** 2),
        x0=[1.0, 0.0],
        method="Nelder-Mead",
        options={"xatol": 1e-10, "fatol": 1e-16, "maxiter": 4000},
    )
    assert depth_error(*maps) == pytest.approx(math.sqrt(found.fun), rel=1e-5)


def test_error_equals_what_the_correlation_leaves_of_the_true_deviation(maps):
    _, true = judged(*maps)
    expected = true.std() * math.sqrt(1 - depth_correlation(*maps) ** 2)
    assert depth_error(*maps) == pytest.approx(expected, rel=1e-9)


def test_scale_and_shift_change_neither(maps):
    depth, true, matte = maps
    moved = 3.0 * depth.double() - 5.0
    assert depth_correlation(moved, true, matte) == pytest.approx(depth_correlation(*maps), abs=1e-9)
    assert depth_error(moved, true, matte) == pytest.approx(depth_error(*maps), rel=1e-6)
    assert depth_error(2.0 * true + 1.0, true, matte) == pytest.approx(0.0, abs=1e-6)


def test_constant_depth_has_no_correlation_and_the_error_of_one_constant(maps):
    _, true, matte = maps
    flat = torch.full_like(true, 0.1)
    assert math.isnan(depth_correlation(flat, true, matte))
    assert math.isnan(depth_correlation(true, flat, matte))
    assert depth_error(flat, true, matte) == pytest.approx(judged(*maps)[1].std(), rel=1e-6)


def test_an_empty_matte_or_a_truth_without_depth_has_no_score(maps):
    depth, true, matte = maps
    for degenerate in ((depth, true, 0 * matte), (depth, torch.full_like(true, math.inf), matte)):
        assert math.isnan(depth_correlation(*degenerate))
        assert math.isnan(depth_error(*degenerate))


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_render_owes_a_depth_wherever_there_is_a_true_one(maps, broken):
    depth, true, matte = maps
    inside = torch.nonzero((matte > 0.5) & torch.isfinite(true))[0]
    depth[tuple(inside)] = broken
    assert math.isnan(depth_correlation(depth, true, matte))
    assert math.isnan(depth_error(depth, true, matte))


@pytest.mark.parametrize("unknown", [math.nan, math.inf])
def test_where_the_truth_is_unknown_any_depth_will_do(maps, unknown):
    depth, true, matte = maps
    expected = depth_correlation(*maps), depth_error(*maps)
    true[:3], depth[:3] = unknown, math.nan
    assert (depth_correlation(depth, true, matte), depth_error(depth, true, matte)) == expected


def test_few_pixels_prove_nothing():
    depth, true = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[3.0, 7.0, 5.0]])
    assert math.isnan(depth_correlation(depth, true, torch.tensor([[1.0, 0.0, 0.0]])))
    assert math.isnan(depth_error(depth, true, torch.tensor([[1.0, 1.0, 0.0]])))
    assert depth_error(depth, true, torch.ones(1, 3)) > 0.1


def test_rounding_of_a_constant_is_no_variation():
    for count in (7, 27, 1000):
        assert math.isnan(correlation(np.full(count, 2.7), np.arange(1.0 * count)))
        assert math.isnan(correlation(np.arange(1.0 * count), 0.1 + 1e-17 * np.arange(count)))
    assert correlation(2.7 + 1e-9 * np.arange(9.0), np.arange(9.0)) == pytest.approx(1.0, abs=1e-6)
