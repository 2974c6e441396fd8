"""Training on mirrored rays: each photograph gives a second view of a nearly symmetric object."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nerfgen_ns.errors import check_options


@dataclass
class SymmetryConfig:
    """Training on mirrored rays."""

    mirrored_share: float = 0.0
    """Share of the training rays that are mirrored in the class's plane of symmetry, x = 0, and their codes
    with them: for classes of nearly symmetric objects, whose photographs then show both sides."""
    lopsided_share: float = 0.125
    """Share of a latent code's entries that change their sign in the mirror. They say how left and right
    differ; 0 makes every object symmetric."""

    def check(self, option: str) -> None:
        """Raise a UsageError that names the option, which begins with `option`, of a negative share."""
        check_options(self, option, dict.fromkeys(vars(self), 0.0))


def draw_mirrored(rays: RayBundle, share: float) -> Bool[Tensor, "rays 1"]:
    """Choose at random which rays are mirrored."""
    return torch.rand_like(rays.origins[:, :1]) < share


def mirror_rays(rays: RayBundle, mirrored: Bool[Tensor, "rays 1"]) -> RayBundle:
    """Return rays of the class frame, with the chosen ones mirrored in the plane x = 0."""
    flip = torch.cat([_sign(mirrored, rays.origins), torch.ones_like(rays.origins[:, 1:])], dim=-1)
    return replace(rays, origins=rays.origins * flip, directions=rays.directions * flip)


def mirror_codes(
    codes: Float[Tensor, "codes latent"], mirrored: Bool[Tensor, "rays 1"], lopsided_share: float
) -> Float[Tensor, "rays latent"]:
    """Return the code of each ray, given one for all or one each; mirrored rays get a mirrored code.

    A mirrored code, that of the mirrored object, has the other sign in its first entries; they are
    `lopsided_share` of all entries. Where a ray and its code are both mirrored, the color is the same: that
    is what the field learns. The entries that keep their sign describe what left and right share, which a
    single photograph then shows twice; the others describe how they differ. The method is ours. Its idea,
    that an object in the mirror is a second view of a nearly symmetric one, is that of Wu et al.,
    "Unsupervised Learning of Probably Symmetric Deformable 3D Objects from Images in the Wild" (CVPR 2020).
    """
    codes = codes.expand(len(mirrored), -1)
    lopsided, even = codes.tensor_split([round(lopsided_share * codes.shape[1])], dim=1)
    return torch.cat([lopsided * _sign(mirrored, codes), even], dim=1)


def _sign(mirrored: Bool[Tensor, "rays 1"], like: Tensor) -> Float[Tensor, "rays 1"]:
    return 1.0 - 2.0 * mirrored.to(like.dtype)
