"""The canonical model of a class, and the residuals of landmarks under it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

MIRROR = np.array([-1.0, 1.0, 1.0])
NOISE = 0.03
"""Standard deviation of landmarks before anything is known of it, as a part of the landmarks' radius."""
DEPTH_NOISE = 0.15


@dataclass
class PosePrior:
    """How the cameras of a collection are spread, estimated from the collection itself.

    Both parts are normal: the rotation vector from the mean rotation to a camera's, and the pivot's position
    in the camera frame. The pivot is the point of the class that moves least between the photographs.
    """

    rotation: Float[np.ndarray, "3 3"]
    rotation_precision: Float[np.ndarray, "3 3"]
    pivot: Float[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3))
    pivot_position: Float[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3))
    pivot_precision: Float[np.ndarray, "3 3"] = field(default_factory=lambda: np.zeros((3, 3)))

    def rotvecs(self, rotation: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 3"]:
        """Return the rotation vectors ω, in the camera frame, with R = exp([ω]×) · mean rotation."""
        return Rotation.from_matrix(rotation @ self.rotation.T).as_rotvec()

    def pivot_offsets(
        self, rotation: Float[np.ndarray, "n 3 3"], translation: Float[np.ndarray, "n 3"]
    ) -> Float[np.ndarray, "n 3"]:
        """Return R · pivot + t − mean position of the pivot, in the frame of each camera."""
        return translation + rotation @ self.pivot - self.pivot_position


@dataclass
class CanonicalModel:
    """Canonical landmarks of a class in its frame, their basis, their noise and the cameras' prior."""

    canonical: Float[np.ndarray, "m 3"]
    basis: Float[np.ndarray, "k m 3"]
    parity: Float[np.ndarray, " k"]
    """1 for a mode that equals its mirror image, −1 for one that is its negative."""
    noise_std: Float[np.ndarray, " m"]
    """Standard deviation of a landmark's coordinates, in units of the class frame."""
    depth_noise_std: Float[np.ndarray, " m"]
    """The same of the relative depth that a landmark model guesses."""
    independence: float = 1.0
    """Number of independent landmarks for each landmark: at most 1, as neighbors have similar errors."""
    prior: PosePrior | None = None

    @classmethod
    def rigid(cls, canonical: Float[np.ndarray, "m 3"]) -> "CanonicalModel":
        """Return a model of one shape for all, without knowledge of noise and poses."""
        num_landmarks = len(canonical)
        radius = np.sqrt(((canonical - canonical.mean(axis=0)) ** 2).sum(axis=1).mean())
        return cls(
            canonical=canonical,
            basis=np.zeros((0, num_landmarks, 3)),
            parity=np.zeros(0),
            noise_std=np.full(num_landmarks, NOISE * radius),
            depth_noise_std=np.full(num_landmarks, DEPTH_NOISE * radius),
        )

    def shapes(self, coefficients: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n m 3"]:
        """Return the canonical landmarks of identities with the given coefficients."""
        return self.canonical + np.tensordot(coefficients, self.basis, axes=1)

    def part(self, index: Int[np.ndarray, " s"]) -> "CanonicalModel":
        """Return the model of some of the landmarks, which together count as much as all of them."""
        independence = min(1.0, self.independence * len(self.canonical) / len(index))
        return CanonicalModel(
            self.canonical[index],
            self.basis[:, index],
            self.parity,
            self.noise_std[index],
            self.depth_noise_std[index],
            independence,
            self.prior,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the model for `canonical_landmarks.json`: see `from_dict`."""
        value: dict[str, Any] = {"landmarks": self.canonical.round(6).tolist()}
        for name in ("basis", "parity", "noise_std", "depth_noise_std"):
            value[name] = getattr(self, name).round(6).tolist()
        value["independence"] = round(self.independence, 6)
        if self.prior is not None:
            value["prior"] = {name: part.round(9).tolist() for name, part in vars(self.prior).items()}
        return value

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "CanonicalModel":
        """Make a model from the values of `as_dict`; `landmarks` alone, m × 3, make a rigid one.

        Raises:
            KeyError, TypeError, ValueError: it is not such a model.
        """
        model = cls.rigid(_finite(value["landmarks"], (-1, 3)))
        num_landmarks = len(model.canonical)
        if "basis" in value:
            num_modes = len(value["basis"])
            model.basis = _finite(value["basis"], (num_modes, num_landmarks, 3))
            model.parity = _finite(value["parity"], (num_modes,))
            model.noise_std = _finite(value["noise_std"], (num_landmarks,))
            model.depth_noise_std = _finite(value["depth_noise_std"], (num_landmarks,))
            model.independence = float(value["independence"])
            if min(model.noise_std.min(), model.depth_noise_std.min(), model.independence) <= 0:
                raise ValueError("the noise is not positive")
        if "prior" in value:
            shapes = {"rotation": (3, 3), "rotation_precision": (3, 3), "pivot_precision": (3, 3)}
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
    shapes: Float[np.ndarray, "*n m 3"], partners: Int[np.ndarray, " m"]
) -> Float[np.ndarray, "*n m 3"]:
    """Return the mirror images of the shapes."""
    return shapes[..., partners, :] * MIRROR


DOF = 6.0
"""Degrees of freedom of the noise: the larger an error against the noise, the less its landmark counts."""
DEPTH_WEIGHT = 0.35
"""Weight of relative depth: a landmark model makes the same error in it for all landmarks."""


@dataclass
class Observations:
    """Landmarks of n photographs in normalized image coordinates.

    These are pixels from the principal point over the focal length, y up.
    """

    image_points: Float[np.ndarray, "n 2 m"]
    depth: Float[np.ndarray, "n m"] | None
    """Relative depth in the same unit, growing away from the camera."""
    confidence: Float[np.ndarray, "n m"]
    identity: Int[np.ndarray, " n"]
    """Identity of each photograph: 0, 1, 2 … without a gap."""

    def __len__(self) -> int:
        return len(self.image_points)

    def part(self, index: Int[np.ndarray, " p"] | slice) -> "Observations":
        """Return some of the photographs, with their identities numbered again."""
        return Observations(
            self.image_points[index],
            None if self.depth is None else self.depth[index],
            self.confidence[index],
            np.unique(self.identity[index], return_inverse=True)[1],
        )

    def select_landmarks(self, index: Int[np.ndarray, " s"]) -> "Observations":
        """Return some of the landmarks of all photographs."""
        return Observations(
            np.ascontiguousarray(self.image_points[..., index]),
            None if self.depth is None else self.depth[:, index],
            self.confidence[:, index],
            self.identity,
        )

    def with_focal_scale(self, factor: float) -> "Observations":
        """Return the same observations for focal lengths that are `factor` times as long."""
        return Observations(
            self.image_points / factor,
            None if self.depth is None else self.depth / factor,
            self.confidence,
            self.identity,
        )


@dataclass
class Posterior:
    """The most likely poses and coefficients, and how sure they are."""

    rotation: Float[np.ndarray, "n 3 3"]
    translation: Float[np.ndarray, "n 3"]
    log_focal_scale: Float[np.ndarray, " n"]
    """Logarithm of the focal length over the one that the observations were divided by."""
    coefficients: Float[np.ndarray, "g k"]
    covariance: Float[np.ndarray, "n p+k p+k"] | None = None
    """Of each photograph's [rotvec, translation], its log focal scale if free, and its coefficients."""

    def part(self, photographs: Int[np.ndarray, " p"], identities: Int[np.ndarray, " i"]) -> "Posterior":
        """Return some of the photographs, and the identities that they show."""
        return Posterior(
            self.rotation[photographs],
            self.translation[photographs],
            self.log_focal_scale[photographs],
            self.coefficients[identities],
            None if self.covariance is None else self.covariance[photographs],
        )


@dataclass
class Linearized:
    """Residuals of a chunk in class units, their derivatives and weights."""

    residual: Float[np.ndarray, "n d m"]
    jacobian: Float[np.ndarray, "n p+k d m"]
    weight: Float[np.ndarray, "n d m"]
    rotation: Float[np.ndarray, "n 3 3"]
    projected: Float[np.ndarray, "n 2 m"]
    depth_ratio: Float[np.ndarray, "n m"]
    """Distance of the class's origin over that of each landmark."""

    def point_jacobian(self) -> Float[np.ndarray, "n d 3 m"]:
        """Return the Jacobian of the prediction by a landmark's own position in the class frame."""
        n, num_coordinates, num_landmarks = self.residual.shape
        derivative = np.empty((n, num_coordinates, 3, num_landmarks))
        for row in range(2):
            along = self.projected[:, None, row] * self.rotation[:, 2, :, None]
            derivative[:, row] = self.depth_ratio[:, None] * (self.rotation[:, row, :, None] + along)
        if num_coordinates == 3:
            derivative[:, 2] = -self.rotation[:, 2, :, None]
        return derivative


def linearize(
    observations: Observations, model: CanonicalModel, posterior: Posterior, free_focal: bool
) -> Linearized:
    """Return residuals and their Jacobian at the posterior.

    With q = R s, c = q + t and the depth −c₃, a landmark is predicted at c₁₂ / −c₃. The residual is this
    prediction's error times −t₃, the distance of the class, so that it is in units of the class frame:

        r = −t₃ (u · exp(−log_focal_scale) − c₁₂ / −c₃).

    The Jacobian is that of the prediction by [rotvec, translation, log_focal_scale, coefficients], with the
    factor −t₃ held fixed. Relative depth, where it is known, is a third coordinate, −c₃ minus its mean.
    """
    rotation, distance = posterior.rotation, -posterior.translation[:, 2]
    num_modes, num_landmarks = model.basis.shape[:2]
    n, num_pose = len(observations), 7 if free_focal else 6
    residual, rotated, projected, depth_ratio = _residual(observations, model, posterior, distance)
    num_coordinates = residual.shape[1]
    x, y, z = np.moveaxis(rotated, -1, 0)
    right, up = projected[:, 0], projected[:, 1]
    rotated_basis = rotation @ model.basis.reshape(-1, 3).T
    rotated_basis = rotated_basis.reshape(n, 3, num_modes, num_landmarks)
    jacobian = np.zeros((n, num_pose + num_modes, num_coordinates, num_landmarks))
    # A rotation ω moves a point by ω × rotated; along the optical axis it moves by its projection.
    jacobian[:, :6, 0] = np.stack(
        [right * y, z - right * x, -y, np.ones_like(x), np.zeros_like(x), right], axis=1
    )
    jacobian[:, :6, 1] = np.stack([up * y - z, -up * x, x, np.zeros_like(x), np.ones_like(x), up], axis=1)
    for row in range(2):
        jacobian[:, num_pose:, row] = rotated_basis[:, row] + projected[:, None, row] * rotated_basis[:, 2]
    jacobian[:, :, :2] *= depth_ratio[:, None, None]
    if free_focal:
        jacobian[:, 6, :2] = distance[:, None, None] * projected
    if num_coordinates == 3:
        share = _share(observations)[:, None]
        depths = np.concatenate([np.stack([y, -x], axis=1), rotated_basis[:, 2]], axis=1)
        depths = (depths * share).sum(axis=2, keepdims=True) - depths
        jacobian[:, :2, 2] = depths[:, :2]
        jacobian[:, num_pose:, 2] = depths[:, 2:]
    weight = _weights(observations, model, residual)
    return Linearized(residual, jacobian, weight, rotation, projected, depth_ratio)


def _share(observations: Observations) -> Float[np.ndarray, "n m"]:
    known = observations.confidence > 0
    return known / np.maximum(known.sum(axis=1, keepdims=True), 1)


def _residual(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    unit: Float[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, "n d m"], ...]:
    shapes = model.shapes(posterior.coefficients)[observations.identity]
    rotated = shapes @ posterior.rotation.transpose(0, 2, 1)
    in_camera = rotated + posterior.translation[:, None]
    z_depth = -in_camera[..., 2]
    projected = np.moveaxis(in_camera[..., :2], -1, 1) / z_depth[:, None]
    observed = observations.image_points * np.exp(-posterior.log_focal_scale)[:, None, None]
    residual = unit[:, None, None] * (observed - projected)
    if observations.depth is not None:
        depth = (
            unit[:, None] * observations.depth * np.exp(-posterior.log_focal_scale)[:, None] + rotated[..., 2]
        )
        depth = depth - (depth * _share(observations)).sum(axis=1, keepdims=True)
        residual = np.concatenate([residual, depth[:, None]], axis=1)
    return residual, rotated, projected, -posterior.translation[:, 2, None] / z_depth


def _weights(
    observations: Observations, model: CanonicalModel, residual: Float[np.ndarray, "n d m"]
) -> Float[np.ndarray, "n d m"]:
    squared = (residual[:, :2] ** 2).sum(axis=1) / model.noise_std**2
    confidence = observations.confidence * model.independence
    weight = np.empty_like(residual)
    weight[:, :2] = (confidence * (DOF + 2) / (DOF + squared) / model.noise_std**2)[:, None]
    if residual.shape[1] == 3:
        squared = residual[:, 2] ** 2 / model.depth_noise_std**2
        weight[:, 2] = DEPTH_WEIGHT * confidence * (DOF + 1) / (DOF + squared) / model.depth_noise_std**2
    return weight
