"""The shape of one car: its signed distance, part by part, from rounded convex solids."""

import numpy as np

from nerfgen_ns.synthetic.car_parameters import CarParameters
from nerfgen_ns.synthetic.primitives import (
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
"""Height of the ground, the same for every car: the frame hangs on it."""
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
        """Corners of the body below the windows, left half."""
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
            # The wings stand over the front wheels.
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
        """Corners of what stands on the body, left half, sunk into it a little."""
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
        """Everything of sheet metal and glass."""
        parameters = self.parameters
        shape = join(self._lower(folded), self._cabin(folded), 0.012)
        around, arch_radius = self._around_axles(folded), 1.16 * parameters.body.wheel_radius
        if parameters.body_type == "pickup":
            # The wheel arches stand in the bed as boxes.
            hollow = carve(box(points, *self.bed, 0.01), disc(around, arch_radius + 0.03, 0.15, 0.01), 0.01)
            shape = carve(shape, hollow, 0.01)
        shape = carve(shape, disc(around, arch_radius, 0.12, 0.01), 0.012)
        mirror = parameters.fittings.mirror
        return join(shape, ellipsoid(folded, self.mirror_place, (1.3 * mirror, mirror, 0.7 * mirror)), 0.015)

    @property
    def bed(self) -> tuple[Corner, Corner]:
        """Centre and half sizes of the hollow behind a pickup's cabin."""
        low, rear, ahead = self.floor + 0.11, self.tail + 0.085, self.rear_window - 0.05
        centre = (0.0, 0.5 * (low + self.deck + 0.2), 0.5 * (rear + ahead))
        sizes = 0.84 * self.parameters.body.half_width, 0.5 * (self.deck + 0.2 - low), 0.5 * (ahead - rear)
        return centre, sizes

    def bumpers(self, points: Points) -> Distances:
        """Front and rear bumper and the sills between the wheels."""
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
        """The plastic along the floor between the wheels."""
        body = self.parameters.body
        middle, reach = 0.5 * sum(self.axles), 0.5 * (self.axles[0] - self.axles[1])
        sizes = (0.955 * body.half_width, 0.022, reach - 1.25 * body.wheel_radius)
        return box(points, (0, self.floor + 0.018, middle), sizes, 0.012)

    def wheels(self, folded: Points) -> Distances:
        """All four wheels, given points folded onto the left side; their rims are hollowed a little."""
        body, fittings = self.parameters.body, self.parameters.fittings
        around = self._around_axles(folded)
        tyre = disc(around, body.wheel_radius, 0.5 * fittings.wheel_width, 0.015)
        around[0] -= np.float32(0.5 * fittings.wheel_width + 0.008)
        return carve(tyre, disc(around, fittings.rim * body.wheel_radius, 0.02, 0.004), 0.008)

    def _around_axles(self, folded: Points) -> Points:
        """Points relative to the middle of the nearer left wheel, (along the axle, up, forwards)."""
        fittings = self.parameters.fittings
        ahead = folded[2] > np.float32(0.5 * sum(self.axles))
        hub = np.where(ahead, np.float32(self.axles[0]), np.float32(self.axles[1]))
        side = np.float32(0.985 * self.parameters.body.half_width - 0.5 * fittings.wheel_width)
        return np.stack([folded[0] - side, folded[1] - np.float32(self.hub_height), folded[2] - hub])

    def extras(self, points: Points, folded: Points) -> Distances:
        """The spoiler, or ABSENT."""
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
        """The box on the roof, or ABSENT."""
        height = self.parameters.fittings.roof_load
        if height == 0:
            return np.full(points.shape[1], ABSENT)
        wide = 0.6 * self.parameters.body.half_width * self.parameters.body.roof_width
        middle, reach = 0.5 * (self.roof_front + self.roof_rear), 0.32 * (self.roof_front - self.roof_rear)
        return box(points, (0, self.roof + 0.5 * height, middle), (wide, 0.5 * height, reach), 0.02)

    def parts(self, points: Points) -> dict[str, Distances]:
        """Distance to each part; the parts meet without blending."""
        folded = mirrored(points)
        return {
            "body": self.body(points, folded),
            "bumpers": self.bumpers(points),
            "sills": self.sills(points),
            "wheels": self.wheels(folded),
            "extras": self.extras(points, folded),
            "load": self.load(points),
        }
