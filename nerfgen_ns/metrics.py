"""Metrics of images, through torchmetrics."""

import torch
from jaxtyping import Float
from torch import Tensor


def psnr(rendered: Float[Tensor, "*shape 3"], image: Float[Tensor, "*shape 3"]) -> Float[Tensor, ""]:
    """Peak signal-to-noise ratio in dB for values in [0, 1]; infinite where both are equal."""
    return -10.0 * torch.log10(torch.mean((rendered - image) ** 2))


def image_metrics(
    rendered: Float[Tensor, "height width 3"], image: Float[Tensor, "height width 3"]
) -> dict[str, float]:
    """PSNR in dB and, from 11 pixels a side on (the size of its window), SSIM."""
    metrics = {"psnr": float(psnr(rendered, image))}
    if min(image.shape[:2]) >= 11:
        from torchmetrics.functional.image import structural_similarity_index_measure

        first, second = (value.permute(2, 0, 1)[None] for value in (rendered, image))
        ssim = structural_similarity_index_measure(first, second, data_range=1.0)
        assert isinstance(ssim, Tensor)
        metrics["ssim"] = float(ssim)
    return metrics
