"""The pose correction: a small motion of each photograph's camera, learned with the class."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn

from nerfgen_ns.cameras.se3 import move_cameras, move_rays, rotation_matrices

OUTLIER = 0.5
"""A ray whose gradient is longer than so many times the mean length counts with that length."""
DRIFT_STEPS = 100
"""Steps after which what all motions have in common is taken from them."""


class PoseCorrection(nn.Module):
    """A turn and a shift for each photograph, both zero at first.

    The turn goes around the middle of the class, the origin, so that the object stays where it is in the
    image: that is the part of a pose which landmarks tell worst. nerfstudio's camera optimizer turns a camera
    around its own center instead; there the same change needs a turn and a shift that fit each other.

    The gradient of `forward` is sparse: a step costs what the photographs in its batch cost, however many
    there are.

    Args:
        photographs: how many photographs there are. Photographs of one identity have a correction each.
    """

    def __init__(self, photographs: int) -> None:
        super().__init__()
        self.motions = nn.Embedding(photographs, 6, sparse=True)
        nn.init.zeros_(self.motions.weight)
        self.is_learning = True

    def __len__(self) -> int:
        return self.motions.num_embeddings

    def forward(self, photographs: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch 6"]:
        """Motions of photographs: a rotation vector in radians, and a shift in the class's units."""
        motions = self.motions(photographs)
        return motions if self.is_learning else motions.detach()

    def move_rays(self, ray_bundle: RayBundle) -> tuple[RayBundle, Float[Tensor, "photographs 6"] | None]:
        """The rays as the corrected cameras send them, and the motions of the photographs among them.

        `metadata["photograph"]` says which photograph a ray belongs to. Rays of none stay as they are: what
        the viewer or a camera path shows is no photograph.
        """
        photograph = ray_bundle.metadata.get("photograph")
        if photograph is None:
            return ray_bundle, None
        rows, row_of_ray = photograph[:, 0].unique(return_inverse=True)
        motions = self(rows)
        of_rays = motions[row_of_ray]
        if of_rays.requires_grad:
            of_rays.register_hook(clip_outliers)
        return move_rays(ray_bundle, rigid_motions_of(of_rays)), motions

    @torch.no_grad()
    def move_cameras(
        self, camera_to_worlds: Float[Tensor, "photographs 3 4"]
    ) -> Float[Tensor, "photographs 3 4"]:
        """The corrected cameras of all photographs."""
        motions = rigid_motions_of(self.motions.weight.to(camera_to_worlds))
        return move_cameras(camera_to_worlds, motions)

    def follow(self, step: int, group: dict[str, Any]) -> None:
        """Learn in this step only if the optimizer's group does: gradients of rays cost time."""
        self.is_learning = group["lr"] > 0

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Take the mean from all motions: turning every camera alike turns the class frame, and no more."""
        if self.is_learning:
            self.motions.weight.sub_(self.motions.weight.mean(dim=0))


def rigid_motions_of(motions: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 4"]:
    """Motions as matrices: the camera is shifted first, and then turned with its shift."""
    turns = rotation_matrices(motions[..., :3])
    return torch.cat([turns, turns @ motions[..., 3:, None]], dim=-1)


def clip_outliers(gradient: Float[Tensor, "rays 6"]) -> Float[Tensor, "rays 6"]:
    """The gradients of rays, the long ones shortened.

    A few rays at outlines and at hair that no pose explains have gradients hundreds of times as long as most.
    """
    length = gradient.norm(dim=-1, keepdim=True)
    return gradient * (OUTLIER * length.mean() / length.clamp(min=1e-30)).clamp(max=1.0)


def turn_in_degrees(motions: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch"]:
    """How far motions turn."""
    return motions[..., :3].norm(dim=-1).rad2deg()


def pose_loss(motions: Float[Tensor, "photographs 6"], expected_degrees: float) -> Float[Tensor, ""]:
    """The mean squared motion in units of the expected error; a unit of length counts as a radian."""
    return motions.square().sum(dim=-1).mean() / math.radians(expected_degrees) ** 2
