"""Volume rendering: densities along rays become weights, colors, depths and normals. Pure functions."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from nerfgen_ns.fields.foreground import LatentTerms
from nerfgen_ns.fields.regions import ShownField


def rendering_weights(
    density: Float[Tensor, "rays samples"], lengths: Float[Tensor, "rays samples"]
) -> Float[Tensor, "rays samples"]:
    """Compute wᵢ = Tᵢ·(1 − exp(−σᵢδᵢ)) with Tᵢ = exp(−Σ_{j<i} σⱼδⱼ).

    Mildenhall et al., "NeRF" (ECCV 2020), equation 3.

    Args:
        density: σ at each sample, per unit of length.
        lengths: δ, the length of ray that each sample covers.
    """
    optical_depth = density * lengths
    # An exclusive sum: cumsum minus its own term can be negative by rounding, and then Σ wᵢ is above 1.
    before = F.pad(optical_depth[..., :-1], (1, 0)).cumsum(dim=-1)
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


FAINT = 0.01
"""Rendering weight below which a sample is not asked what it is: most samples of a ray are before the surface
or behind it."""


class SeenSamples(NamedTuple):
    """The samples that show in pixels, ray by ray, for heads on the foreground field."""

    rays: Int[Tensor, " samples"]
    """The ray of each sample, rising."""
    weights: Float[Tensor, " samples"]
    """Rendering weights, scaled so that they sum to the accumulation of their ray."""
    features: Float[Tensor, "samples features"]
    """Hidden features of the foreground field."""
    positions: Float[Tensor, "samples 3"]
    """In the class frame."""

    def composite(
        self, values: Float[Tensor, "samples channels"], num_rays: int
    ) -> Float[Tensor, "rays channels"]:
        """Compute Σ wᵢ·vᵢ of each ray."""
        sums = values.new_zeros(num_rays, values.shape[-1])
        return sums.index_add(0, self.rays, self.weights[:, None] * values)


def seen_samples(
    rays: Int[Tensor, " samples"],
    weights: Float[Tensor, " samples"],
    features: Float[Tensor, "samples features"],
    positions: Float[Tensor, "samples 3"],
    num_rays: int,
) -> SeenSamples:
    """Choose the samples that are not faint; for the arguments see `SeenSamples`."""
    (kept,) = (weights.detach() > FAINT).nonzero(as_tuple=True)
    own, ray = weights[kept], rays[kept]
    of_all = weights.new_zeros(num_rays).index_add(0, rays, weights)
    scale = of_all / weights.new_zeros(num_rays).index_add(0, ray, own).clamp(min=FAINT)
    return SeenSamples(ray, own * scale[ray], features[kept], positions[kept])


def composite(
    weights: Float[Tensor, "rays samples"],
    colors: Float[Tensor, "rays samples 3"],
    distances: Float[Tensor, "rays samples"],
    background: Float[Tensor, "rays 3"],
    far: Float[Tensor, "rays 1"],
) -> Composite:
    """Compute C = Σ wᵢcᵢ + (1 − Σ wᵢ)·background (LOLNeRF, section 3.3)."""
    # Not a matrix product: within an autocast that would round colors to half precision.
    foreground = (weights[..., None] * colors).sum(dim=-2)
    accumulation = weights.sum(dim=-1, keepdim=True)
    reached = (weights * distances).sum(dim=-1, keepdim=True)
    depth = reached / accumulation.clamp(min=1e-6)
    depth = torch.where(accumulation > 1e-3, depth, far)
    return Composite(foreground + (1.0 - accumulation) * background, foreground, accumulation, depth)


VISIBLE = 0.5
"""Accumulation from which a ray is taken to end on a surface."""


def normal_colors(
    field: ShownField,
    positions: Float[Tensor, "rays 3"],
    terms: LatentTerms,
    accumulation: Float[Tensor, "rays 1"],
) -> Float[Tensor, "rays 3"]:
    """Return the normals where rays end on a surface as colors in [0, 1], and middle gray elsewhere."""
    (seen,) = (accumulation[:, 0] > VISIBLE).nonzero(as_tuple=True)
    normals = torch.zeros_like(positions)
    normals[seen] = surface_normals(field, positions[seen], terms.of_rays(seen))
    return 0.5 + 0.5 * normals


def surface_normals(
    field: ShownField, positions: Float[Tensor, "rays 3"], terms: LatentTerms
) -> Float[Tensor, "rays 3"]:
    """Compute unit normals −∇σ/‖∇σ‖ in the class frame at one position a ray, even in `torch.no_grad`."""
    with torch.enable_grad():
        positions = positions.detach().requires_grad_()
        terms = LatentTerms(term.detach() for term in terms)
        density = field.density(positions[:, None], terms)
        (gradient,) = torch.autograd.grad(density.clamp(min=1e-10).log().sum(), positions)
    # Rounding may leave a component beyond 1, which nerfstudio's exporter refuses.
    return -F.normalize(gradient, dim=-1).clamp(-1.0, 1.0)
