"""Rigid motions of the world: a rotation about the origin, then a translation, as matrices of 3 × 4."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor


def rotation_matrices(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations by `|v|` radians about `v`: Rodrigues' formula in a form that is differentiable at zero."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    # torch.sinc(t) is sin(πt)/(πt): well behaved at zero, unlike the textbook quotients.
    angle = vectors.norm(dim=-1)[..., None, None] / math.pi
    first, second = torch.sinc(angle), 0.5 * torch.sinc(0.5 * angle) ** 2
    return torch.eye(3).to(vectors) + first * cross + second * cross @ cross


def move_rays(ray_bundle: RayBundle, motions: Float[Tensor, "rays 3 4"]) -> RayBundle:
    """Rays, each moved by its own motion; gradients reach the motions."""
    turns, shifts = motions[..., :3], motions[..., 3]
    return replace(
        ray_bundle,
        origins=torch.einsum("rij,rj->ri", turns, ray_bundle.origins) + shifts,
        directions=torch.einsum("rij,rj->ri", turns, ray_bundle.directions),
    )


def move_cameras(
    camera_to_worlds: Float[Tensor, "n 3 4"], motions: Float[Tensor, "n 3 4"]
) -> Float[Tensor, "n 3 4"]:
    """Camera-to-world matrices, each moved by its own motion, as `move_rays` moves their rays."""
    turns, shifts = motions[..., :3], motions[..., 3:]
    return torch.cat([turns @ camera_to_worlds[..., :3], turns @ camera_to_worlds[..., 3:] + shifts], dim=-1)
