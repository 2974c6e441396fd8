"""What is learned of a class from its landmarks: the mean shape, how shapes vary, how far landmarks err.

Shapes are canonical landmarks + Σ αₖBₖ with α ~ N(0, 1): the probabilistic model of Torresani, Hertzmann and
Bregler, "Nonrigid structure-from-motion: estimating shape and motion with hierarchical priors", 2008.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from nerfgen_ns.capture.cameras import rotation_vectors

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
        return rotation_vectors(rotation @ self.rotation.T)

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
    """How many independent landmarks there are for each: neighbours err alike and tell less than it seems."""
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
