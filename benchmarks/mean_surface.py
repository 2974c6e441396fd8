"""The mean shape of a class as a surface of triangles, and a photograph warped by it to another camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import map_coordinates
from scipy.spatial import Delaunay

from nerfgen_ns.cameras.projection import Cameras, project, z_depths

HULL_POINTS = 24
HULL = 1.6
"""How much wider than the landmarks the hull around them is; it represents the rest of the head."""
FRAME = 1.5
"""Half the side of the square around everything, in units of the class frame, wider than any image."""


@dataclass(frozen=True)
class MeanSurface:
    """Triangles in the class frame."""

    points: Float[np.ndarray, "n 3"]
    triangles: Int[np.ndarray, "t 3"]


def mean_landmarks(cameras: Cameras, landmarks: Float[np.ndarray, "k m 2"]) -> Float[np.ndarray, "m 3"]:
    """Compute the canonical landmarks that fit the landmarks of all photographs best, with known cameras.

    Each landmark is the linear least-squares solution of u·Z − X = 0 and v·Z − Y = 0 over all cameras.
    """
    focal = cameras.focal.reshape(len(cameras), 1, -1)
    slopes = (landmarks - cameras.center[:, None]) / focal * [1.0, -1.0]
    # With p the landmark in the class frame, R and t the camera: (Rp + t)₁₂ = slope · −(Rp + t)₃.
    matrix = cameras.rotation[:, None, :2] + slopes[..., None] * cameras.rotation[:, None, 2:]
    target = -cameras.translation[:, None, :2] - slopes * cameras.translation[:, None, 2:]
    return np.stack(
        [
            np.linalg.lstsq(matrix[:, m].reshape(-1, 3), target[:, m].ravel(), rcond=None)[0]
            for m in range(landmarks.shape[1])
        ]
    )


def surface_of_landmarks(canonical: Float[np.ndarray, "m 3"]) -> MeanSurface:
    """Triangulate the canonical landmarks, a hull around them at the rearmost depth, and a frame around all.

    The triangulation (Delaunay) is as seen from the front, in the class frame's x and y.
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
    source: Cameras,
    target: Cameras,
) -> tuple[Float[np.ndarray, "height width 3"], Float[np.ndarray, "height width"]]:
    """Warp a photograph on the surface to another camera, and return also the surface's z-depth there.

    Source and target are one camera each. Each triangle is mapped affinely; where several cover a pixel, the
    nearest counts. What no triangle covers keeps the photograph's own color, at infinite depth.
    """
    height, width = image.shape[:2]
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixels = np.stack([columns, rows], axis=-1)
    origin, depth = pixels.copy(), np.full((height, width), np.inf)
    seen, shown = (project(camera, surface.points)[0] for camera in (target, source))
    surface_depth = z_depths(target, surface.points)[0]
    for triangle in surface.triangles:
        corners = seen[triangle]
        edges = (corners[1:] - corners[0]).T
        if abs(np.linalg.det(edges)) < 1e-9:
            continue
        shares = (pixels - corners[0]) @ np.linalg.inv(edges).T
        shares = np.concatenate([1 - shares.sum(axis=-1, keepdims=True), shares], axis=-1)
        here = shares @ surface_depth[triangle]
        nearest = (shares >= -1e-9).all(axis=-1) & (here < depth)
        depth[nearest] = here[nearest]
        origin[nearest] = shares[nearest] @ shown[triangle]
    places = [origin[..., 1] - 0.5, origin[..., 0] - 0.5]
    warped = [map_coordinates(image[..., color], places, order=1, mode="nearest") for color in range(3)]
    return np.stack(warped, axis=-1), depth
