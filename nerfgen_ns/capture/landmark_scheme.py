"""What is known of a class's landmarks before any photograph is seen: number, symmetry, place."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

FEWEST_LANDMARKS = 4
"""A pose has six unknowns and a landmark tells two of them; with three there are several answers."""
DEFAULT_RADIUS = 0.35
"""Landmarks so spread take up about three quarters of a crop's side: see `LandmarkScheme.extent`."""


@dataclass(frozen=True, eq=False)
class LandmarkScheme:
    """The landmarks of one class: how many, which mirror each other, and where they lie in the class frame.

    Raises:
        ValueError: the fields contradict each other.
    """

    count: int
    """Number of landmarks M."""
    mirror_partners: Int[np.ndarray, "m"] | None = None
    """For each landmark the one on the other side of the plane of symmetry, or itself where it lies in the
    plane; an involution. None where no left-right pairs are known."""
    centre: Float[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3))
    """Where the mean of the canonical landmarks lies in the class frame."""
    radius: float = DEFAULT_RADIUS
    """Root mean square distance of the canonical landmarks from their mean, in units of the class frame."""
    has_depth: bool = False
    """Whether a third coordinate, the relative depth in pixels, comes with the landmarks."""
    names: tuple[str, ...] | None = None
    """Names of the landmarks, in order."""
    width_landmarks: tuple[int, int] | None = None
    """Two landmarks whose distance is the object's width; None: `extent` goes by the spread of all."""

    def __post_init__(self) -> None:
        if self.count < FEWEST_LANDMARKS:
            raise ValueError(f"{self.count} landmarks do not make a camera: give at least {FEWEST_LANDMARKS}")
        if self.names is not None and len(self.names) != self.count:
            raise ValueError(f"{len(self.names)} names for {self.count} landmarks")
        if self.mirror_partners is not None:
            partners, places = np.asarray(self.mirror_partners), np.arange(self.count)
            if partners.shape != (self.count,) or not np.isin(partners, places).all():
                raise ValueError(f"the mirror partners are not {self.count} numbers of landmarks")
            if (partners[partners] != places).any():
                raise ValueError("a landmark's mirror partner has another partner")
        if np.shape(self.centre) != (3,) or np.abs(self.centre).max() > 1 or not 0 < self.radius <= 1:
            raise ValueError(
                "the landmarks' centre and radius have to lie in the class frame, within [−1, 1]³"
            )

    def extent(self, landmarks: Float[np.ndarray, "*n m 2"]) -> Float[np.ndarray, "*n"]:
        """Size of the object in each photograph, in the unit of `landmarks`: what errors are divided by.

        The distance of `width_landmarks` or else, over the landmarks that are not NaN, the diameter of the
        disc that has their root mean square distance from the mean. NaN where fewer than two are known.
        """
        if self.width_landmarks is not None:
            one, other = self.width_landmarks
            return np.linalg.norm(landmarks[..., one, :2] - landmarks[..., other, :2], axis=-1)
        known = np.isfinite(landmarks[..., :2]).all(axis=-1, keepdims=True)
        count = np.where(known.sum(axis=-2) > 1, known.sum(axis=-2), np.nan)
        points = np.where(known, landmarks[..., :2], 0.0)
        mean = points.sum(axis=-2) / count
        spread = np.where(known, (points - mean[..., None, :]) ** 2, 0.0).sum(axis=(-2, -1)) / count[..., 0]
        # A disc's root mean square distance from its centre is its radius over √2.
        return 2 * np.sqrt(2 * spread)

    def selection(self, most: int) -> Int[np.ndarray, "s"]:
        """Places of about `most` landmarks, evenly spread over their numbers, mirror partners together."""
        if self.count <= most:
            return np.arange(self.count)
        # Each one taken brings its partner along.
        wanted = most if self.mirror_partners is None else most // 2
        some = np.linspace(0, self.count - 1, wanted).round().astype(int)
        return np.unique(some if self.mirror_partners is None else [some, self.mirror_partners[some]])

    def part(self, which: Int[np.ndarray, "s"]) -> "LandmarkScheme":
        """The scheme of some of the landmarks, of which none is parted from its mirror partner."""
        partners = self.mirror_partners
        return replace(
            self,
            count=len(which),
            mirror_partners=None if partners is None else np.searchsorted(which, partners[which]),
            names=None if self.names is None else tuple(self.names[place] for place in which),
            width_landmarks=None,
        )


def partners_of_pairs(pairs: Iterable[Sequence[int]], count: int) -> Int[np.ndarray, "m"] | None:
    """Mirror partners from left-right pairs; landmarks in no pair are their own. None without any pair.

    Raises:
        ValueError: a pair is none, names a landmark that does not exist, or one that is in another pair.
    """
    partners = np.arange(count)
    paired: set[int] = set()
    for pair in pairs:
        if len(pair) != 2 or not all(0 <= landmark < count for landmark in pair) or pair[0] == pair[1]:
            raise ValueError(f"{list(pair)} is not a pair of two of the {count} landmarks")
        if paired & set(pair):
            raise ValueError(f"landmark {min(paired & set(pair))} is in two left-right pairs")
        paired |= set(pair)
        partners[list(pair)] = pair[::-1]
    return partners if paired else None


def pairs_of_names(names: Sequence[str]) -> list[tuple[int, int]]:
    """Left-right pairs by name: `eye_left` and `eye_right`, `left eye` and `right eye`, `Eye L` and `Eye R`.

    A name without a counterpart of the other side is in no pair.
    """
    places = {name.lower(): place for place, name in enumerate(names)}
    pairs = []
    for name, place in places.items():
        for left, right in (("left", "right"), ("l", "r")):
            partner = places.get(re.sub(rf"(?<![a-z]){left}(?![a-z])", right, name), place)
            if partner != place:
                pairs.append((place, partner))
                break
    return pairs
