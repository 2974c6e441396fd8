"""Metrics of images against other implementations, on random and degenerate input."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from nerfgen_ns.metrics.images import foreground_psnr, image_metrics, mask_iou, psnr, ssim


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(24, 31, 3, generator=generator)
    return (image + 0.2 * torch.randn(image.shape, generator=generator)).clamp(0, 1), image


def ssim_map(rendered: torch.Tensor, image: torch.Tensor) -> np.ndarray:
    _, windows = structural_similarity(
        rendered.double().numpy(),
        image.double().numpy(),
        data_range=1.0,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return windows[5:-5, 5:-5]


def test_psnr_equals_torchmetrics_and_scikit_image(images):
    from torchmetrics.functional.image import peak_signal_noise_ratio as by_torchmetrics

    rendered, image = images
    assert float(psnr(rendered, image)) == pytest.approx(
        float(by_torchmetrics(rendered, image, data_range=1.0)), abs=1e-4
    )
    by_skimage = peak_signal_noise_ratio(image.numpy(), rendered.numpy(), data_range=1.0)
    assert float(psnr(rendered, image)) == pytest.approx(by_skimage, abs=1e-4)


def test_psnr_inside_a_matte_sees_the_pixels_above_one_half_alone(images):
    rendered, image = images
    matte = torch.zeros(24, 31)
    matte[3:9, 4:20], matte[12:, :] = 0.51, 0.5
    by_hand = -10 * np.log10(((rendered - image)[3:9, 4:20].numpy().astype(float) ** 2).mean())
    assert foreground_psnr(rendered, image, matte) == pytest.approx(by_hand, abs=1e-4)


def test_ssim_equals_scikit_image_whole_and_inside_a_matte(images):
    rendered, image = images
    windows = ssim_map(rendered, image)
    assert ssim(rendered, image) == pytest.approx(windows.mean(), abs=1e-5)
    matte = (torch.rand(24, 31, generator=torch.Generator().manual_seed(1)) > 0.6).float()
    inside = matte.numpy()[5:-5, 5:-5] > 0.5
    assert ssim(rendered, image, matte) == pytest.approx(windows[inside].mean(), abs=1e-5)


@pytest.mark.parametrize("shade", [0.0, 0.4, 1.0])
def test_constant_images_score_as_scikit_image_scores_them(shade):
    image = torch.full((16, 16, 3), 0.4)
    rendered = torch.full_like(image, shade)
    expected = ssim_map(rendered, image).mean()
    assert ssim(rendered, image) == pytest.approx(expected, abs=1e-5)
    by_hand = math.inf if shade == 0.4 else -10 * math.log10((shade - 0.4) ** 2)
    assert float(psnr(rendered, image)) == pytest.approx(by_hand, abs=1e-3)


def test_an_empty_matte_has_no_score(images):
    rendered, image = images
    empty = torch.zeros(24, 31)
    assert math.isnan(foreground_psnr(rendered, image, empty))
    assert math.isnan(ssim(rendered, image, empty))


def test_colors_that_are_no_number_are_not_passed_over(images):
    rendered, image = images
    broken = rendered.clone()
    broken[12, 15] = math.nan
    assert math.isnan(float(psnr(broken, image)))
    assert math.isnan(ssim(broken, image))
    matte = torch.ones(24, 31)
    assert math.isnan(foreground_psnr(broken, image, matte))
    matte[12, 15] = 0
    assert math.isfinite(foreground_psnr(broken, image, matte))


def test_an_image_smaller_than_the_window_has_no_ssim():
    image = torch.rand(10, 40, 3, generator=torch.Generator().manual_seed(0))
    assert math.isnan(ssim(image, image))
    assert math.isnan(ssim(image, image, torch.ones(10, 40)))
    assert ssim(image.repeat(2, 1, 1)[:11], image.repeat(2, 1, 1)[:11]) == pytest.approx(1.0)


def test_psnr_known_values():
    image = torch.full((4, 3), 0.5)
    assert psnr(image + 0.1, image).item() == pytest.approx(20.0, abs=1e-4)
    assert psnr(image + 0.01, image).item() == pytest.approx(40.0, abs=1e-3)
    assert math.isinf(psnr(image, image).item())


def test_mask_iou_known_values():
    accumulation = torch.tensor([0.9, 0.6, 0.51, 0.0, 0.5])
    assert mask_iou(accumulation, torch.tensor([1.0, 0.7, 0.0, 0.9, 0.0])).item() == pytest.approx(2 / 4)
    assert mask_iou(accumulation, accumulation).item() == 1.0
    assert mask_iou(accumulation, 1.0 - accumulation).item() == 0.0
    nothing = torch.zeros(5)
    assert mask_iou(nothing, nothing).item() == 1.0
    assert mask_iou(accumulation, nothing).item() == 0.0


def test_mask_iou_is_that_of_sets():
    accumulation, matte = torch.rand(7, 5, 1), torch.rand(7, 5, 1)
    rendered, true = (
        {place for place, value in enumerate(values.flatten()) if value > 0.5}
        for values in (accumulation, matte)
    )
    by_hand = len(rendered & true) / len(rendered | true)
    assert mask_iou(accumulation, matte).item() == pytest.approx(by_hand)


def test_ssim_is_1_for_equal_images_and_falls_with_noise():
    image = torch.rand(16, 20, 3)
    assert image_metrics(image, image)["ssim"] == pytest.approx(1.0, abs=1e-5)
    noisy = (image + 0.2 * torch.randn_like(image)).clamp(0, 1)
    metrics = image_metrics(noisy, image)
    assert metrics["ssim"] < 0.95
    assert metrics["psnr"] == pytest.approx(psnr(noisy, image).item())


def test_images_smaller_than_the_window_of_ssim_have_psnr_alone():
    image = torch.rand(10, 40, 3)
    assert image_metrics(image * 0.9, image).keys() == {"psnr"}
