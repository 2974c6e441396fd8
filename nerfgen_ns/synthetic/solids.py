"""Signed distances of simple solids, ways to join them, and the light and background around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import ConvexHull

Points = Float[np.ndarray, "3 n"]
Distances = Float[np.ndarray, " n"]
Triple = Sequence[float]


def _column(values: Triple) -> Float[np.ndarray, "3 1"]:
    return np.array(values, np.float32)[:, None]


def _lengths(vectors: Points) -> Distances:
    return np.sqrt(np.einsum("in,in->n", vectors, vectors))


def sphere(points: Points, center: Triple, radius: float) -> Distances:
    """Return the distance to a sphere."""
    return _lengths(points - _column(center)) - np.float32(radius)


def ellipsoid(points: Points, center: Triple, radii: Triple) -> Distances:
    """Return the distance to an axis-aligned ellipsoid, exact on its surface and to first order near it."""
    inverse = 1 / _column(radii)
    scaled = (points - _column(center)) * inverse
    reach = _lengths(scaled)
    scaled *= inverse
    return reach * (reach - 1) / np.maximum(_lengths(scaled), np.float32(1e-6))


def capsule(points: Points, start: Triple, end: Triple, radius: float, end_radius: float) -> Distances:
    """Return the distance to a rod with round ends.

    Its radius goes linearly from `radius` to `end_radius`.
    """
    axis = _column(end) - _column(start)
    offset = points - _column(start)
    along = np.clip((axis / np.sum(axis * axis)).T @ offset, 0, 1)
    offset -= axis * along
    return _lengths(offset) - (along[0] * np.float32(end_radius - radius) + np.float32(radius))


def plane(points: Points, normal: Triple, offset: float) -> Distances:
    """Return the distance to the half-space normal · p < offset; `normal` has unit length."""
    return (_column(normal).T @ points)[0] - np.float32(offset)


def box(points: Points, center: Triple, half_sizes: Triple, rounding: float) -> Distances:
    """Return the distance to an axis-aligned box.

    Its edges have the radius `rounding`, which its sizes include.
    """
    beyond = np.abs(points - _column(center)) - _column(half_sizes) + np.float32(rounding)
    outside = _lengths(np.maximum(beyond, 0))
    return outside + np.minimum(beyond.max(axis=0), 0) - np.float32(rounding)


def disc(points: Points, radius: float, half_width: float, rounding: float) -> Distances:
    """Return the distance to a cylinder around the x axis.

    Its edges have the radius `rounding`, which its sizes include.
    """
    around = np.sqrt(points[1] * points[1] + points[2] * points[2]) - np.float32(radius - rounding)
    along = np.abs(points[0]) - np.float32(half_width - rounding)
    outside = np.hypot(np.maximum(around, 0), np.maximum(along, 0))
    return outside + np.minimum(np.maximum(around, along), 0) - np.float32(rounding)


class ConvexSolid:
    """The convex hull of some corners and of their mirror images in the plane x = 0, its edges rounded.

    The smooth maximum (log-sum-exp) of the distances to the planes of the hull: it is within the hull, its
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
        """Return the distance at points folded onto x ≥ 0."""
        distances = self.normals @ folded + self.offsets
        nearest = distances.max(axis=0)
        distances -= nearest
        return nearest + self.rounding * np.log(np.exp(distances / self.rounding).sum(axis=0))


def join(first: Distances, second: Distances, blend: float) -> Distances:
    """Unite two solids; the seam is rounded over the width `blend` (the polynomial smooth minimum)."""
    overlap = np.maximum(np.float32(blend) - np.abs(first - second), 0)
    return np.minimum(first, second) - overlap * overlap * np.float32(0.25 / blend)


def carve(solid: Distances, tool: Distances, blend: float) -> Distances:
    """Return what is left of `solid` outside `tool`, with an edge rounded over the width `blend`."""
    return -join(-solid, tool, blend)


def mirrored(points: Points) -> Points:
    """Fold the points onto x ≥ 0: a solid placed there appears on both sides."""
    return np.stack([np.abs(points[0]), points[1], points[2]])


BACKGROUND_LABEL = 0
"""The label of pixels that show no object, in every class."""


