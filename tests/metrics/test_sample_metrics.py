"""KID, FID and Inception Score against torch-fidelity and numpy, on random and degenerate features."""

import math

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kernel_mmd

from nerfgen_ns.metrics import samples as sample_metrics
from nerfgen_ns.metrics.samples import frechet_inception_distance, inception_score, kernel_inception_distance

KERNEL = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None}


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(40, 12, generator=generator)
    return real, 1.3 * torch.randn(40, 12, generator=generator) + 0.4


def test_kid_of_as_many_samples_as_photographs_equals_torch_fidelity(features):
    real, sampled = (part.double().numpy() for part in features)
    expected = kernel_mmd(real, sampled, kid_kernel_poly_coef0=1.0, **KERNEL)
    assert kernel_inception_distance(*features) == pytest.approx(expected, rel=1e-9)


def test_kid_equals_the_unbiased_estimator_by_hand(features):
    real, sampled = (part.double().numpy() for part in features)
    kernel = [(first @ second.T / 12 + 1) ** 3 for first, second in ((real, real), (sampled, sampled))]
    within = sum((values.sum() - np.trace(values)) / (40 * 39) for values in kernel)
    expected = within - 2 * ((real @ sampled.T / 12 + 1) ** 3).mean()
    assert kernel_inception_distance(*features) == pytest.approx(expected, rel=1e-9)


def test_kid_of_fewer_samples_is_the_mean_over_subsets(features):
    real, sampled = features
    value = kernel_inception_distance(real, sampled[:25])
    exact = [
        kernel_inception_distance(
            real[np.random.default_rng(seed).choice(40, 25, replace=False)], sampled[:25]
        )
        for seed in range(200)
    ]
    assert value == pytest.approx(np.mean(exact), abs=4 * np.std(exact) / 10)
    assert value == kernel_inception_distance(real, sampled[:25])
    assert value != kernel_inception_distance(real, sampled[:25], seed=1)


def test_metrics_leave_the_random_numbers_of_others_alone(features):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    kernel_inception_distance(*features)
    inception_score(features[0])
    assert torch.rand(1) == expected


def test_fid_equals_torch_fidelity(features):
    statistics = [
        {"mu": part.double().numpy().mean(0), "sigma": np.cov(part.double().numpy().T)} for part in features
    ]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_inception_distance(*features) == pytest.approx(expected, rel=1e-6)


def test_fid_of_fewer_images_than_features_equals_the_nuclear_norm_by_hand(features):
    real, sampled = (part[:5].double().numpy() for part in features)
    roots = [(part - part.mean(0)) / 2 for part in (real, sampled)]
    # The trace of the root of a product of covariances AᵀA, BᵀB is the sum of the singular values of A·Bᵀ.
    mixed = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    expected = ((real.mean(0) - sampled.mean(0)) ** 2).sum()
    expected += sum((root**2).sum() for root in roots) - 2 * mixed
    value = frechet_inception_distance(features[0][:5], features[1][:5])
    assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("images", [7, 40])
def test_inception_score_of_few_images_is_that_of_one_group(features, images):
    expected = isc_features_to_metric(features[0][:images], splits=max(images // 10, 1), shuffle=False)
    value = inception_score(features[0][:images])
    if images < 20:
        assert value == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    else:
        spread = expected["inception_score_std"]
        assert value == pytest.approx(expected["inception_score_mean"], abs=4 * spread)


def test_inception_score_of_many_images_is_the_mean_over_ten_groups():
    logits = 3 * torch.randn(100, 6, generator=torch.Generator().manual_seed(1))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        shuffled = logits[torch.randperm(100)]
    expected = isc_features_to_metric(shuffled, splits=10, shuffle=False)["inception_score_mean"]
    assert inception_score(logits, seed=3) == pytest.approx(expected, rel=1e-9)


def test_inception_score_of_confident_and_varied_images_is_the_number_of_classes():
    assert inception_score(50.0 * torch.eye(5).repeat(2, 1)) == pytest.approx(5.0, rel=1e-6)
    assert inception_score(50.0 * torch.eye(5)[:1].repeat(10, 1)) == pytest.approx(1.0)


def test_the_same_images_on_both_sides_are_no_distance_apart(features):
    real, _ = features
    assert frechet_inception_distance(real, real) == pytest.approx(0.0, abs=1e-6)
    assert abs(kernel_inception_distance(real, real)) < 0.5 * kernel_inception_distance(*features)


def test_constant_features_are_compared_as_they_are():
    zero, one = torch.zeros(6, 4), torch.ones(6, 4)
    assert frechet_inception_distance(zero, one) == pytest.approx(4.0)
    assert kernel_inception_distance(zero, one) == pytest.approx(1.0 + 8.0 - 2.0)


@pytest.mark.parametrize("images", [0, 1])
def test_one_image_or_none_is_no_distribution(features, images):
    real, sampled = features
    for first, second in ((real, sampled[:images]), (real[:images], sampled)):
        assert math.isnan(kernel_inception_distance(first, second))
        assert math.isnan(frechet_inception_distance(first, second))
    assert math.isnan(inception_score(real[:images]))


def test_above_the_published_subset_kid_takes_that(monkeypatch, features):
    monkeypatch.setattr(sample_metrics, "KID_SUBSET", 10)
    monkeypatch.setattr(sample_metrics, "KID_SUBSETS", 2000)
    whole = kernel_mmd(*(part.double().numpy() for part in features), kid_kernel_poly_coef0=1.0, **KERNEL)
    assert kernel_inception_distance(*features) == pytest.approx(whole, rel=0.15)
    assert kernel_inception_distance(*features) != whole
