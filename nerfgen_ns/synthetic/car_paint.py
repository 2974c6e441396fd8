"""Colours and labels on the surface of a car."""

import numpy as np
from jaxtyping import Bool, Float, Int

from nerfgen_ns.synthetic.car_parameters import Colour
from nerfgen_ns.synthetic.car_shape import GROUND, CarShape
from nerfgen_ns.synthetic.primitives import Points

LABELS = ("background", "paint", "windows", "wheels", "lights", "trim")
"""Label i means LABELS[i]."""
PAINT, WINDOWS, WHEELS, LIGHTS, TRIM = range(1, 6)
TYRE = np.array([0.07, 0.07, 0.075])
HEAD_LIGHT, TAIL_LIGHT, PLATE = np.array([[0.88, 0.88, 0.80], [0.70, 0.05, 0.06], [0.82, 0.80, 0.66]])

Painted = tuple[Float[np.ndarray, "3 n"], Int[np.ndarray, "n"]]
Where = Bool[np.ndarray, "n"]


class Coat:
    """Albedo and labels of points of one part, painted over layer by layer."""

    def __init__(self, points: Points, colour: Colour, label: int) -> None:
        self.albedo = np.repeat(colour[:, None], points.shape[1], axis=1)
        self.labels = np.full(points.shape[1], label)

    def cover(self, where: Where, colour: Colour, label: int = PAINT) -> None:
        """Paint the points `where` over."""
        self.albedo[:, where] = colour[:, None]
        self.labels[where] = label

    @property
    def painted(self) -> Painted:
        """Albedo and labels as they are now."""
        return self.albedo, self.labels


def paint_body(shape: CarShape, points: Points) -> Painted:
    """Paint, windows, lights, grille, and the dark of wheel arches, floor and bed."""
    parameters, colours, body = shape.parameters, shape.parameters.colours, shape.parameters.body
    x, y, z = points
    side = np.abs(x)
    coat = Coat(points, colours.paint, PAINT)
    if colours.pattern == "lower":
        coat.cover(y < 0.5 * (shape.floor + shape.deck) + 0.01, colours.second)
    elif colours.pattern == "stripes":
        coat.cover(np.abs(side - 0.26 * body.half_width) < 0.12 * body.half_width, colours.second)
    elif colours.pattern == "roof":
        coat.cover(y > shape.roof - 0.05, colours.second)
    coat.cover(_windows(shape, points), colours.glass, WINDOWS)
    _paint_ends(shape, points, coat)
    axle = np.where(z > 0.5 * sum(shape.axles), *shape.axles)
    from_hub = np.hypot(y - shape.hub_height, z - axle)
    coat.cover(
        (from_hub < 1.17 * body.wheel_radius) & (side > 0.5 * body.half_width), 0.6 * colours.trim, TRIM
    )
    coat.cover((y < shape.floor + 0.012) & (side < 0.9 * body.half_width), 0.6 * colours.trim, TRIM)
    if parameters.body_type == "pickup":
        (_, _, middle), (wide, _, reach) = shape.bed
        inside = (side < wide + 0.004) & (np.abs(z - middle) < reach + 0.004) & (y < shape.deck - 0.015)
        coat.cover(inside, colours.trim, TRIM)
    return coat.painted


def _windows(shape: CarShape, points: Points) -> Where:
    """Glass: the cabin's faces inside a frame of posts."""
    body, fittings = shape.parameters.body, shape.parameters.fittings
    x, y, z = points
    side, pillar = np.abs(x), fittings.pillar
    # The lower edge of the side windows runs from the windscreen's foot to the deck.
    along = np.clip((z - shape.rear_window) / (shape.windscreen - shape.rear_window), 0, 1)
    sill = shape.deck + along * (shape.cowl - shape.deck) + 0.018
    rise_front, rise_rear = ((y - level) / (shape.roof - level) for level in (shape.cowl, shape.deck))
    front = shape.windscreen + rise_front * (shape.roof_front - shape.windscreen)
    rear = shape.rear_window + rise_rear * (shape.roof_rear - shape.rear_window)
    half_width = body.half_width * (0.93 + np.clip(rise_rear, 0, 1) * (body.roof_width - 0.93))
    from_side, from_front, from_rear = half_width - side, front - z, z - rear
    glazed = (y > sill) & (y < shape.roof - 0.04)
    # A point belongs to the face that it is nearest to, measured across the face.
    steep_front, steep_rear = (
        rise / np.hypot(rise, run)
        for rise, run in (
            (shape.roof - shape.cowl, body.windscreen_run),
            (shape.roof - shape.deck, shape.roof_rear - shape.rear_window),
        )
    )
    face = np.stack([from_side, from_front * steep_front, from_rear * steep_rear]).argmin(axis=0)
    sides = (face == 0) & (np.minimum(from_front, from_rear) > pillar / min(steep_front, steep_rear, 0.8))
    post = shape.roof_rear + fittings.door_post * (shape.roof_front - shape.roof_rear)
    sides &= np.abs(z - post) > 0.5 * pillar
    if fittings.panelled:
        sides &= z > post
    ends = (face > 0) & (from_side > 0.8 * pillar)
    return glazed & (sides | ends)


def _paint_ends(shape: CarShape, points: Points, coat: Coat) -> None:
    """Lights and grille at the front, lights and number plate at the rear."""
    body, fittings, colours = shape.parameters.body, shape.parameters.fittings, shape.parameters.colours
    x, y, z = points
    side = np.abs(x)
    nose = z > shape.front - 0.11
    level = 0.42 * shape.bumper_level + 0.58 * shape.nose
    grille = (side < fittings.grille * body.half_width) & (np.abs(y - level + 0.008) < 0.03)
    coat.cover(nose & grille, 0.5 * colours.trim, TRIM)
    apart = body.nose_width * body.half_width - fittings.light_width - 0.006
    light = ((side - apart) / fittings.light_width) ** 2 + (
        (y - level - 0.006) / fittings.light_height
    ) ** 2 < 1
    coat.cover(nose & light, HEAD_LIGHT, LIGHTS)

    stern = z < shape.tail + 0.085
    height = fittings.tail_light_height
    top = shape.deck - 0.02
    tail_light = (side > body.tail_width * body.half_width - 0.085) & (np.abs(y - top + height) < height)
    coat.cover(stern & tail_light, TAIL_LIGHT, LIGHTS)
    plate = (side < 0.075) & (np.abs(y - 0.5 * (top - 2 * height + shape.bumper_level + 0.03)) < 0.018)
    coat.cover(stern & plate, PLATE, TRIM)


def paint_wheels(shape: CarShape, points: Points) -> Painted:
    """Tyres, and rims with five spokes."""
    fittings, colours = shape.parameters.fittings, shape.parameters.colours
    _, y, z = points
    ahead = np.where(z > 0.5 * sum(shape.axles), *shape.axles)
    up, forwards = y - (GROUND + shape.parameters.body.wheel_radius), z - ahead
    from_hub = np.hypot(up, forwards) / (fittings.rim * shape.parameters.body.wheel_radius)
    coat = Coat(points, TYRE, WHEELS)
    coat.cover(from_hub < 1, colours.rims, WHEELS)
    between = (np.cos(5 * np.arctan2(forwards, up)) < -0.2) & (from_hub > 0.35) & (from_hub < 0.85)
    coat.cover(between, 0.45 * colours.rims, WHEELS)
    return coat.painted


def paint_plain(points: Points, colour: Colour, label: int) -> Painted:
    """One colour all over."""
    return Coat(points, colour, label).painted
