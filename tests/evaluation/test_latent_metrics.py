"""Metrics of a latent table against numpy and scipy, on random and degenerate input."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from nerfgen_ns.evaluation.protocols.latent_space import (
    directions_holding,
    effective_dimension,
    largest_step,
    morph_steps,
    pca_spectrum,
    share_within_gaussian,
)


@pytest.fixture
def codes() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(60, 8, generator=generator) * torch.linspace(2.0, 0.1, 8) + 3.0


def test_spectrum_equals_the_eigenvalues_of_the_covariance(codes):
    variances = np.linalg.eigvalsh(np.cov(codes.double().numpy().T))[::-1]
    np.testing.assert_allclose(pca_spectrum(codes), variances / variances.sum(), rtol=1e-4)
    expected = variances.sum() ** 2 / (variances**2).sum()
    assert effective_dimension(pca_spectrum(codes)) == pytest.approx(expected, rel=1e-4)
    held = np.cumsum(variances) / variances.sum()
    assert directions_holding(pca_spectrum(codes), 0.9) == np.searchsorted(held, 0.9) + 1


def test_equally_strong_directions_are_counted():
    assert effective_dimension(torch.full((7,), 1 / 7)) == pytest.approx(7.0)
    assert directions_holding(torch.full((10,), 0.1), 1.0) == 10
    assert directions_holding(torch.tensor([0.95, 0.05]), 0.95) == 1


def test_mahalanobis_distances_are_held_against_the_law_they_follow():
    generator = torch.Generator().manual_seed(1)
    shares = [
        share_within_gaussian(torch.randn(40, 20, generator=generator), probability)
        for probability in (0.5, 0.9)
        for _ in range(100)
    ]
    assert np.mean(shares[:100]) == pytest.approx(0.5, abs=0.03)
    assert np.mean(shares[100:]) == pytest.approx(0.9, abs=0.02)


def test_with_many_rows_the_law_is_chi_square():
    codes = torch.randn(20000, 6, generator=torch.Generator().manual_seed(2))
    centered = (codes - codes.mean(dim=0)).double().numpy()
    distances = np.einsum("nd,nd->n", centered @ np.linalg.inv(np.cov(centered.T)), centered)
    expected = (distances <= chi2.ppf(0.95, 6)).mean()
    assert share_within_gaussian(codes) == pytest.approx(expected, abs=2e-4)


def test_heavy_tails_leave_the_gaussian():
    generator = torch.Generator().manual_seed(3)
    codes = torch.randn(500, 6, generator=generator)
    outliers = codes * torch.where(torch.rand(500, 1, generator=generator) < 0.2, 6.0, 1.0)
    assert share_within_gaussian(outliers) < 0.9 < share_within_gaussian(codes)


@pytest.mark.parametrize("rows", [2, 8, 9])
def test_rows_that_are_all_equally_far_away_have_no_share(codes, rows):
    assert math.isnan(share_within_gaussian(codes[:rows]))
    assert not math.isnan(share_within_gaussian(codes[:10]))


@pytest.mark.parametrize("rows", [1, 5])
def test_a_table_without_spread_has_no_dimension(codes, rows):
    same = codes[:1].expand(rows, -1)
    assert len(pca_spectrum(same)) == 0
    assert math.isnan(effective_dimension(pca_spectrum(same)))
    assert math.isnan(directions_holding(pca_spectrum(same), 0.95))
    assert math.isnan(share_within_gaussian(same))


def test_steps_of_a_morph_are_root_mean_square_changes():
    images = torch.rand(4, 5, 6, 3, generator=torch.Generator().manual_seed(4))
    values = images.double().numpy()
    expected = [np.sqrt(((values[place + 1] - values[place]) ** 2).mean()) for place in range(3)]
    np.testing.assert_allclose(morph_steps(list(images)), expected, rtol=1e-5)
    assert largest_step(morph_steps(list(images))) == pytest.approx(
        max(expected) / np.mean(expected), rel=1e-5
    )


def test_a_cross_fade_is_even_and_a_cut_is_one_jump():
    first, last = torch.zeros(4, 4, 3), torch.ones(4, 4, 3)
    fade = [torch.lerp(first, last, place / 8) for place in range(9)]
    assert largest_step(morph_steps(fade)) == pytest.approx(1.0, abs=1e-5)
    assert largest_step(morph_steps([first] * 4 + [last] * 5)) == pytest.approx(8.0)


@pytest.mark.parametrize("images", [0, 1, 2])
def test_a_morph_of_one_step_or_none_has_no_evenness(images):
    steps = morph_steps([torch.full((2, 2, 3), 1.0 * place) for place in range(images)])
    assert len(steps) == max(images - 1, 0)
    assert math.isnan(largest_step(steps))


def test_a_morph_that_changes_nothing_has_no_evenness():
    assert math.isnan(largest_step(morph_steps([torch.ones(2, 2, 3)] * 5)))
