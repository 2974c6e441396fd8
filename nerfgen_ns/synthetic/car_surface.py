"""The surface of a car: its signed distance, its colors and labels, and its landmarks."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from nerfgen_ns.synthetic.car_parameters import CarParameters, Color
from nerfgen_ns.synthetic.render import trace
from nerfgen_ns.synthetic.solids import (
    ConvexSolid,
    Distances,
    Points,
    box,
    carve,
    disc,
    ellipsoid,
    join,
    mirrored,
)

GROUND = -0.3
"""Height of the ground, the same for every car: it defines the frame."""
ABSENT = np.float32(10.0)
"""Distance to a part that a car does not have."""
Corner = tuple[float, float, float]


class CarShape:
    """Signed distances of the parts of one car, and where its edges are.

    Heights in the parameters count from the ground; here all places are in the class's frame.
    """

    def __init__(self, parameters: CarParameters) -> None:
        self.parameters = parameters
        body = parameters.body
        self.floor, self.nose, self.cowl, self.deck, self.roof = (
            GROUND + height
            for height in (
                body.clearance, body.nose_height, body.cowl_height, body.deck_height, body.roof_height
            )
        )  # fmt: skip
        self.front, self.tail = body.half_length, -body.half_length
        self.windscreen = self.front - body.bonnet
        self.roof_front = self.windscreen - body.windscreen_run
        self.roof_rear = min(self.tail + max(body.roof_end, 0.03), self.roof_front - 0.12)
        self.rear_window = max(self.roof_rear - body.rear_run, self.tail + 0.02)
        self.axles = (self.front - body.front_overhang, self.tail + body.rear_overhang)
        self.hub_height = GROUND + body.wheel_radius
        self.bumper_level = self.floor + parameters.fittings.bumper_height
        self.mirror_place = (1.02 * body.half_width, self.cowl + 0.035, self.windscreen - 0.09)
        self._lower = ConvexSolid(self._lower_corners(), body.roundness)
        self._cabin = ConvexSolid(self._cabin_corners(), body.roundness)

    def _lower_corners(self) -> list[Corner]:
        """Return the corners of the body below the windows, left half."""
        body, front, tail = self.parameters.body, self.front, self.tail
        wide, nose_wide, tail_wide = (
            body.half_width * share for share in (1, body.nose_width, body.tail_width)
        )
        waist = 0.45 * self.floor + 0.55 * self.deck
        nose_middle, tail_middle = (0.5 * (self.floor + height) for height in (self.nose, self.deck))
        ends = self.axles[0] + 0.06, self.axles[1] - 0.06
        return [
            # The nose, bowed forwards in the middle, and the bonnet, bowed upwards.
            (0.92 * nose_wide, self.floor + 0.025, front - 0.05), (nose_wide, nose_middle, front - 0.03),
            (0.93 * nose_wide, self.nose - 0.01, front - 0.075), (0, self.floor + 0.02, front - 0.025),
            (0, nose_middle, front), (0, self.nose + 0.008, front - 0.05),
            (0.88 * wide, self.cowl - 0.01, self.windscreen), (0, self.cowl + 0.012, self.windscreen),
            # The wings rise over the front wheels.
            (0.86 * wide, GROUND + 2.16 * body.wheel_radius + 0.035, self.axles[0]),
            # The flanks, widest at the waist.
            (0.93 * wide, self.floor, ends[0]), (0.93 * wide, self.floor, ends[1]),
            (wide, waist, ends[0] - 0.02), (wide, waist, ends[1]),
            (0.94 * wide, self.cowl - 0.01, self.windscreen - 0.12),
            (0.94 * wide, self.deck, self.axles[1]),
            # The tail.
            (0.93 * tail_wide, self.deck, tail + 0.045), (tail_wide, tail_middle, tail + 0.025),
            (0.94 * tail_wide, self.floor + 0.035, tail + 0.045), (0, self.deck + 0.006, tail + 0.025),
            (0, tail_middle, tail), (0, self.floor + 0.03, tail + 0.03),
        ]  # fmt: skip

    def _cabin_corners(self) -> list[Corner]:
        """Return the corners of the cabin, left half; it is sunk into the body a little."""
        wide = self.parameters.body.half_width
        roof_wide, sunk = wide * self.parameters.body.roof_width, 0.04
        middle = 0.45 * self.roof_front + 0.55 * self.roof_rear
        front_slope, rear_slope = (
            sunk * (high - low) / (self.roof - level)
            for high, low, level in (
                (self.windscreen, self.roof_front, self.cowl), (self.roof_rear, self.rear_window, self.deck)
            )
        )  # fmt: skip
        return [
            (0.84 * wide, self.cowl - sunk, self.windscreen + front_slope - 0.02),
            (0, self.cowl - sunk, self.windscreen + front_slope + 0.025),
            (0.93 * wide, self.cowl - sunk, self.windscreen - 0.13),
            (0.93 * wide, self.deck - sunk, max(self.rear_window - rear_slope, self.tail + 0.02) + 0.09),
            (0.86 * wide, self.deck - sunk, max(self.rear_window - rear_slope, self.tail + 0.03)),
            (0, self.deck - sunk, max(self.rear_window - rear_slope - 0.02, self.tail + 0.015)),
            (0.93 * roof_wide, self.roof - 0.022, self.roof_front),
            (0, self.roof - 0.008, self.roof_front + 0.02),
            (roof_wide, self.roof - 0.01, middle), (0, self.roof + 0.01, middle),
            (0.95 * roof_wide, self.roof - 0.025, self.roof_rear),
            (0, self.roof - 0.01, self.roof_rear - 0.015),
        ]  # fmt: skip

    def body(self, points: Points, folded: Points) -> Distances:
        """Return the distance to everything of sheet metal and glass."""
        parameters = self.parameters
        shape = join(self._lower(folded), self._cabin(folded), 0.012)
        around, arch_radius = self._around_axles(folded), 1.16 * parameters.body.wheel_radius
        if parameters.body_type == "pickup":
            # The wheel arches rise into the bed as boxes.
            hollow = carve(box(points, *self.bed, 0.01), disc(around, arch_radius + 0.03, 0.15, 0.01), 0.01)
            shape = carve(shape, hollow, 0.01)
        shape = carve(shape, disc(around, arch_radius, 0.12, 0.01), 0.012)
        mirror = parameters.fittings.mirror
        return join(shape, ellipsoid(folded, self.mirror_place, (1.3 * mirror, mirror, 0.7 * mirror)), 0.015)

    @property
    def bed(self) -> tuple[Corner, Corner]:
        """Center and half sizes of the hollow behind a pickup's cabin."""
        low, rear, ahead = self.floor + 0.11, self.tail + 0.085, self.rear_window - 0.05
        center = (0.0, 0.5 * (low + self.deck + 0.2), 0.5 * (rear + ahead))
        sizes = 0.84 * self.parameters.body.half_width, 0.5 * (self.deck + 0.2 - low), 0.5 * (ahead - rear)
        return center, sizes

    def bumpers(self, points: Points) -> Distances:
        """Return the distance to the front and the rear bumper."""
        body, fittings = self.parameters.body, self.parameters.fittings
        front = box(
            points,
            (0, self.bumper_level, self.front - 0.06 + fittings.bumper_depth),
            (0.97 * body.nose_width * body.half_width, 0.032, 0.05),
            0.025,
        )
        rear = box(
            points,
            (0, self.bumper_level, self.tail + 0.06 - fittings.bumper_depth),
            (0.98 * body.tail_width * body.half_width, 0.032, 0.05),
            0.025,
        )
        return np.minimum(front, rear)

    def sills(self, points: Points) -> Distances:
        """Return the distance to the plastic along the floor between the wheels."""
        body = self.parameters.body
        middle, reach = 0.5 * sum(self.axles), 0.5 * (self.axles[0] - self.axles[1])
        sizes = (0.955 * body.half_width, 0.022, reach - 1.25 * body.wheel_radius)
        return box(points, (0, self.floor + 0.018, middle), sizes, 0.012)

    def wheels(self, folded: Points) -> Distances:
        """Return the distance to all four wheels, given points folded onto the left side.

        Their rims are hollowed a little.
        """
        body, fittings = self.parameters.body, self.parameters.fittings
        around = self._around_axles(folded)
        tire = disc(around, body.wheel_radius, 0.5 * fittings.wheel_width, 0.015)
        around[0] -= np.float32(0.5 * fittings.wheel_width + 0.008)
        return carve(tire, disc(around, fittings.rim * body.wheel_radius, 0.02, 0.004), 0.008)

    def _around_axles(self, folded: Points) -> Points:
        """Return points relative to the middle of the nearer left wheel: (along the axle, up, forwards)."""
        fittings = self.parameters.fittings
        ahead = folded[2] > np.float32(0.5 * sum(self.axles))
        hub = np.where(ahead, np.float32(self.axles[0]), np.float32(self.axles[1]))
        side = np.float32(0.985 * self.parameters.body.half_width - 0.5 * fittings.wheel_width)
        return np.stack([folded[0] - side, folded[1] - np.float32(self.hub_height), folded[2] - hub])

    def extras(self, points: Points, folded: Points) -> Distances:
        """Return the distance to the spoiler, or ABSENT."""
        body, height = self.parameters.body, self.parameters.fittings.spoiler
        if height == 0:
            return np.full(points.shape[1], ABSENT)
        if self.parameters.body_type == "hatchback":
            place, rise = self.roof_rear - 0.05, self.roof - 0.04
        else:
            place, rise = self.tail + 0.055, self.deck + height
        wide = 0.78 * body.half_width * (body.roof_width if self.parameters.body_type == "hatchback" else 1)
        wing = box(points, (0, rise, place), (wide, 0.012, 0.05), 0.01)
        post = box(folded, (0.75 * wide, rise - 0.5 * height, place), (0.014, 0.5 * height, 0.025), 0.008)
        return np.minimum(wing, post)

    def load(self, points: Points) -> Distances:
        """Return the distance to the box on the roof, or ABSENT."""
        height = self.parameters.fittings.roof_load
        if height == 0:
            return np.full(points.shape[1], ABSENT)
        wide = 0.6 * self.parameters.body.half_width * self.parameters.body.roof_width
        middle, reach = 0.5 * (self.roof_front + self.roof_rear), 0.32 * (self.roof_front - self.roof_rear)
        return box(points, (0, self.roof + 0.5 * height, middle), (wide, 0.5 * height, reach), 0.02)

    def parts(self, points: Points) -> dict[str, Distances]:
        """Return the distance to each part; the parts meet without blending."""
        folded = mirrored(points)
        return {
            "body": self.body(points, folded),
            "bumpers": self.bumpers(points),
            "sills": self.sills(points),
            "wheels": self.wheels(folded),
            "extras": self.extras(points, folded),
            "load": self.load(points),
        }


