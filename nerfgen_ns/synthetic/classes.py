"""The embedded classes: one seed and one number make one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from nerfgen_ns.synthetic import ClassName
from nerfgen_ns.synthetic.car_parameters import CarParameters, sample_car_parameters
from nerfgen_ns.synthetic.car_surface import (
    GROUND,
    PAINT,
    TRIM,
    CarShape,
    paint_body,
    paint_plain,
    paint_wheels,
    place_car_landmarks,
)
from nerfgen_ns.synthetic.car_surface import LABELS as CAR_LABELS
from nerfgen_ns.synthetic.car_surface import NAMES as CAR_NAMES
from nerfgen_ns.synthetic.car_surface import PAIRS as CAR_PAIRS
from nerfgen_ns.synthetic.head_parameters import HeadParameters, sample_head_parameters
from nerfgen_ns.synthetic.head_surface import LABELS as HEAD_LABELS
from nerfgen_ns.synthetic.head_surface import NAMES as HEAD_NAMES
from nerfgen_ns.synthetic.head_surface import PAIRS as HEAD_PAIRS
from nerfgen_ns.synthetic.head_surface import (
    BareHead,
    Outfit,
    paint_clothes,
    paint_hair,
    paint_hat,
    paint_skin,
    place_head_landmarks,
)
from nerfgen_ns.synthetic.render import Camera, sample_camera, sample_camera_around
from nerfgen_ns.synthetic.solids import (
    Background,
    Distances,
    Light,
    Points,
    Solid,
    join,
    mirrored,
    plain_background,
    sample_background,
    sample_light,
)

PARTS = ("skin", "hair", "brows", "beard", "clothes", "hat")
"""What a head is made of; the parts meet without blending."""
ABSENT = np.float32(10.0)
"""Distance to a part that a head does not have."""


class Head:
    """One head: a `Solid`."""

    steps = 24

    def __init__(self, parameters: HeadParameters, light: Light, background: Background) -> None:
        self.parameters, self.light, self.background = parameters, light, background
        self.bare = BareHead(parameters)
        self.outfit = Outfit(self.bare)
        self.low = np.array([-0.85, -0.98, -0.62])
        self.high = np.array([0.85, 0.8, 0.55])

    def parts(self, points: Points) -> Float[np.ndarray, "parts n"]:
        """Distance to each of PARTS."""
        folded = mirrored(points)
        head, neck, torso = self.bare.distance(points), self.bare.neck(points), self.outfit.torso(folded)
        absent = np.full(points.shape[1], ABSENT)
        hair, beard = self.outfit.hair(points, folded), self.outfit.beard(points, folded)
        return np.stack(
            [
                np.minimum(join(head, neck, 0.05), torso + np.float32(0.012)),
                absent if hair is None else hair,
                self.outfit.brows(folded),
                absent if beard is None else beard,
                self.outfit.clothes(points, torso, neck),
                self.outfit.hat(points) if self.parameters.hair.style == "hat" else absent,
            ]
        )

    def distance(self, points: Points) -> Distances:
        """Signed distance to the whole head, negative inside."""
        return self.parts(points).min(axis=0)

    def appearance(self, points: Points) -> tuple[Float[np.ndarray, "3 n"], Int[np.ndarray, "n"]]:
        """Albedo and label at points of the surface."""
        nearest = self.parts(points).argmin(axis=0)
        albedo = np.empty(points.shape)
        labels = np.empty(points.shape[1], int)
        colors = self.parameters.colors
        for part, name in enumerate(PARTS):
            here = nearest == part
            if not here.any():
                continue
            inside = points.compress(here, axis=1)
            if name == "skin":
                painted = paint_skin(self.bare, inside, self.bare.chin_level - 0.03)
            elif name == "clothes":
                painted = paint_clothes(self.bare, inside)
            elif name == "hat":
                painted = paint_hat(self.bare, inside)
            else:
                painted = paint_hair(inside, colors.hair if name == "hair" else colors.brows)
            albedo[:, here], labels[here] = painted
        return albedo, labels

    @cached_property
    def landmarks(self) -> Float[np.ndarray, "m 3"]:
        """Points on the skin, in the order of `head_landmarks.NAMES`."""
        return place_head_landmarks(self.bare, self.outfit.brow_points)


def make_head(seed: int, identity: int) -> Head:
    """The head of this number among all heads of this seed, the same in every folder and at every size."""
    random = np.random.default_rng([seed, identity])
    return Head(sample_head_parameters(random), sample_light(random), sample_background(random))


WHITE = (1.0, 1.0, 1.0)
"""The background of every car."""


class Car:
    """One car: a `Solid`."""

    background = plain_background(WHITE)
    steps = 48

    def __init__(self, parameters: CarParameters, light: Light) -> None:
        self.parameters, self.light = parameters, light
        self.shape = CarShape(parameters)
        body, fittings = parameters.body, parameters.fittings
        wide = self.shape.mirror_place[0] + 1.4 * fittings.mirror
        top = max(self.shape.roof + 0.02 + fittings.roof_load, self.shape.deck + fittings.spoiler + 0.02)
        long = body.half_length + fittings.bumper_depth + 0.01
        self.low, self.high = np.array([-wide, GROUND - 0.01, -long]), np.array([wide, top, long])

    def distance(self, points: Points) -> Distances:
        """Signed distance to the whole car, negative inside."""
        return np.minimum.reduce(list(self.shape.parts(points).values()))

    def appearance(self, points: Points) -> tuple[Float[np.ndarray, "3 n"], Int[np.ndarray, "n"]]:
        """Albedo and label at points of the surface."""
        parts = self.shape.parts(points)
        nearest = np.stack(list(parts.values())).argmin(axis=0)
        albedo = np.empty(points.shape)
        labels = np.empty(points.shape[1], int)
        colors = self.parameters.colors
        plain = {
            "bumpers": (colors.bumpers, TRIM), "sills": (colors.trim, TRIM),
            "extras": (colors.paint, PAINT), "load": (colors.load, TRIM),
        }  # fmt: skip
        for number, name in enumerate(parts):
            here = nearest == number
            if not here.any():
                continue
            inside = points.compress(here, axis=1)
            if name == "body":
                painted = paint_body(self.shape, inside)
            elif name == "wheels":
                painted = paint_wheels(self.shape, inside)
            else:
                painted = paint_plain(inside, *plain[name])
            albedo[:, here], labels[here] = painted
        return albedo, labels

    @cached_property
    def landmarks(self) -> Float[np.ndarray, "m 3"]:
        """Points on the surface, in the order of `car_landmarks.NAMES`."""
        return place_car_landmarks(self.shape, self.distance)


def make_car(seed: int, identity: int) -> Car:
    """The car of this number among all cars of this seed, the same in every folder and at every size."""
    random = np.random.default_rng([seed, identity])
    parameters = sample_car_parameters(random)
    # From high up, as under an open sky: a car is seen from all sides, and none should lie in the dark.
    return Car(parameters, sample_light(random, np.pi, heights=(0.6, 1.3), strengths=(0.35, 0.55)))


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
    """The color behind every object, in [0, 1]. With one, a class seen from all around is trained without
    mattes, so its training folders hold none; its test folders do. Without one, None."""


CLASSES: dict[ClassName, EmbeddedClass] = {
    "heads": EmbeddedClass(
        make_head, sample_camera, HEAD_NAMES, HEAD_PAIRS, HEAD_LABELS
    ),
    "cars": EmbeddedClass(
        make_car, sample_camera_around, CAR_NAMES, CAR_PAIRS, CAR_LABELS, WHITE
    ),
}  # fmt: skip
