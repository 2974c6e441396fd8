"""Signed distances of simple solids and the ways to join them.

Points are (3, n) float32, one contiguous row a coordinate; distances are (n,), negative inside.
Formulas: I. Quilez, "Distance functions" and "Smooth minimum", iquilezles.org/articles.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.spatial import ConvexHull

Points = Float[np.ndarray, "3 n"]
Distances = Float[np.ndarray, "n"]
Triple = Sequence[float]


def _column(values: Triple) -> Float[np.ndarray, "3 1"]:
    return np.array(values, np.float32)[:, None]


def _lengths(vectors: Points) -> Distances:
    return np.sqrt(np.einsum("in,in->n", vectors, vectors))


def sphere(points: Points, centre: Triple, radius: float) -> Distances:
    """Distance to a sphere."""
    return _lengths(points - _column(centre)) - np.float32(radius)


def ellipsoid(points: Points, centre: Triple, radii: Triple) -> Distances:
    """Distance to an axis-aligned ellipsoid, exact on its surface and to first order near it."""
    inverse = 1 / _column(radii)
    scaled = (points - _column(centre)) * inverse
    reach = _lengths(scaled)
    scaled *= inverse
    return reach * (reach - 1) / np.maximum(_lengths(scaled), np.float32(1e-6))


def capsule(points: Points, start: Triple, end: Triple, radius: float, end_radius: float) -> Distances:
    """Distance to a rod with round ends whose radius goes linearly from `radius` to `end_radius`."""
    axis = _column(end) - _column(start)
    offset = points - _column(start)
    along = np.clip((axis / np.sum(axis * axis)).T @ offset, 0, 1)
    offset -= axis * along
    return _lengths(offset) - (along[0] * np.float32(end_radius - radius) + np.float32(radius))


def plane(points: Points, normal: Triple, offset: float) -> Distances:
    """Distance to the half-space normal · p < offset; `normal` has unit length."""
    return (_column(normal).T @ points)[0] - np.float32(offset)


def box(points: Points, centre: Triple, half_sizes: Triple, rounding: float) -> Distances:
    """Distance to an axis-aligned box with edges of the radius `rounding`, included in its sizes."""
    beyond = np.abs(points - _column(centre)) - _column(half_sizes) + np.float32(rounding)
    outside = _lengths(np.maximum(beyond, 0))
    return outside + np.minimum(beyond.max(axis=0), 0) - np.float32(rounding)


def disc(points: Points, radius: float, half_width: float, rounding: float) -> Distances:
    """Distance to a cylinder around the x axis with edges of the radius `rounding`, included in its sizes."""
    around = np.sqrt(points[1] * points[1] + points[2] * points[2]) - np.float32(radius - rounding)
    along = np.abs(points[0]) - np.float32(half_width - rounding)
    outside = np.hypot(np.maximum(around, 0), np.maximum(along, 0))
    return outside + np.minimum(np.maximum(around, along), 0) - np.float32(rounding)


class ConvexSolid:
    """The convex hull of some corners and of their mirror images in the plane x = 0, its edges rounded.

    The smooth maximum (log-sum-exp) of the distances to the planes of the hull: it lies within the hull, its
    slope never exceeds 1, and away from edges it is the distance to the nearest plane.

    Args:
        corners: places with x ≥ 0.
        rounding: width over which two planes blend at their edge.
    """

    def __init__(self, corners: Sequence[Triple], rounding: float) -> None:
        left = np.array(corners)
        planes = ConvexHull(np.concatenate([left, left * [-1, 1, 1]])).equations
        # A flat face comes as several equal triangles; faces of the other side never bound a folded point.
        planes = np.unique(planes[planes[:, 0] > -1e-9].round(5), axis=0).astype(np.float32)
        self.normals, self.offsets, self.rounding = planes[:, :3], planes[:, 3:], np.float32(rounding)

    def __call__(self, folded: Points) -> Distances:
        """Distance at points folded onto x ≥ 0."""
        distances = self.normals @ folded + self.offsets
        nearest = distances.max(axis=0)
        distances -= nearest
        return nearest + self.rounding * np.log(np.exp(distances / self.rounding).sum(axis=0))


def join(first: Distances, second: Distances, blend: float) -> Distances:
    """Union whose seam is rounded over the width `blend` (the polynomial smooth minimum)."""
    overlap = np.maximum(np.float32(blend) - np.abs(first - second), 0)
    return np.minimum(first, second) - overlap * overlap * np.float32(0.25 / blend)


def carve(solid: Distances, tool: Distances, blend: float) -> Distances:
    """What is left of `solid` outside `tool`, with an edge rounded over the width `blend`."""
    return -join(-solid, tool, blend)


def mirrored(points: Points) -> Points:
    """The points folded onto x ≥ 0: a solid placed there appears on both sides."""
    return np.stack([np.abs(points[0]), points[1], points[2]])
