"""Named points on the surface of a car, alike in meaning on every car."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from nerfgen_ns.synthetic.car_shape import CarShape
from nerfgen_ns.synthetic.primitives import Distances, Points
from nerfgen_ns.synthetic.render import trace

MIDDLE_NAMES = (
    "nose", "bonnet_front", "windscreen_foot", "roof_front", "roof_middle", "roof_rear", "tail",
)  # fmt: skip
SIDE_NAMES = (
    "front_hub", "rear_hub", "head_light", "tail_light", "front_bumper", "rear_bumper",
    "windscreen_corner", "roof_front_corner", "roof_rear_corner", "rear_window_corner", "mirror",
    "sill_front", "sill_rear", "waist_middle",
)  # fmt: skip
NAMES = (*MIDDLE_NAMES, *(f"{name}_{side}" for name in SIDE_NAMES for side in ("left", "right")))
"""Left is the car's left, +x."""
PAIRS = tuple((i, i + 1) for i in range(len(MIDDLE_NAMES), len(NAMES), 2))
"""Indices (left, right) of the points that mirror one another."""

Triple = tuple[float, float, float]
FORWARDS, BACKWARDS, UP, LEFT = (0, 0, 1), (0, 0, -1), (0, 1, 0), (1, 0, 0)


def place_landmarks(shape: CarShape, distance: Callable[[Points], Distances]) -> Float[np.ndarray, "m 3"]:
    """The points of NAMES: each is met by a ray that comes from outside towards a place within the car.

    Args:
        shape: the car.
        distance: signed distance to it.
    """
    body, fittings = shape.parameters.body, shape.parameters.fittings
    wide, waist = body.half_width, 0.5 * (shape.floor + shape.deck)
    front, tail, roof_side = shape.front, shape.tail, 0.95 * wide * body.roof_width
    level = 0.42 * shape.bumper_level + 0.58 * shape.nose
    middle = 0.5 * (shape.roof_front + shape.roof_rear)
    between_axles = 0.5 * (shape.axles[0] + shape.axles[1])
    light_apart = body.nose_width * wide - fittings.light_width - 0.006
    stern_apart = body.tail_width * wide - 0.05
    bumpers = 0.9 * body.nose_width * wide, 0.9 * body.tail_width * wide
    arch = 1.3 * body.wheel_radius
    aims: dict[str, tuple[Triple, Triple]] = {
        "nose": ((0, level, front - 0.1), FORWARDS),
        "bonnet_front": ((0, shape.nose - 0.05, front - 0.09), UP),
        "windscreen_foot": ((0, shape.cowl - 0.05, shape.windscreen + 0.03), UP),
        "roof_front": ((0, shape.roof - 0.05, shape.roof_front), UP),
        "roof_middle": ((0, shape.roof - 0.05, middle), UP),
        "roof_rear": ((0, shape.roof - 0.05, shape.roof_rear + 0.02), UP),
        "tail": ((0, waist, tail + 0.1), BACKWARDS),
        "front_hub": ((0.8 * wide, shape.hub_height, shape.axles[0]), LEFT),
        "rear_hub": ((0.8 * wide, shape.hub_height, shape.axles[1]), LEFT),
        "head_light": ((light_apart, level + 0.006, front - 0.15), FORWARDS),
        "tail_light": ((stern_apart, shape.deck - 0.02 - fittings.tail_light_height, tail + 0.04), BACKWARDS),
        "front_bumper": ((bumpers[0], shape.bumper_level, front - 0.1), FORWARDS),
        "rear_bumper": ((bumpers[1], shape.bumper_level, tail + 0.1), BACKWARDS),
        "windscreen_corner": ((0.8 * wide, shape.cowl - 0.03, shape.windscreen - 0.02), UP),
        "roof_front_corner": ((0.9 * roof_side, shape.roof - 0.06, shape.roof_front), UP),
        "roof_rear_corner": ((0.9 * roof_side, shape.roof - 0.06, shape.roof_rear + 0.03), UP),
        "rear_window_corner": ((0.5 * wide, shape.deck - 0.03, shape.rear_window + 0.06), LEFT),
        "mirror": (shape.mirror_place, LEFT),
        "sill_front": ((0.7 * wide, shape.floor + 0.03, shape.axles[0] - arch), LEFT),
        "sill_rear": ((0.7 * wide, shape.floor + 0.03, shape.axles[1] + arch), LEFT),
        "waist_middle": ((0.7 * wide, waist, between_axles), LEFT),
    }
    places, outwards = (
        np.array([aims[name][part] for name in (*MIDDLE_NAMES, *SIDE_NAMES)], float) for part in (0, 1)
    )
    origins = places + 0.5 * outwards
    count = len(places)
    lengths = trace(distance, origins.T, -outwards.T, np.zeros(count), np.ones(count))
    found = origins - outwards * lengths[:, None]
    left = found[len(MIDDLE_NAMES) :]
    both = np.stack([left, left * [-1, 1, 1]], axis=1).reshape(-1, 3)
    return np.concatenate([found[: len(MIDDLE_NAMES)], both])
