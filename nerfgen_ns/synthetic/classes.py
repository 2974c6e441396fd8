"""The embedded classes: what making a folder of one of them needs to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nerfgen_ns.synthetic import ClassName, car_landmarks, head_landmarks
from nerfgen_ns.synthetic.cameras import Camera, sample_camera, sample_camera_around
from nerfgen_ns.synthetic.car_paint import LABELS as CAR_LABELS
from nerfgen_ns.synthetic.cars import WHITE, make_car
from nerfgen_ns.synthetic.head_paint import LABELS as HEAD_LABELS
from nerfgen_ns.synthetic.heads import make_head
from nerfgen_ns.synthetic.scene import Solid


@dataclass(frozen=True)
class EmbeddedClass:
    """One procedural class."""

    make: Callable[[int, int], Solid]
    """The object of a seed and a number."""
    sample_camera: Callable[[np.random.Generator, int], Camera]
    """A camera as photographs of the class have it, for images of a size in pixels."""
    landmark_names: tuple[str, ...]
    landmark_pairs: tuple[tuple[int, int], ...]
    """Indices (left, right) of the landmarks that mirror one another."""
    labels: tuple[str, ...]
    """Label i means labels[i]."""
    solid_background: tuple[float, float, float] | None = None
    """The colour behind every object, in [0, 1]. With one, a class seen from all around is trained without
    mattes, so its training folders hold none; its test folders do. Without one, None."""


CLASSES: dict[ClassName, EmbeddedClass] = {
    "heads": EmbeddedClass(
        make_head, sample_camera, head_landmarks.NAMES, head_landmarks.PAIRS, HEAD_LABELS
    ),
    "cars": EmbeddedClass(
        make_car, sample_camera_around, car_landmarks.NAMES, car_landmarks.PAIRS, CAR_LABELS, WHITE
    ),
}  # fmt: skip
