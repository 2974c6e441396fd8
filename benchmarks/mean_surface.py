"""The mean shape of a class as a surface of triangles, and a photograph warped by it to another camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import map_coordinates
from scipy.spatial import Delaunay

HULL_POINTS = 24
HULL = 1.6
"""How much wider than the landmarks the hull around them is; it stands for the rest of the head."""
FRAME = 1.5
"""Half the side of the square around everything, in units of the class frame, wider than any image."""


@dataclass(frozen=True)
class PinholeCamera:
    """One camera, as nerfstudio's: camera-to-world, OpenGL; pixels from the upper left corner."""

    camera_to_world: Float[np.ndarray, "3 4"]
    focal: Float[np.ndarray, "2"]
    center: Float[np.ndarray, "2"]

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Pixels and z-depth of points in the class frame."""
        seen = (points - self.camera_to_world[:, 3]) @ self.camera_to_world[:, :3]
        depth = -seen[:, 2]
        pixels = self.center + self.focal * [1.0, -1.0] * seen[:, :2] / depth[:, None]
        return np.column_stack([pixels, depth])


@dataclass(frozen=True)
class MeanSurface:
    """Triangles in the class frame."""

    points: Float[np.ndarray, "n 3"]
    triangles: Int[np.ndarray, "t 3"]


def mean_landmarks(
    cameras: list[PinholeCamera], landmarks: Float[np.ndarray, "k m 2"]
) -> Float[np.ndarray, "m 3"]:
    """Camera fitting with the poses known: the canonical landmarks that come nearest to all photographs' own.

    For each landmark it is the linear least squares of u·Z − X = 0 and v·Z − Y = 0 over all cameras.
    """
    rows, targets = [], []
    for camera, seen in zip(cameras, landmarks, strict=True):
        slopes = (seen - camera.center) / camera.focal * [1.0, -1.0]
        right, up, back = camera.camera_to_world[:, :3].T
        axes = np.stack([right, up])
        # With p the landmark and c the camera's center: axis·(p − c) = slope · −back·(p − c).
        row = axes + slopes[..., None] * back
        rows.append(row)
        targets.append(row @ camera.camera_to_world[:, 3])
    matrix, target = np.stack(rows, axis=1), np.stack(targets, axis=1)
    return np.stack(
        [
            np.linalg.lstsq(matrix[m].reshape(-1, 3), target[m].ravel(), rcond=None)[0]
            for m in range(landmarks.shape[1])
        ]
    )


def surface_of_landmarks(canonical: Float[np.ndarray, "m 3"]) -> MeanSurface:
    """The canonical landmarks, a hull around them at the depth of the rearmost, and a frame around all.

    Triangulated (Delaunay) as seen from the front, in the class frame's x and y.
    """
    rear = canonical[:, 2].min()
    middle = (canonical[:, :2].min(axis=0) + canonical[:, :2].max(axis=0)) / 2
    half = np.ptp(canonical[:, :2], axis=0) / 2
    angles = 2 * np.pi * np.arange(HULL_POINTS) / HULL_POINTS
    hull = middle + HULL * half * np.column_stack([np.cos(angles), np.sin(angles)])
    frame = FRAME * np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    around = np.concatenate([hull, frame])
    points = np.concatenate([canonical, np.column_stack([around, np.full(len(around), rear)])])
    return MeanSurface(points, Delaunay(points[:, :2]).simplices)


def warp(
    image: Float[np.ndarray, "height width 3"],
    surface: MeanSurface,
    source: PinholeCamera,
    target: PinholeCamera,
) -> tuple[Float[np.ndarray, "height width 3"], Float[np.ndarray, "height width"]]:
    """A photograph as another camera would see it if it lay on the surface, and the surface's z-depth there.

    Each triangle is mapped affinely; where several cover a pixel, the nearest counts. What no triangle covers
    keeps the photograph's own color, at infinite depth.
    """
    height, width = image.shape[:2]
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixels = np.stack([columns, rows], axis=-1)
    origin, depth = pixels.copy(), np.full((height, width), np.inf)
    seen, shown = target.project(surface.points), source.project(surface.points)
    for triangle in surface.triangles:
        corners = seen[triangle, :2]
        edges = (corners[1:] - corners[0]).T
        if abs(np.linalg.det(edges)) < 1e-9:
            continue
        shares = (pixels - corners[0]) @ np.linalg.inv(edges).T
        shares = np.concatenate([1 - shares.sum(axis=-1, keepdims=True), shares], axis=-1)
        here = shares @ seen[triangle, 2]
        nearest = (shares >= -1e-9).all(axis=-1) & (here < depth)
        depth[nearest] = here[nearest]
        origin[nearest] = shares[nearest] @ shown[triangle, :2]
    places = [origin[..., 1] - 0.5, origin[..., 0] - 0.5]
    warped = [map_coordinates(image[..., color], places, order=1, mode="nearest") for color in range(3)]
    return np.stack(warped, axis=-1), depth
