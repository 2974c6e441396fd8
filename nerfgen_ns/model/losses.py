"""The losses as pure functions, and their weights: those of the auto-decoder, LOLNeRF (CVPR 2022), 3.4."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from nerfgen_ns.errors import check_options

PatchDistance = Callable[
    [Float[Tensor, "patches 3 size size"], Float[Tensor, "patches 3 size size"]], Float[Tensor, ""]
]
"""The distance of rendered patches from those of photographs; 0 where they are equal."""


@dataclass
class LossConfig:
    """The weights of the losses."""

    rgb_loss_mult: float = 1.0
    """Weight of the mean squared error of the color."""
    background_weight: float = 1.0
    """Weight of the colors outside the matte, where those inside have 1. Object and background share one
    code, and what it says of the one is lost to the other."""
    mask_loss_mult: float = 1.0
    """Weight of the mean squared error of the accumulation against the matte, where there are mattes."""
    hard_surface_loss_mult: float = 0.1
    """Weight of the hard-surface loss, a mean over the samples."""
    landmark_depth_loss_mult: float = 0.01
    """Weight of the Huber loss of the depth, in standard deviations, on rays through landmarks; a mean over
    all rays. There are such rays if --pipeline.datamanager.pixel-sampler.landmark-fraction is above 0."""
    perceptual_loss_mult: float = 0.0
    """Weight of the perceptual loss, a mean over patches. There are patches if
    --pipeline.datamanager.pixel-sampler.patch-fraction is above 0."""
    normal_smoothness_loss_mult: float = 0.0
    """Weight of the difference of neighboring normals of the surface that patches show, a mean over pairs. It
    too needs --pipeline.datamanager.pixel-sampler.patch-fraction."""
    perceptual_distance: Literal["ssim", "lpips"] = "ssim"
    """What the perceptual loss is. ssim: 1 − SSIM; lpips: LPIPS with AlexNet, whose weights
    --pipeline.lpips-weights gives; it needs patches of 31 rays or more a side."""

    def check(self, option: str) -> None:
        """Raise a UsageError that names the option, which begins with `option`, of a negative weight."""
        weights = {name: 0.0 for name, value in vars(self).items() if not isinstance(value, str)}
        check_options(self, option, weights)


def rgb_loss(
    rgb: Float[Tensor, "rays 3"],
    pixels: Float[Tensor, "rays 3"],
    matte: Float[Tensor, "rays 1"] | None = None,
    background_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """Compute the mean squared error of the composited color against the pixel; both in [0, 1].

    Args:
        rgb: composited colors.
        pixels: what they should be.
        matte: the pixels' matte in [0, 1]; without it all pixels weigh the same.
        background_weight: of a pixel outside the matte, where one inside has 1.
    """
    if matte is None or background_weight == 1.0:
        return F.mse_loss(rgb, pixels)
    return ((matte + background_weight * (1.0 - matte)) * (rgb - pixels).square()).mean()


def mask_loss(accumulation: Float[Tensor, "rays 1"], matte: Float[Tensor, "rays 1"]) -> Float[Tensor, ""]:
    """Compute the mean squared error of Σ wᵢ against the matte; both in [0, 1]."""
    return F.mse_loss(accumulation, matte)


def hard_surface_loss(weights: Float[Tensor, "rays samples"]) -> Float[Tensor, ""]:
    """Compute the mean of −log(exp(−|w|) + exp(−|1 − w|)) over all samples, shifted to a minimum of 0.

    It is 0 where a weight is 0 or 1, and largest at ½, 0.12: so density concentrates at surfaces. Take care
    when comparing weights of this loss between implementations: a sum over 128 samples is 128 times this
    mean. Without samples it is 0.
    """
    if weights.numel() == 0:
        return weights.sum()
    value = -torch.logaddexp(-weights.abs(), -(1.0 - weights).abs())
    return value.mean() + math.log1p(math.exp(-1.0))


def landmark_depth_loss(
    depth: Float[Tensor, "rays 1"], distance: Float[Tensor, "rays 1"], std: Float[Tensor, "rays 1"]
) -> Float[Tensor, ""]:
    """Compute the mean over all rays of the Huber loss of (depth − distance) / std.

    Beyond one standard deviation it grows linearly. A ray whose distance is unknown has an infinite one,
    and adds nothing. The idea is that of Deng et al., "Depth-supervised NeRF" (CVPR 2022); there the points
    come from structure from motion.
    """
    error = (depth - distance) / std
    return F.huber_loss(error, torch.zeros_like(error))


def ssim_distance(
    rendered: Float[Tensor, "patches 3 size size"], image: Float[Tensor, "patches 3 size size"]
) -> Float[Tensor, ""]:
    """Compute 1 − SSIM, a mean over windows: Wang et al., "Image quality assessment" (2004).

    The Gaussian window is 11 rays wide, as published, or as wide as a smaller patch. Patches are mirrored at
    their borders.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    # torchmetrics makes a window of 2·round(3.5·sigma) + 1, which is 11 with the published sigma.
    sigma = min(1.5, (image.shape[-1] - 1) // 2 / 3.5)
    similarity = structural_similarity_index_measure(rendered, image, sigma=sigma, data_range=1.0)
    assert isinstance(similarity, Tensor)
    return 1.0 - similarity


def perceptual_loss(
    rgb: Float[Tensor, "rays 3"],
    pixels: Float[Tensor, "rays 3"],
    patches: Int[Tensor, "patches size size"],
    distance: PatchDistance,
    matte: Float[Tensor, "rays 1"] | None = None,
    background_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """Compute the distance of rendered patches from those of photographs.

    Args:
        rgb: composited colors in [0, 1].
        pixels: what they should be.
        patches: the number of each ray of each patch.
        distance: of two images.
        matte: the pixels' matte in [0, 1].
        background_weight: what remains of an error outside the matte, so that, as in `rgb_loss`, it counts
            less.
    """
    # Variances are small differences of large numbers, which half precision does not have.
    with torch.autocast(rgb.device.type, enabled=False):
        rgb = rgb.float()
        if matte is not None and background_weight != 1.0:
            rgb = torch.lerp(pixels, rgb, matte + background_weight * (1.0 - matte))
        rendered, image = (values[patches].permute(0, 3, 1, 2) for values in (rgb, pixels))
        return distance(rendered, image)


def normal_smoothness_loss(
    points: Float[Tensor, "rays 3"],
    accumulation: Float[Tensor, "rays 1"],
    patches: Int[Tensor, "patches size size"],
) -> Float[Tensor, ""]:
    """Compute the mean length of the difference of neighboring normals of the surface that patches show.

    The normal of a ray is that of the triangle with the ray to its right and the one below. A pair counts as
    much as its rays meet the object. The idea is that of Niemeyer et al., "RegNeRF" (CVPR 2022), 4.1, where
    differences of depths are penalized; a plane that is seen from the side has no loss here.

    Args:
        points: where each ray meets the surface.
        accumulation: of each ray, in [0, 1].
        patches: the number of each ray of each patch.
    """
    with torch.autocast(points.device.type, enabled=False):
        corners = points.float()[patches]
        met = accumulation.detach().float()[patches].squeeze(-1)
        right, below = corners[:, :-1, 1:] - corners[:, :-1, :-1], corners[:, 1:, :-1] - corners[:, :-1, :-1]
        normals = F.normalize(torch.linalg.cross(right, below), dim=-1)
        met = met[:, :-1, :-1] * met[:, :-1, 1:] * met[:, 1:, :-1]
        pairs = [
            (met.narrow(axis, 1, met.shape[axis] - 1) * met.narrow(axis, 0, met.shape[axis] - 1))
            * normals.diff(dim=axis).norm(dim=-1)
            for axis in (1, 2)
        ]
        return torch.stack([pair.mean() for pair in pairs]).mean()
