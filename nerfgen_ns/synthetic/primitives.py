"""Signed distances of simple solids and the ways to join them.

Points are (3, n) float32, one contiguous row a coordinate; distances are (n,), negative inside.
Formulas: I. Quilez, "Distance functions" and "Smooth minimum", iquilezles.org/articles.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

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
