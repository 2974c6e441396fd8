"""Small corrections of cameras that are found together with the codes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.lie_groups import exp_map_SO3xR3
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor


@dataclass(frozen=True)
class CameraSpread:
    """How far cameras are expected to be off: standard deviations around the class frame's axes."""

    turn: float = 0.05
    """Of the turn around each axis through the origin, radians."""
    shift: float = 0.03
    """Of the shift along each axis, units of the class frame."""

    def rigid_motions(self, amounts: Float[Tensor, "n 6"]) -> Float[Tensor, "n 3 4"]:
        """Motions of the world from amounts in standard deviations: three shifts, then three turns."""
        scale = amounts.new_tensor([self.shift] * 3 + [self.turn] * 3)
        return exp_map_SO3xR3(amounts * scale)


def move_rays(
    ray_bundle: RayBundle, motions: Float[Tensor, "n 3 4"], of_ray: Int[Tensor, "rays"]
) -> RayBundle:
    """Rays turned about the origin and shifted, each by its own motion; gradients reach the motions."""
    own = motions[of_ray]
    turn, shift = own[:, :, :3], own[:, :, 3]
    return replace(
        ray_bundle,
        origins=torch.einsum("rij,rj->ri", turn, ray_bundle.origins) + shift,
        directions=torch.einsum("rij,rj->ri", turn, ray_bundle.directions),
    )


def move_cameras(
    camera_to_worlds: Float[Tensor, "n 3 4"], motions: Float[Tensor, "n 3 4"]
) -> Float[Tensor, "n 3 4"]:
    """Camera-to-world matrices moved as `move_rays` moves their rays."""
    turn, shift = motions[:, :, :3], motions[:, :, 3:]
    return torch.cat([turn @ camera_to_worlds[:, :, :3], turn @ camera_to_worlds[:, :, 3:] + shift], dim=-1)
