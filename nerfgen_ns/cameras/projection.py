"""Pinhole cameras of a whole collection at once: rotations and projection.

Frames: the class frame is right-handed, y up; cameras look along −z with y up (OpenGL); pixels count from the
upper left corner with pixel centers at +0.5.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation


@dataclass
class Cameras:
    """n cameras: `rotation @ point + translation` takes the class frame to the camera frame."""

    rotation: Float[np.ndarray, "n 3 3"]
    translation: Float[np.ndarray, "n 3"]
    focal: Float[np.ndarray, "n"]
    """Focal length in pixels."""
    center: Float[np.ndarray, "n 2"]
    """Principal point in pixels."""

    def __len__(self) -> int:
        return len(self.rotation)

    def __getitem__(self, which: slice) -> "Cameras":
        return Cameras(self.rotation[which], self.translation[which], self.focal[which], self.center[which])

    def camera_to_world(self) -> Float[np.ndarray, "n 4 4"]:
        """nerfstudio's `transform_matrix` of each camera."""
        matrices = np.tile(np.eye(4), (len(self), 1, 1))
        matrices[:, :3, :3] = self.rotation.transpose(0, 2, 1)
        matrices[:, :3, 3] = -np.einsum("nji,nj->ni", self.rotation, self.translation)
        return matrices


def rotation_matrices(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3 3"]:
    """Return the rotations by `|v|` radians about `v`."""
    return Rotation.from_rotvec(vectors).as_matrix()


def rotation_vectors(rotation: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 3"]:
    """Return the shortest rotation vectors of rotations: at most π long; of the two of half a turn one."""
    return Rotation.from_matrix(rotation).as_rotvec()


def project(cameras: Cameras, points: Float[np.ndarray, "*n m 3"]) -> Float[np.ndarray, "n m 2"]:
    """Pixels of points, the same for all cameras or each its own: u = cx + f·X/(−Z), v = cy − f·Y/(−Z)."""
    seen = points @ cameras.rotation.transpose(0, 2, 1) + cameras.translation[:, None]
    return _project_seen(cameras, seen)


def _project_seen(cameras: Cameras, seen: Float[np.ndarray, "n m 3"]) -> Float[np.ndarray, "n m 2"]:
    slopes = seen[..., :2] / -seen[..., 2:] * [1.0, -1.0]
    return cameras.center[:, None] + cameras.focal[:, None, None] * slopes


def observe(cameras: Cameras, points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "n m 3"]:
    """Projection with relative depth as a third coordinate, as landmark models guess it.

    Relative depth is in pixels, grows away from the camera and is measured from the points' mean:
    the scaled orthographic convention.
    """
    seen = points @ cameras.rotation.transpose(0, 2, 1) + cameras.translation[:, None]
    scale = cameras.focal / cameras.translation[:, 2]
    depth = (seen[..., 2] - seen[..., 2].mean(axis=1, keepdims=True)) * scale[:, None]
    return np.concatenate([_project_seen(cameras, seen), depth[..., None]], axis=-1)
