"""Volume rendering."""

import math

import pytest
import torch
from nerfstudio.cameras.rays import Frustums, RaySamples

from nerfgen_ns.rendering.volume_rendering import composite, rendering_weights


def test_weights_by_hand():
    weights = rendering_weights(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.5, 1.0]]))
    opaque = 1 - math.exp(-1)
    torch.testing.assert_close(weights, torch.tensor([[0.0, opaque, math.exp(-1) * opaque]]))


def test_weights_equal_nerfstudio_s():
    density, lengths = torch.rand(5, 7) * 10, torch.rand(5, 7)
    zeros = torch.zeros(5, 7, 1)
    frustums = Frustums(zeros.expand(5, 7, 3), zeros.expand(5, 7, 3), zeros, zeros, zeros)
    expected = RaySamples(frustums, deltas=lengths[..., None]).get_weights(density[..., None])
    torch.testing.assert_close(rendering_weights(density, lengths), expected[..., 0])


def test_weights_are_shares_of_a_ray_however_dense_it_is():
    for scale in (1e-4, 1.0, 1e4, 1e8):
        weights = rendering_weights(torch.rand(20, 300) * scale, torch.rand(20, 300))
        assert (weights >= 0).all() and (weights.sum(dim=-1) <= 1 + 1e-6).all()


def test_a_dense_sample_behind_a_thin_one_leaves_the_thin_one_its_share():
    weights = rendering_weights(torch.tensor([[1.0, 1e9, 1.0]]), torch.ones(1, 3))
    opaque = 1 - math.exp(-1)
    torch.testing.assert_close(weights, torch.tensor([[opaque, 1 - opaque, 0.0]]))


def test_thin_samples_keep_the_precision_of_their_weight():
    weights = rendering_weights(torch.tensor([[1e-9]]), torch.tensor([[1.0]]))
    assert weights.item() == pytest.approx(1e-9, rel=1e-5)


def one_ray(weights: list[float]):
    return composite(
        torch.tensor([weights]),
        torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]),
        torch.tensor([[2.0, 3.0]]),
        torch.tensor([[0.2, 0.4, 0.6]]),
        torch.tensor([[9.0]]),
    )


def test_an_opaque_sample_shows_its_own_color_and_distance():
    pixel = one_ray([1.0, 0.0])
    torch.testing.assert_close(pixel.rgb, torch.tensor([[1.0, 0.0, 0.0]]))
    assert pixel.accumulation.item() == 1.0 and pixel.depth.item() == 2.0


def test_an_empty_ray_shows_the_background_at_the_far_end():
    pixel = one_ray([0.0, 0.0])
    torch.testing.assert_close(pixel.rgb, torch.tensor([[0.2, 0.4, 0.6]]))
    torch.testing.assert_close(pixel.foreground, torch.zeros(1, 3))
    assert pixel.accumulation.item() == 0.0 and pixel.depth.item() == 9.0


def test_the_background_fills_what_the_weights_leave():
    pixel = one_ray([0.25, 0.25])
    torch.testing.assert_close(pixel.foreground, torch.tensor([[0.25, 0.25, 0.0]]))
    torch.testing.assert_close(pixel.rgb, torch.tensor([[0.35, 0.45, 0.3]]))
    assert pixel.depth.item() == pytest.approx(2.5)
