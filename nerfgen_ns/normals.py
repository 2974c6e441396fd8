"""Surface normals from the gradient of the density."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nerfgen_ns.fields.foreground import ForegroundField, LatentTerms


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
