"""Volume rendering: from densities along rays to weights, colours and depths. Pure functions."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


def rendering_weights(
    density: Float[Tensor, "rays samples"], lengths: Float[Tensor, "rays samples"]
) -> Float[Tensor, "rays samples"]:
    """wᵢ = Tᵢ·(1 − exp(−σᵢδᵢ)) with Tᵢ = exp(−Σ_{j<i} σⱼδⱼ).

    Mildenhall et al., "NeRF" (ECCV 2020), equation 3.

    Args:
        density: σ at each sample, per unit of length.
        lengths: δ, the length of ray that each sample stands for.
    """
    optical_depth = density * lengths
    before = torch.cumsum(optical_depth, dim=-1) - optical_depth
    return torch.exp(-before) * -torch.expm1(-optical_depth)


class Composite(NamedTuple):
    """One value a ray."""

    rgb: Float[Tensor, "rays 3"]
    """Foreground over background."""
    foreground: Float[Tensor, "rays 3"]
    """Foreground over black: Σ wᵢcᵢ."""
    accumulation: Float[Tensor, "rays 1"]
    """Σ wᵢ."""
    depth: Float[Tensor, "rays 1"]
    """Expected distance along the ray, Σ wᵢtᵢ / Σ wᵢ; the far end where nothing is hit."""


def composite(
    weights: Float[Tensor, "rays samples"],
    colours: Float[Tensor, "rays samples 3"],
    distances: Float[Tensor, "rays samples"],
    background: Float[Tensor, "rays 3"],
    far: Float[Tensor, "rays 1"],
) -> Composite:
    """C = Σ wᵢcᵢ + (1 − Σ wᵢ)·background (LOLNeRF, section 3.3)."""
    foreground = torch.einsum("rs,rsc->rc", weights, colours)
    accumulation = weights.sum(dim=-1, keepdim=True)
    reached = (weights * distances).sum(dim=-1, keepdim=True)
    depth = reached / accumulation.clamp(min=1e-6)
    depth = torch.where(accumulation > 1e-3, depth, far)
    return Composite(foreground + (1.0 - accumulation) * background, foreground, accumulation, depth)