@dataclass(frozen=True)
class Light:
    """One distant lamp, fixed in the world, and light from all around. Shading is purely diffuse."""

    direction: Float[np.ndarray, "3"]
    """Unit vector toward the lamp."""
    color: Float[np.ndarray, "3"]
    """What the lamp adds on a surface that faces it."""
    ambient: Float[np.ndarray, "3"]
    """What comes from all around."""

    def shade(
        self, normals: Float[np.ndarray, "3 n"], openness: Float[np.ndarray, " n"]
    ) -> Float[np.ndarray, "3 n"]:
        """Compute the light on surfaces with these unit normals.

        `openness` in [0, 1] is their share of free sky.
        """
        # Wrapped past the horizon, as from a lamp with a wide shade: a hard shadow line looks like a crease.
        facing = np.clip((self.direction @ normals + 0.25) / 1.25, 0, 1) * (0.4 + 0.6 * openness)
        return self.ambient[:, None] * openness * (0.85 + 0.15 * normals[1]) + self.color[:, None] * facing


@dataclass(frozen=True)
class Background:
    """Colors at infinity that change slowly with the direction of the ray."""

    colors: Float[np.ndarray, "waves_plus_one 3"]
    """The base color, then what each wave adds at its crest."""
    waves: Float[np.ndarray, "waves 3"]
    """Wave vectors, radians per unit of direction."""
    phases: Float[np.ndarray, " waves"]
    """Radians."""

    def color(self, directions: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "3 n"]:
        """Return the color in [0, 1] along unit directions."""
        crests = np.sin(self.waves @ directions + self.phases[:, None])
        return np.clip(self.colors[0][:, None] + self.colors[1:].T @ crests, 0, 1)


class Solid(Protocol):
    """One object of a class in the class's frame: y up, it looks to +z, all of it within [−1, 1]³."""

    light: Light
    background: Background
    low: Float[np.ndarray, "3"]
    high: Float[np.ndarray, "3"]
    """`low` and `high` are the corners of a box that contains the object."""
    steps: int
    """Most steps of a ray that looks for the surface; flat sides that are seen edgewise take more of them."""

    @property
    def landmarks(self) -> Float[np.ndarray, "m 3"]:
        """Points of the object, the same in number and meaning for the whole class."""

    def distance(self, points: Float[np.ndarray, "3 n"], /) -> Float[np.ndarray, " n"]:
        """Return the signed distance to the surface, negative inside."""

    def appearance(
        self, points: Float[np.ndarray, "3 n"]
    ) -> tuple[Float[np.ndarray, "3 n"], Int[np.ndarray, " n"]]:
        """Return albedo in [0, 1] and label at points of the surface."""


def sample_light(
    random: np.random.Generator,
    aside: float = 1.2,
    heights: tuple[float, float] = (-0.1, 0.9),
    strengths: tuple[float, float] = (0.45, 0.7),
) -> Light:
    """Draw a lamp of a slightly warm or cold color, somewhere in front unless asked otherwise.

    Args:
        random: where the draws come from.
        aside: how far to either side of the front the lamp may be, radians.
        heights: lowest and highest place of the lamp above the horizon, radians.
        strengths: of the lamp, least and most; the light from all around makes up for a weak one.
    """
    azimuth, height = random.uniform(-aside, aside), random.uniform(*heights)
    direction = np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
    warmth = random.normal(0, 0.05)
    strength = random.uniform(*strengths)
    return Light(
        direction.astype(np.float32),
        (strength * np.array([1 + warmth, 1, 1 - warmth])).astype(np.float32),
        (np.full(3, 0.98 - strength) * (1 + random.normal(0, 0.03, 3))).astype(np.float32),
    )


def sample_background(random: np.random.Generator) -> Background:
    """Draw a base color and three slow waves of color."""
    base = 0.5 * random.uniform(0.2, 0.8, 3) + 0.5 * random.uniform(0.2, 0.8)
    swings = random.normal(0, 0.07, (3, 3))
    waves = random.normal(0, 4.0, (3, 3))
    return Background(
        np.concatenate([base[None], swings]).astype(np.float32),
        waves.astype(np.float32),
        random.uniform(0, 2 * np.pi, 3).astype(np.float32),
    )


def plain_background(color: tuple[float, float, float]) -> Background:
    """Return the same color in every direction."""
    return Background(np.array([color], np.float32), np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
