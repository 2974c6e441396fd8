"""Metrics of images."""

import math

import pytest
import torch

from nerfgen_ns.metrics import image_metrics, psnr


def test_psnr_known_values():
    image = torch.full((4, 3), 0.5)
    assert psnr(image + 0.1, image).item() == pytest.approx(20.0, abs=1e-4)
    assert psnr(image + 0.01, image).item() == pytest.approx(40.0, abs=1e-3)
    assert math.isinf(psnr(image, image).item())


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
