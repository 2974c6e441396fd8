"""The losses as pure functions, and their weights: those of the auto-decoder, LOLNeRF (CVPR 2022), 3.4."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nerfgen_ns.errors import check_options


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

    def check(self, option: str) -> None:
        """Raise a UsageError that names the option, which begins with `option`, of a negative weight."""
        check_options(self, option, dict.fromkeys(vars(self), 0.0))


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
