"""The losses, by hand."""

import math

import pytest
import torch

from nerfgen_ns.model.losses import (
    hard_surface_loss,
    mask_loss,
    normal_smoothness_loss,
    perceptual_loss,
    rgb_loss,
    ssim_distance,
)


def test_a_background_weighs_what_it_is_said_to():
    rgb, pixels = torch.zeros(3, 3), torch.ones(3, 3)
    matte = torch.tensor([[1.0], [0.5], [0.0]])
    assert rgb_loss(rgb, pixels, matte, 0.2).item() == pytest.approx((1.0 + 0.6 + 0.2) / 3)
    assert rgb_loss(rgb, pixels, matte).item() == rgb_loss(rgb, pixels, None, 0.2).item() == 1.0


def test_rgb_loss_is_the_mean_squared_error_over_rays_and_channels():
    rgb = torch.tensor([[0.0, 0.5, 1.0], [1.0, 1.0, 1.0]])
    pixels = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 0.5]])
    assert rgb_loss(rgb, pixels).item() == pytest.approx((0.25 + 1.0 + 0.25) / 6)


def test_mask_loss_is_the_mean_squared_error_against_the_soft_matte():
    accumulation, matte = torch.tensor([[1.0], [0.25]]), torch.tensor([[0.5], [0.25]])
    assert mask_loss(accumulation, matte).item() == pytest.approx(0.25 / 2)


def test_hard_surface_loss_is_0_at_0_and_1_and_largest_at_a_half():
    assert hard_surface_loss(torch.tensor([[0.0, 1.0]])).item() == pytest.approx(0.0, abs=1e-6)
    half = hard_surface_loss(torch.tensor([[0.5]])).item()
    assert half == pytest.approx(-math.log(2 * math.exp(-0.5)) + math.log(1 + math.exp(-1)), abs=1e-6)
    weights = torch.linspace(0, 1, 11)
    values = [hard_surface_loss(weight[None, None]).item() for weight in weights]
    assert max(values) == pytest.approx(half) and values.index(max(values)) == 5


def test_hard_surface_loss_is_a_mean_not_a_sum_over_samples():
    weights = torch.rand(3, 8)
    assert hard_surface_loss(weights.repeat(1, 16)).item() == pytest.approx(
        hard_surface_loss(weights).item(), abs=1e-6
    )


def test_hard_surface_loss_of_no_samples_is_0():
    assert hard_surface_loss(torch.empty(0, 8)) == 0


def test_hard_surface_loss_pushes_weights_away_from_a_half():
    weights = torch.tensor([[0.4, 0.6]], requires_grad=True)
    (gradient,) = torch.autograd.grad(hard_surface_loss(weights), weights)
    assert gradient[0, 0] > 0 > gradient[0, 1]


def patches_of(rays: int, size: int) -> torch.Tensor:
    return torch.arange(rays).view(-1, size, size)


@pytest.mark.parametrize("size", [3, 8, 11, 16])
def test_the_perceptual_loss_is_0_for_equal_patches_and_reaches_their_rays_alone(size):
    pixels = torch.rand(2 * size**2 + 5, 3)
    patches = patches_of(2 * size**2, size)
    assert perceptual_loss(pixels, pixels, patches, ssim_distance).item() == pytest.approx(0.0, abs=1e-5)
    rgb = torch.rand_like(pixels).requires_grad_()
    loss = perceptual_loss(rgb, pixels, patches, ssim_distance)
    assert 0.5 < loss.item() < 1.5
    loss.backward()
    assert rgb.grad is not None
    assert (rgb.grad[: 2 * size**2] != 0).any(dim=1).all() and (rgb.grad[2 * size**2 :] == 0).all()


def test_ssim_of_patches_is_that_of_images_and_a_mean_over_patches():
    from nerfgen_ns.metrics.images import ssim

    first, second = torch.rand(2, 2, 31, 31, 3)
    of_patch = [
        float(ssim_distance(*(image[None].permute(0, 3, 1, 2) for image in pair)))
        for pair in zip(first, second, strict=True)
    ]
    of_image = [1.0 - ssim(*pair) for pair in zip(first, second, strict=True)]
    # Windows at the borders, which the metric leaves out, are mirrored.
    assert of_patch == pytest.approx(of_image, abs=0.03)
    patches = patches_of(2 * 31**2, 31)
    whole = perceptual_loss(first.reshape(-1, 3), second.reshape(-1, 3), patches, ssim_distance)
    assert whole.item() == pytest.approx(sum(of_patch) / 2, abs=1e-5)


def test_an_error_outside_the_matte_has_the_background_s_weight_in_the_perceptual_loss():
    pixels, rgb = torch.rand(2, 64, 3)
    matte = torch.zeros(64, 1)
    patches = patches_of(64, 8)

    def loss(weight: float, matte: torch.Tensor | None) -> float:
        return perceptual_loss(rgb, pixels, patches, ssim_distance, matte, weight).item()

    assert loss(0.0, matte) == pytest.approx(0.0, abs=1e-5)
    assert loss(0.0, matte) < loss(0.3, matte) < loss(1.0, matte) == loss(0.3, None) == loss(0.3, matte + 1)


def surface(depth) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of a patch of 6 × 6 rays with a depth at each (row, column), and the numbers of its rays."""
    row, column = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
    points = torch.stack([column, -row, -depth(row, column)], dim=-1).reshape(-1, 3)
    return points, torch.arange(36).view(1, 6, 6)


def test_a_plane_has_smooth_normals_from_any_side_and_a_fold_has_not():
    met = torch.ones(36, 1)
    points, patches = surface(lambda row, column: 3.0 + 2.0 * row - 0.7 * column)
    assert normal_smoothness_loss(points, met, patches).item() == pytest.approx(0.0, abs=1e-5)
    # Of the 4 pairs of normals along each of 5 rows, one turns by 90°; none does along the columns.
    points, patches = surface(lambda row, column: (column - 2.0).abs())
    assert normal_smoothness_loss(points, met, patches).item() == pytest.approx(2**0.5 / 4 / 2, abs=1e-5)
    half = normal_smoothness_loss(points, 0.5 * met, patches).item()
    assert half == pytest.approx(0.5**6 * 2**0.5 / 4 / 2, abs=1e-5)


def test_the_gradient_of_the_smoothness_flattens_a_bump_and_is_finite_where_points_coincide():
    points, patches = surface(lambda row, column: torch.where((row == 3) & (column == 3), 0.5, 0.0))
    points.requires_grad_()
    normal_smoothness_loss(points, torch.ones(36, 1), patches).backward()
    assert points.grad[21, 2] < 0
    same = torch.zeros(36, 3, requires_grad=True)
    normal_smoothness_loss(same, torch.ones(36, 1), patches).backward()
    assert same.grad.isfinite().all()
