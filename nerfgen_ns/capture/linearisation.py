"""Residuals of landmarks under a canonical model, their derivatives and their weights.

The noise of landmarks is Student's t, and the weights are those of iteratively reweighted least squares.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from nerfgen_ns.capture.shape_basis import CanonicalModel

TAILS = 6.0
"""Degrees of freedom of the noise: landmarks that err by many times their noise count for less and less."""
DEPTH_TRUST = 0.35
"""Relative depth counts by this part: a landmark model errs in it for all landmarks alike."""


@dataclass
class Observations:
    """Landmarks of n photographs, by angle: pixels from the principal point over the focal length, y up."""

    slopes: Float[np.ndarray, "n 2 m"]
    depth: Float[np.ndarray, "n m"] | None
    """Relative depth in the same unit, growing away from the camera."""
    confidence: Float[np.ndarray, "n m"]
    group: Int[np.ndarray, "n"]
    """Identity of each photograph: 0, 1, 2 … without a gap."""

    def __len__(self) -> int:
        return len(self.slopes)

    def part(self, which: Int[np.ndarray, "p"] | slice) -> "Observations":
        """Some of the photographs, their identities numbered anew."""
        return Observations(
            self.slopes[which],
            None if self.depth is None else self.depth[which],
            self.confidence[which],
            np.unique(self.group[which], return_inverse=True)[1],
        )

    def of_landmarks(self, which: Int[np.ndarray, "s"]) -> "Observations":
        """Some of the landmarks of all photographs."""
        return Observations(
            np.ascontiguousarray(self.slopes[..., which]),
            None if self.depth is None else self.depth[:, which],
            self.confidence[:, which],
            self.group,
        )

    def refocused(self, factor: float) -> "Observations":
        """The same, focal lengths being `factor` times as long."""
        return Observations(
            self.slopes / factor,
            None if self.depth is None else self.depth / factor,
            self.confidence,
            self.group,
        )


@dataclass
class Posterior:
    """Where photographs and identities most likely are, and how sure that is."""

    rotation: Float[np.ndarray, "n 3 3"]
    translation: Float[np.ndarray, "n 3"]
    stretch: Float[np.ndarray, "n"]
    """Logarithm of the focal length over the one that the observations were divided by."""
    coefficients: Float[np.ndarray, "g k"]
    covariance: Float[np.ndarray, "n p+k p+k"] | None = None
    """Of each photograph's motion (turn, translation and stretch if free) and its identity's coefficients."""

    def part(self, photographs: Int[np.ndarray, "p"], identities: Int[np.ndarray, "i"]) -> "Posterior":
        """Some of the photographs, and the identities that they show."""
        return Posterior(
            self.rotation[photographs],
            self.translation[photographs],
            self.stretch[photographs],
            self.coefficients[identities],
            None if self.covariance is None else self.covariance[photographs],
        )


@dataclass
class Linearised:
    """Residuals of a chunk in class units, their derivatives and weights."""

    residual: Float[np.ndarray, "n d m"]
    design: Float[np.ndarray, "n p+k d m"]
    weight: Float[np.ndarray, "n d m"]
    rotation: Float[np.ndarray, "n 3 3"]
    slope: Float[np.ndarray, "n 2 m"]
    near: Float[np.ndarray, "n m"]
    """Distance of the class's origin over that of each landmark."""

    def by_point(self) -> Float[np.ndarray, "n d 3 m"]:
        """Derivative of the prediction by a landmark's own position in the class frame."""
        n, rows, count = self.residual.shape
        derivative = np.empty((n, rows, 3, count))
        for row in range(2):
            along = self.slope[:, None, row] * self.rotation[:, 2, :, None]
            derivative[:, row] = self.near[:, None] * (self.rotation[:, row, :, None] + along)
        if rows == 3:
            derivative[:, 2] = -self.rotation[:, 2, :, None]
        return derivative


def linearise(
    observations: Observations, model: CanonicalModel, posterior: Posterior, stretch_free: bool
) -> Linearised:
    """Residuals and derivatives at the posterior's place."""
    rotation, distance = posterior.rotation, -posterior.translation[:, 2]
    modes, count = model.basis.shape[:2]
    n, motions = len(observations), 7 if stretch_free else 6
    residual, turned, slope, near = _residual(observations, model, posterior, distance)
    rows = residual.shape[1]
    x, y, z = np.moveaxis(turned, -1, 0)
    right, up = slope[:, 0], slope[:, 1]
    turned_basis = rotation @ model.basis.reshape(-1, 3).T
    turned_basis = turned_basis.reshape(n, 3, modes, count)
    design = np.zeros((n, motions + modes, rows, count))
    # A turn ω moves a point by ω × turned; what moves along the optical axis moves in the image by its slope.
    design[:, :6, 0] = np.stack(
        [right * y, z - right * x, -y, np.ones_like(x), np.zeros_like(x), right], axis=1
    )
    design[:, :6, 1] = np.stack([up * y - z, -up * x, x, np.zeros_like(x), np.ones_like(x), up], axis=1)
    for row in range(2):
        design[:, motions:, row] = turned_basis[:, row] + slope[:, None, row] * turned_basis[:, 2]
    design[:, :, :2] *= near[:, None, None]
    if stretch_free:
        design[:, 6, :2] = distance[:, None, None] * slope
    if rows == 3:
        share = _share(observations)[:, None]
        depths = np.concatenate([np.stack([y, -x], axis=1), turned_basis[:, 2]], axis=1)
        depths = (depths * share).sum(axis=2, keepdims=True) - depths
        design[:, :2, 2] = depths[:, :2]
        design[:, motions:, 2] = depths[:, 2:]
    weight = _weights(observations, model, residual)
    return Linearised(residual, design, weight, rotation, slope, near)


def _share(observations: Observations) -> Float[np.ndarray, "n m"]:
    known = observations.confidence > 0
    return known / np.maximum(known.sum(axis=1, keepdims=True), 1)


def _residual(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    unit: Float[np.ndarray, "n"],
) -> tuple[Float[np.ndarray, "n d m"], ...]:
    shapes = model.shapes(posterior.coefficients)[observations.group]
    turned = shapes @ posterior.rotation.transpose(0, 2, 1)
    seen = turned + posterior.translation[:, None]
    behind = -seen[..., 2]
    slope = np.moveaxis(seen[..., :2], -1, 1) / behind[:, None]
    observed = observations.slopes * np.exp(-posterior.stretch)[:, None, None]
    residual = unit[:, None, None] * (observed - slope)
    if observations.depth is not None:
        depth = unit[:, None] * observations.depth * np.exp(-posterior.stretch)[:, None] + turned[..., 2]
        depth = depth - (depth * _share(observations)).sum(axis=1, keepdims=True)
        residual = np.concatenate([residual, depth[:, None]], axis=1)
    return residual, turned, slope, -posterior.translation[:, 2, None] / behind


def _weights(
    observations: Observations, model: CanonicalModel, residual: Float[np.ndarray, "n d m"]
) -> Float[np.ndarray, "n d m"]:
    squared = (residual[:, :2] ** 2).sum(axis=1) / model.noise**2
    trust = observations.confidence * model.independence
    weight = np.empty_like(residual)
    weight[:, :2] = (trust * (TAILS + 2) / (TAILS + squared) / model.noise**2)[:, None]
    if residual.shape[1] == 3:
        squared = residual[:, 2] ** 2 / model.depth_noise**2
        weight[:, 2] = DEPTH_TRUST * trust * (TAILS + 1) / (TAILS + squared) / model.depth_noise**2
    return weight
