"""Rigid motions of the world as tensors with gradients: a rotation about the origin, then a translation.

A motion has two forms. A pose delta is a vector of 6: `rotvec`, the rotation vector in radians, and then
`translation`, in units of the class frame. Its matrix is [R(rotvec) | translation], 3 × 4.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor


def rotation_matrices(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Return the rotations by θ = |v| radians about v, by Rodrigues' formula, differentiable at any angle.

    R = I + sin θ/θ · [v]× + ½ (sin ½θ / ½θ)² · [v]×², where [v]× is the matrix of the cross product with v.
    """
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    # torch.sinc(t) is sin(πt)/(πt): well behaved at zero, unlike the textbook quotients.
    angle = vectors.norm(dim=-1)[..., None, None] / math.pi
    first, second = torch.sinc(angle), 0.5 * torch.sinc(0.5 * angle) ** 2
    identity = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    return identity + first * cross + second * cross @ cross


def motion_matrices(pose_delta: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 4"]:
    """Return the matrices of pose deltas."""
    rotvec, translation = pose_delta[..., :3], pose_delta[..., 3:]
    return torch.cat([rotation_matrices(rotvec), translation[..., None]], dim=-1)


def move_rays(ray_bundle: RayBundle, motions: Float[Tensor, "rays 3 4"]) -> RayBundle:
    """Move each ray by its own motion; gradients reach the motions."""
    rotation, translation = motions[..., :3], motions[..., 3]
    return replace(
        ray_bundle,
        origins=torch.einsum("rij,rj->ri", rotation, ray_bundle.origins) + translation,
        directions=torch.einsum("rij,rj->ri", rotation, ray_bundle.directions),
    )


def move_cameras(
    camera_to_worlds: Float[Tensor, "n 3 4"], motions: Float[Tensor, "n 3 4"]
) -> Float[Tensor, "n 3 4"]:
    """Move each camera-to-world matrix by its own motion, as `move_rays` moves its rays."""
    rotation, translation = motions[..., :3], motions[..., 3:]
    return torch.cat(
        [rotation @ camera_to_worlds[..., :3], rotation @ camera_to_worlds[..., 3:] + translation], dim=-1
    )
