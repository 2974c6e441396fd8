"""Surface normals from the gradient of the density."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nerfgen_ns.fields.foreground import ForegroundField, LatentTerms

VISIBLE = 0.5
"""Accumulation from which a ray is taken to end on a surface."""


def normal_colours(
    field: ForegroundField,
    positions: Float[Tensor, "rays 3"],
    terms: LatentTerms,
    accumulation: Float[Tensor, "rays 1"],
) -> Float[Tensor, "rays 3"]:
    """The normals where rays end on a surface as colours in [0, 1], and middle grey elsewhere."""
    (seen,) = (accumulation[:, 0] > VISIBLE).nonzero(as_tuple=True)
    normals = torch.zeros_like(positions)
    normals[seen] = surface_normals(field, positions[seen], terms.of_rays(seen))
    return 0.5 + 0.5 * normals


def surface_normals(
    field: ForegroundField, positions: Float[Tensor, "rays 3"], terms: LatentTerms
) -> Float[Tensor, "rays 3"]:
    """Unit normals −∇σ/‖∇σ‖ in the class frame at one position a ray; works under `torch.no_grad`, too."""
    with torch.enable_grad():
        positions = positions.detach().requires_grad_()
        terms = LatentTerms(*(term.detach() for term in terms))
        density = field.density(positions[:, None], terms)
        (gradient,) = torch.autograd.grad(density.clamp(min=1e-10).log().sum(), positions)
    # Rounding may leave a component beyond 1, which nerfstudio's exporter refuses.
    return -F.normalize(gradient, dim=-1).clamp(-1.0, 1.0)