LABELS = ("background", "paint", "windows", "wheels", "lights", "trim")
"""Label i means LABELS[i]."""
PAINT, WINDOWS, WHEELS, LIGHTS, TRIM = range(1, 6)
TIRE = np.array([0.07, 0.07, 0.075])
HEAD_LIGHT, TAIL_LIGHT, PLATE = np.array([[0.88, 0.88, 0.80], [0.70, 0.05, 0.06], [0.82, 0.80, 0.66]])
Painted = tuple[Float[np.ndarray, "3 n"], Int[np.ndarray, " n"]]
Where = Bool[np.ndarray, " n"]


class Coat:
    """Albedo and labels of points of one part, painted over layer by layer."""

    def __init__(self, points: Points, color: Color, label: int) -> None:
        self.albedo = np.repeat(color[:, None], points.shape[1], axis=1)
        self.labels = np.full(points.shape[1], label)

    def cover(self, where: Where, color: Color, label: int = PAINT) -> None:
        """Paint the points `where` over."""
        self.albedo[:, where] = color[:, None]
        self.labels[where] = label

    @property
    def painted(self) -> Painted:
        """Albedo and labels as they are now."""
        return self.albedo, self.labels


def paint_body(shape: CarShape, points: Points) -> Painted:
    """Paint the body: paint, windows, lights, grille, and the dark of wheel arches, floor and bed."""
    parameters, colors, body = shape.parameters, shape.parameters.colors, shape.parameters.body
    x, y, z = points
    side = np.abs(x)
    coat = Coat(points, colors.paint, PAINT)
    if colors.pattern == "lower":
        coat.cover(y < 0.5 * (shape.floor + shape.deck) + 0.01, colors.second)
    elif colors.pattern == "stripes":
        coat.cover(np.abs(side - 0.26 * body.half_width) < 0.12 * body.half_width, colors.second)
    elif colors.pattern == "roof":
        coat.cover(y > shape.roof - 0.05, colors.second)
    coat.cover(_windows(shape, points), colors.glass, WINDOWS)
    _paint_ends(shape, points, coat)
    axle = np.where(z > 0.5 * sum(shape.axles), *shape.axles)
    from_hub = np.hypot(y - shape.hub_height, z - axle)
    coat.cover(
        (from_hub < 1.17 * body.wheel_radius) & (side > 0.5 * body.half_width), 0.6 * colors.trim, TRIM
    )
    coat.cover((y < shape.floor + 0.012) & (side < 0.9 * body.half_width), 0.6 * colors.trim, TRIM)
    if parameters.body_type == "pickup":
        (_, _, middle), (wide, _, reach) = shape.bed
        inside = (side < wide + 0.004) & (np.abs(z - middle) < reach + 0.004) & (y < shape.deck - 0.015)
        coat.cover(inside, colors.trim, TRIM)
    return coat.painted


