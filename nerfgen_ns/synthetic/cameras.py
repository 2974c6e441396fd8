"""Pinhole cameras that look at an object: drawing their poses, projecting points, making rays."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

FOCAL_PER_WIDTH = 2.1
"""Focal length over image width."""


@dataclass(frozen=True)
class Camera:
    """A square pinhole camera, nerfstudio/OpenGL convention: it looks along its −z, y is up.

    Pixel (column, row) has its centre at (column + 0.5, row + 0.5).
    """

    yaw: float
    """Degrees; positive when the camera stands on the object's left (+x)."""
    pitch: float
    """Degrees; positive when the camera stands above."""
    roll: float
    """Degrees; positive when the camera's right rises."""
    camera_to_world: Float[np.ndarray, "4 4"]
    """Rotation and position."""
    size: int
    """Width and height in pixels."""

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return FOCAL_PER_WIDTH * self.size

    def rays(
        self, pixels: Float[np.ndarray, "n 2"]
    ) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 n"], Float[np.ndarray, "n"]]:
        """Position of the camera, unit directions through `pixels`, z-depth per length along each ray."""
        plane = np.empty((3, len(pixels)))
        plane[0] = (pixels[:, 0] - self.size / 2) / self.focal
        plane[1] = (self.size / 2 - pixels[:, 1]) / self.focal
        plane[2] = -1
        depth_per_length = 1 / np.linalg.norm(plane, axis=0)
        directions = self.camera_to_world[:3, :3] @ (plane * depth_per_length)
        return self.camera_to_world[:3, 3], directions, depth_per_length

    def project(
        self, points: Float[np.ndarray, "m 3"]
    ) -> tuple[Float[np.ndarray, "m 2"], Float[np.ndarray, "m"]]:
        """Pixels and z-depths of points of the world."""
        local = (points - self.camera_to_world[:3, 3]) @ self.camera_to_world[:3, :3]
        depth = -local[:, 2]
        u = self.size / 2 + self.focal * local[:, 0] / depth
        v = self.size / 2 - self.focal * local[:, 1] / depth
        return np.stack([u, v], axis=1), depth


def look_at_camera(
    yaw: float,
    pitch: float,
    roll: float,
    distance: float,
    size: int,
    target: tuple[float, float] = (0.0, 0.0),
) -> Camera:
    """A camera turned by yaw, pitch, roll (degrees) that looks at `target` = (right, up) of the origin."""
    a, b, c = np.radians([yaw, pitch, roll])
    turn_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    turn_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, :3] = turn_y @ turn_x @ turn_z
    pose[:3, 3] = turn_y @ turn_x @ np.array([target[0], target[1], distance])
    return Camera(yaw, pitch, roll, pose, size)


def sample_camera(random: np.random.Generator, size: int) -> Camera:
    """A camera as photographs of heads have it: mostly frontal, level, and well framed."""
    yaw = float(np.clip(random.normal(0, 20), -45, 45))
    pitch = float(random.normal(0, 8))
    roll = float(random.normal(0, 3))
    distance = float(random.uniform(2.6, 2.8))
    right, up = random.uniform(-0.02, 0.02, 2)
    return look_at_camera(yaw, pitch, roll, distance, size, (float(right), float(up)))


def sample_camera_around(random: np.random.Generator, size: int) -> Camera:
    """A camera anywhere around the object, from the horizon to well above, evenly over that part of the sky.

    So are the cameras of the cars in Sitzmann et al., "Scene Representation Networks" (NeurIPS 2019).
    """
    yaw = float(random.uniform(-180, 180))
    pitch = float(np.degrees(np.arcsin(random.uniform(0, np.sin(np.radians(70))))))
    return look_at_camera(yaw, pitch, 0.0, float(random.uniform(3.75, 3.95)), size)
