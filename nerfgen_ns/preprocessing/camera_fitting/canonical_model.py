"""The canonical model of a class, and the residuals of landmarks under it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

MIRROR = np.array([-1.0, 1.0, 1.0])
NOISE = 0.03
"""Standard deviation of landmarks of which nothing is known yet, as a part of the landmarks' radius."""
DEPTH_NOISE = 0.15


@dataclass
class PosePrior:
    """How the cameras of a collection are spread, estimated from the collection itself.

    Both parts are normal: a camera's turn from the mean rotation, and where in its frame it has the pivot,
    the one point of the class that lies closest to one place in all photographs.
    """

    rotation: Float[np.ndarray, "3 3"]
    turn_precision: Float[np.ndarray, "3 3"]
    pivot: Float[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3))
    place: Float[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3))
    place_precision: Float[np.ndarray, "3 3"] = field(default_factory=lambda: np.zeros((3, 3)))

    def turns(self, rotation: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 3"]:
        """Rotation vectors in the camera frame that take the mean rotation to each camera's."""
        return Rotation.from_matrix(rotation @ self.rotation.T).as_rotvec()

    def displacements(
        self, rotation: Float[np.ndarray, "n 3 3"], translation: Float[np.ndarray, "n 3"]
    ) -> Float[np.ndarray, "n 3"]:
        """How far from its usual place each camera has the pivot, in its own frame."""
        return translation + rotation @ self.pivot - self.place


@dataclass
class CanonicalModel:
    """Canonical landmarks of a class in its frame, their basis, their noise and the cameras' prior."""

    canonical: Float[np.ndarray, "m 3"]
    basis: Float[np.ndarray, "k m 3"]
    parity: Float[np.ndarray, "k"]
    """1 for a mode that equals its mirror image, −1 for one that is its negative."""
    noise: Float[np.ndarray, "m"]
    """Standard deviation of a landmark's coordinates, in units of the class frame."""
    depth_noise: Float[np.ndarray, "m"]
    """The same of the relative depth that a landmark model guesses."""
    independence: float = 1.0
    """How many independent landmarks there are for each: neighbors err alike and tell less than it seems."""
    prior: PosePrior | None = None

    @classmethod
    def rigid(cls, canonical: Float[np.ndarray, "m 3"]) -> "CanonicalModel":
        """A model of one shape for all, nothing being known of noise and poses."""
        count = len(canonical)
        radius = np.sqrt(((canonical - canonical.mean(axis=0)) ** 2).sum(axis=1).mean())
        return cls(
            canonical=canonical,
            basis=np.zeros((0, count, 3)),
            parity=np.zeros(0),
            noise=np.full(count, NOISE * radius),
            depth_noise=np.full(count, DEPTH_NOISE * radius),
        )

    def shapes(self, coefficients: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n m 3"]:
        """The canonical landmarks of identities with the given coefficients."""
        return self.canonical + np.tensordot(coefficients, self.basis, axes=1)

    def part(self, which: Int[np.ndarray, "s"]) -> "CanonicalModel":
        """The model of some of the landmarks, which together tell as much as all of them."""
        independence = min(1.0, self.independence * len(self.canonical) / len(which))
        return CanonicalModel(
            self.canonical[which],
            self.basis[:, which],
            self.parity,
            self.noise[which],
            self.depth_noise[which],
            independence,
            self.prior,
        )

    def as_dict(self) -> dict[str, Any]:
        """The model for `canonical_landmarks.json`: see `from_dict`."""
        value: dict[str, Any] = {"landmarks": self.canonical.round(6).tolist()}
        for name in ("basis", "parity", "noise", "depth_noise"):
            value[name] = getattr(self, name).round(6).tolist()
        value["independence"] = round(self.independence, 6)
        if self.prior is not None:
            value["prior"] = {name: part.round(9).tolist() for name, part in vars(self.prior).items()}
        return value

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "CanonicalModel":
        """The model of `as_dict`; `landmarks` alone, m × 3, make a rigid one.

        Raises:
            KeyError, TypeError, ValueError: it is not such a model.
        """
        model = cls.rigid(_finite(value["landmarks"], (-1, 3)))
        count = len(model.canonical)
        if "basis" in value:
            modes = len(value["basis"])
            model.basis = _finite(value["basis"], (modes, count, 3))
            model.parity = _finite(value["parity"], (modes,))
            model.noise = _finite(value["noise"], (count,))
            model.depth_noise = _finite(value["depth_noise"], (count,))
            model.independence = float(value["independence"])
            if min(model.noise.min(), model.depth_noise.min(), model.independence) <= 0:
                raise ValueError("the noise is not positive")
        if "prior" in value:
            shapes = {"rotation": (3, 3), "turn_precision": (3, 3), "place_precision": (3, 3)}
            model.prior = PosePrior(
                **{
                    name: _finite(value["prior"][name], shapes.get(name, (3,)))
                    for name in PosePrior.__dataclass_fields__
                }
            )
        return model


def _finite(value: Any, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    array = np.asarray(value, dtype=np.float64)
    if not np.isfinite(array).all() or (array.size == 0 and shape[0] != 0):
        raise ValueError("not finite numbers")
    return array.reshape(shape)


def mirrored(
    shapes: Float[np.ndarray, "*n m 3"], partners: Int[np.ndarray, "m"]
) -> Float[np.ndarray, "*n m 3"]:
    """The shapes as their mirror images have them."""
    return shapes[..., partners, :] * MIRROR


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
class Linearized:
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


def linearize(
    observations: Observations, model: CanonicalModel, posterior: Posterior, stretch_free: bool
) -> Linearized:
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
    return Linearized(residual, design, weight, rotation, slope, near)


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
