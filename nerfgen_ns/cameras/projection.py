"""Pinhole cameras: where points are seen, and how deep.

Frames: the class frame is right-handed, y up; cameras look along −z with y up (OpenGL); pixels count from the
upper left corner with pixel centers at +0.5. Importing this does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras as NerfstudioCameras
    from torch import Tensor


@dataclass
class Cameras:
    """n cameras: `rotation @ point + translation` takes the class frame to the camera frame."""

    rotation: Float[np.ndarray, "n 3 3"]
    translation: Float[np.ndarray, "n 3"]
    focal: Float[np.ndarray, " n"] | Float[np.ndarray, "n 2"]
    """Focal length in pixels: one for both axes, or fx and fy."""
    center: Float[np.ndarray, "n 2"]
    """Principal point in pixels."""

    @classmethod
    def from_camera_to_world(
        cls,
        matrices: Float[np.ndarray, "n rows 4"],
        focal: Float[np.ndarray, " n"] | Float[np.ndarray, "n 2"],
        center: Float[np.ndarray, "n 2"],
    ) -> Cameras:
        """Make cameras from camera-to-world matrices (3 × 4 or 4 × 4), nerfstudio's `transform_matrix`."""
        rotation = matrices[:, :3, :3].transpose(0, 2, 1)
        translation = -np.einsum("nij,nj->ni", rotation, matrices[:, :3, 3])
        return cls(rotation, translation, focal, center)

    @classmethod
    def from_nerfstudio(cls, cameras: Iterable[NerfstudioCameras]) -> Cameras:
        """Make cameras from nerfstudio's, each of shape (1,), in double precision."""
        cameras = list(cameras)
        numbers = [[float(value) for value in (own.fx, own.fy, own.cx, own.cy)] for own in cameras]
        intrinsics = np.array(numbers).reshape(-1, 4)
        matrices = np.stack([own.camera_to_worlds[0].double().cpu().numpy() for own in cameras])
        return cls.from_camera_to_world(matrices, intrinsics[:, :2], intrinsics[:, 2:])

    def __len__(self) -> int:
        return len(self.rotation)

    def __getitem__(self, which: slice) -> Cameras:
        return Cameras(self.rotation[which], self.translation[which], self.focal[which], self.center[which])

    def camera_to_world(self) -> Float[np.ndarray, "n 4 4"]:
        """Return nerfstudio's `transform_matrix` of each camera: [Rᵀ | −Rᵀt]."""
        center = -np.einsum("nji,nj->ni", self.rotation, self.translation)
        return homogeneous(np.concatenate([self.rotation.transpose(0, 2, 1), center[..., None]], axis=2))

    def to_camera_frame(self, points: Float[np.ndarray, "*n m 3"]) -> Float[np.ndarray, "n m 3"]:
        """Transform points, the same for all cameras or each camera's own, into the camera frames."""
        return points @ self.rotation.transpose(0, 2, 1) + self.translation[:, None]


def homogeneous(matrices: Float[np.ndarray, "*n 3 4"]) -> Float[np.ndarray, "*n 4 4"]:
    """Append the row (0, 0, 0, 1) to rigid motions or camera-to-world matrices."""
    last = np.broadcast_to([[0.0, 0.0, 0.0, 1.0]], (*matrices.shape[:-2], 1, 4))
    return np.concatenate([matrices, last], axis=-2)


def project(cameras: Cameras, points: Float[np.ndarray, "*n m 3"]) -> Float[np.ndarray, "n m 2"]:
    """Project points, the same for all cameras or each camera's own, to pixels.

    u = cx + fx·X/(−Z), v = cy − fy·Y/(−Z), with X, Y, Z in the camera frame.
    """
    return _pixels(cameras, cameras.to_camera_frame(points))


def z_depths(cameras: Cameras, points: Float[np.ndarray, "*n m 3"]) -> Float[np.ndarray, "n m"]:
    """Return the depths of points along the optical axes: positive in front of the camera."""
    return -cameras.to_camera_frame(points)[..., 2]


def _pixels(cameras: Cameras, in_camera: Float[np.ndarray, "n m 3"]) -> Float[np.ndarray, "n m 2"]:
    slopes = in_camera[..., :2] / -in_camera[..., 2:] * [1.0, -1.0]
    return cameras.center[:, None] + cameras.focal.reshape(len(cameras), 1, -1) * slopes


def observe(cameras: Cameras, points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "n m 3"]:
    """Project points, with relative depth as a third coordinate, as landmark models guess it.

    Relative depth is in pixels, grows away from the camera and is measured from the points' mean:
    the scaled orthographic convention.
    """
    in_camera = cameras.to_camera_frame(points)
    scale = cameras.focal / cameras.translation[:, 2]
    depth = (in_camera[..., 2] - in_camera[..., 2].mean(axis=1, keepdims=True)) * scale[:, None]
    return np.concatenate([_pixels(cameras, in_camera), depth[..., None]], axis=-1)


def project_tensors(
    camera: NerfstudioCameras, points: Float[Tensor, "*n 3"]
) -> tuple[Float[Tensor, "*n 2"], Float[Tensor, "*n"]]:
    """Do as `project` and `z_depths` for tensors on any device and a nerfstudio camera of shape (1,)."""
    import torch

    matrix = camera.camera_to_worlds[0].to(points)
    in_camera = (points - matrix[:, 3]) @ matrix[:, :3]
    depth = -in_camera[..., 2]
    scale = torch.cat([camera.fx[0], -camera.fy[0]]).to(points)
    center = torch.cat([camera.cx[0], camera.cy[0]]).to(points)
    return center + scale * in_camera[..., :2] / depth[..., None], depth
