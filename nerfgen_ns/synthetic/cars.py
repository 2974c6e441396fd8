"""The class of cars: one seed and one number make one car."""

from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from nerfgen_ns.synthetic.car_landmarks import place_landmarks
from nerfgen_ns.synthetic.car_paint import PAINT, TRIM, paint_body, paint_plain, paint_wheels
from nerfgen_ns.synthetic.car_parameters import CarParameters, sample_parameters
from nerfgen_ns.synthetic.car_shape import GROUND, CarShape
from nerfgen_ns.synthetic.primitives import Distances, Points
from nerfgen_ns.synthetic.scene import Light, plain_background, sample_light

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
        colours = self.parameters.colours
        plain = {
            "bumpers": (colours.bumpers, TRIM), "sills": (colours.trim, TRIM),
            "extras": (colours.paint, PAINT), "load": (colours.load, TRIM),
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
        return place_landmarks(self.shape, self.distance)


def make_car(seed: int, identity: int) -> Car:
    """The car of this number among all cars of this seed, the same in every folder and at every size."""
    random = np.random.default_rng([seed, identity])
    parameters = sample_parameters(random)
    # From high up, as under an open sky: a car is seen from all sides, and none should lie in the dark.
    return Car(parameters, sample_light(random, np.pi, heights=(0.6, 1.3), strengths=(0.35, 0.55)))
