"""The camera optimizer: a small change of each photograph's camera pose, learned with the class."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from nerfgen_ns.cameras.se3 import motion_matrices, move_cameras, move_rays
from nerfgen_ns.errors import check_options

OUTLIER = 0.5
"""Longest gradient of a ray, as a multiple of the mean length; a longer one is shortened to this."""
DRIFT_STEPS = 100
"""Steps after which the mean is subtracted from all pose deltas."""


@dataclass
class CameraOptimizerConfig(InstantiateConfig):
    """The refinement of camera poses in training."""

    _target: type = field(default_factory=lambda: CameraOptimizer)
    """Target class to instantiate."""
    mode: Literal["off", "SO3xR3"] = "off"
    """Whether the camera pose of each photograph is refined while the class is learned. The optimizer of the
    group camera_opt says when the refinement begins and how fast it is."""
    expected_degrees: float = 3.0
    """The error that the cameras are expected to have, in degrees of rotation; translations count by their
    angle at the distance of one unit. Changes are drawn to zero as by a normal distribution of this width."""
    loss_mult: float = 1e-5
    """Weight of the mean squared change, over rays, in units of the expected error. As one photograph's share
    of the evidence it is about the color's mean squared error divided by the pixels that show the object."""

    def check(self, option: str) -> None:
        """Raise a UsageError that names the option, which begins with `option`, of a negative number."""
        check_options(self, option, {"expected_degrees": 1e-3, "loss_mult": 0.0})


class CameraOptimizer(nn.Module):
    """A rotation and a translation for each photograph's camera, both zero at first.

    The rotation is about the middle of the class, the origin, so that the object stays where it is in the
    image: landmarks determine the rotation least exactly. nerfstudio's camera optimizer rotates a camera
    about its own center instead; there the same change needs a rotation and a matching translation.

    The gradient of `forward` is sparse: a step costs what the photographs in its batch cost, however many
    there are.

    Args:
        config: the weight of the changes.
        num_cameras: how many photographs there are. Photographs of one identity have a change each.
    """

    def __init__(self, config: CameraOptimizerConfig, num_cameras: int) -> None:
        super().__init__()
        self.config = config
        self.pose_deltas = nn.Embedding(num_cameras, 6, sparse=True)
        nn.init.zeros_(self.pose_deltas.weight)
        self.is_learning = True

    def __len__(self) -> int:
        return self.pose_deltas.num_embeddings

    def forward(self, photographs: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch 6"]:
        """Return the pose deltas of photographs: rotation vectors in radians, translations in class units."""
        pose_deltas = self.pose_deltas(photographs)
        return pose_deltas if self.is_learning else pose_deltas.detach()

    def move_rays(self, ray_bundle: RayBundle) -> tuple[RayBundle, Float[Tensor, "rays 6"] | None]:
        """Return the rays of the refined cameras, and the pose delta of each.

        `metadata["photograph"]` says which photograph a ray belongs to. Rays of none stay as they are: what
        the viewer or a camera path shows is no photograph.
        """
        photograph = ray_bundle.metadata.get("photograph")
        if photograph is None:
            return ray_bundle, None
        # One for each ray: to ask which photographs there are would wait for the GPU.
        pose_deltas = self(photograph[:, 0])
        moving = pose_deltas.view_as(pose_deltas)
        if moving.requires_grad:
            moving.register_hook(clip_outliers)
        return move_rays(ray_bundle, motion_matrices(moving)), pose_deltas

    @torch.no_grad()
    def move_cameras(
        self, camera_to_worlds: Float[Tensor, "photographs 3 4"]
    ) -> Float[Tensor, "photographs 3 4"]:
        """Return the refined cameras of all photographs."""
        motions = motion_matrices(self.pose_deltas.weight.to(camera_to_worlds))
        return move_cameras(camera_to_worlds, motions)

    def loss(self, pose_deltas: Float[Tensor, "rays 6"]) -> Float[Tensor, ""]:
        """Compute the weighted mean squared pose delta of rays in units of the expected error.

        A unit of length counts as a radian.
        """
        expected = math.radians(self.config.expected_degrees)
        return self.config.loss_mult * pose_deltas.square().sum(dim=-1).mean() / expected**2

    def follow(self, step: int, group: dict[str, Any]) -> None:
        """Learn in this step only if the optimizer's group does: gradients of rays cost time."""
        self.is_learning = group["lr"] > 0

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Subtract the mean from all pose deltas: what all cameras share only moves the class frame."""
        if self.is_learning:
            self.pose_deltas.weight.sub_(self.pose_deltas.weight.mean(dim=0))


def clip_outliers(gradient: Float[Tensor, "rays 6"]) -> Float[Tensor, "rays 6"]:
    """Return the gradients of rays, the long ones shortened.

    A few rays at outlines and at hair that no pose explains have gradients hundreds of times as long as most.
    """
    length = gradient.norm(dim=-1, keepdim=True)
    return gradient * (OUTLIER * length.mean() / length.clamp(min=1e-30)).clamp(max=1.0)


def rotation_degrees(pose_deltas: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch"]:
    """Return the angles of rotation in degrees."""
    return pose_deltas[..., :3].norm(dim=-1).rad2deg()