def _windows(shape: CarShape, points: Points) -> Where:
    """Return where the glass is: the cabin's faces inside a frame of posts."""
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
    """Paint lights and grille at the front, lights and number plate at the rear."""
    body, fittings, colors = shape.parameters.body, shape.parameters.fittings, shape.parameters.colors
    x, y, z = points
    side = np.abs(x)
    nose = z > shape.front - 0.11
    level = 0.42 * shape.bumper_level + 0.58 * shape.nose
    grille = (side < fittings.grille * body.half_width) & (np.abs(y - level + 0.008) < 0.03)
    coat.cover(nose & grille, 0.5 * colors.trim, TRIM)
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
    """Paint tires, and rims with five spokes."""
    fittings, colors = shape.parameters.fittings, shape.parameters.colors
    _, y, z = points
    ahead = np.where(z > 0.5 * sum(shape.axles), *shape.axles)
    up, forwards = y - (GROUND + shape.parameters.body.wheel_radius), z - ahead
    from_hub = np.hypot(up, forwards) / (fittings.rim * shape.parameters.body.wheel_radius)
    coat = Coat(points, TIRE, WHEELS)
    coat.cover(from_hub < 1, colors.rims, WHEELS)
    between = (np.cos(5 * np.arctan2(forwards, up)) < -0.2) & (from_hub > 0.35) & (from_hub < 0.85)
    coat.cover(between, 0.45 * colors.rims, WHEELS)
    return coat.painted


def paint_plain(points: Points, color: Color, label: int) -> Painted:
    """Paint all points in one color."""
    return Coat(points, color, label).painted


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


def place_car_landmarks(shape: CarShape, distance: Callable[[Points], Distances]) -> Float[np.ndarray, "m 3"]:
    """Return the points of NAMES: each is hit by a ray from outside toward a place within the car.

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
