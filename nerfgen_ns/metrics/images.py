"""Metrics of images: PSNR, SSIM and masks.

Colors are in [0, 1]. NaN where there is nothing to compare; NaN colors give NaN.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

SSIM_WINDOW = 11
"""Width in pixels of the Gaussian window of SSIM."""


def psnr(rendered: Float[Tensor, "*shape 3"], image: Float[Tensor, "*shape 3"]) -> Float[Tensor, ""]:
    """Compute the peak signal-to-noise ratio in dB; infinite where both are equal."""
    return -10.0 * torch.log10(torch.mean((rendered - image) ** 2))


def foreground_psnr(
    rgb: Float[Tensor, "height width 3"],
    image: Float[Tensor, "height width 3"],
    matte: Float[Tensor, "height width"],
) -> float:
    """Compute PSNR in dB over the pixels whose matte exceeds ½; NaN where there is none."""
    foreground = matte > 0.5
    return float(psnr(rgb[foreground], image[foreground]))


def ssim(
    rendered: Float[Tensor, "height width 3"],
    image: Float[Tensor, "height width 3"],
    matte: Float[Tensor, "height width"] | None = None,
) -> float:
    """Compute SSIM: Wang et al., "Image quality assessment" (2004), with its Gaussian window.

    Args:
        rendered: the render.
        image: the truth.
        matte: if given, the mean is over the windows whose middle has a matte above ½.

    Returns:
        The mean over the windows inside the image; NaN where there is none, as below 11 pixels a side.
    """
    if min(image.shape[:2]) < SSIM_WINDOW:
        return math.nan
    from torchmetrics.functional.image import structural_similarity_index_measure

    # In double precision: single precision has an error of 1e-5 where an image is constant.
    first, second = (value.permute(2, 0, 1)[None].double() for value in (rendered, image))
    _, windows = structural_similarity_index_measure(first, second, data_range=1.0, return_full_image=True)
    inside = slice(SSIM_WINDOW // 2, -(SSIM_WINDOW // 2))
    windows = windows[0, :, inside, inside]
    return float(windows.mean() if matte is None else windows[:, matte[inside, inside] > 0.5].mean())


def mask_iou(accumulation: Float[Tensor, "*shape"], matte: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Compute the intersection over union of where both exceed ½; 1 where neither does anywhere."""
    rendered, true = accumulation > 0.5, matte > 0.5
    union = (rendered | true).sum()
    return torch.where(union > 0, (rendered & true).sum() / union.clamp(min=1), 1.0)


def image_metrics(
    rendered: Float[Tensor, "height width 3"], image: Float[Tensor, "height width 3"]
) -> dict[str, float]:
    """Compute PSNR in dB and, from 11 pixels a side on (the size of its window), SSIM."""
    metrics = {"psnr": float(psnr(rendered, image))}
    if min(image.shape[:2]) >= SSIM_WINDOW:
        metrics["ssim"] = ssim(rendered, image)
    return metrics
