"""What a head wears: hair, brows, beard, hat and clothes, as signed distances."""

import numpy as np
from jaxtyping import Float

from nerfgen_ns.synthetic.head_shape import EYE_LEVEL, BareHead, front
from nerfgen_ns.synthetic.primitives import (
    Distances,
    Points,
    capsule,
    carve,
    ellipsoid,
    join,
    plane,
    sphere,
)

HAIRLINE_SLOPE = (0.0, -0.62, 0.785)
"""Normal of the plane that runs from the forehead behind the ears to the nape; hair grows behind it."""


class Outfit:
    """Signed distances of what one head wears."""

    def __init__(self, bare: BareHead) -> None:
        self.bare, self.parameters = bare, bare.parameters
        self.brow_points = self._place_brows()

    def _place_brows(self) -> Float[np.ndarray, "3 3"]:
        """Inner end, middle and outer end of the left brow, on the skin, one a row."""
        features = self.parameters.features
        x = features.eye_apart + np.array([-0.062, 0.015, 0.07])
        y = (
            EYE_LEVEL
            + features.brow_height
            + np.array([-0.006, 0.008, -0.014])
            + np.array([0, 0.6, 1]) * (features.brow_tilt)
        )
        return np.stack([x, y, front(self.bare.distance, x, y) - 0.3 * features.brow_thickness], axis=1)

    def brows(self, folded: Points) -> Distances:
        """Both brows, given points folded onto the left side."""
        inner, middle, outer = self.brow_points.tolist()
        thick = self.parameters.features.brow_thickness
        first = capsule(folded, inner, middle, 0.9 * thick, thick)
        return np.minimum(first, capsule(folded, middle, outer, thick, 0.6 * thick))

    def hair(self, points: Points, folded: Points) -> Distances | None:
        """The volume of the hair; None on a bald head."""
        hair, skull = self.parameters.hair, self.parameters.skull
        if hair.style == "bald":
            return None
        (_, height, back), (width, tall, deep) = self.bare.skull_centre, self.bare.skull_radii
        centre = (hair.parting, height + 0.35 * hair.top, back - 0.3 * hair.side)
        radii = (width + hair.side + 0.7 * abs(hair.parting), tall + 0.65 * hair.top, deep + 0.8 * hair.side)
        volume = ellipsoid(points, centre, radii)
        crown = height + tall
        if hair.style == "quiff":
            quiff = (2 * hair.parting, crown - 0.04 + 0.5 * hair.top, 0.1)
            volume = join(volume, ellipsoid(points, quiff, (0.17, 0.03 + 0.5 * hair.top, 0.15)), 0.06)
        # The hairline: behind a plane, and outside a window around the face.
        hairline = hair.hairline - hair.fringe
        forehead = HAIRLINE_SLOPE[1] * hair.hairline + HAIRLINE_SLOPE[2] * 0.235 * skull.depth
        volume = carve(volume, -plane(points, HAIRLINE_SLOPE, forehead + 0.9 * hair.fringe), 0.03)
        if hair.length < 0:
            side = (0.9 * width, 0.12, -0.05), (0.92 * width, hair.length, -0.05)
            volume = join(volume, capsule(folded, *side, 0.6 * hair.fullness, hair.fullness), 0.08)
            nape = (0.07, 0.05, -0.17), (0.09, hair.length - 0.02, -0.17)
            volume = join(volume, capsule(folded, *nape, 0.17, 0.06 + hair.fullness), 0.08)
        window = (0, hairline - 0.3, 0.3), (0.208 * skull.face_width, 0.3, 0.3)
        volume = carve(volume, ellipsoid(points, *window), 0.03)
        if hair.style == "bun":
            volume = join(volume, sphere(points, (0, crown - 0.02, -0.2), 1.25 * hair.fullness), 0.03)
        if hair.style == "pigtails":
            volume = join(volume, sphere(folded, (width + 0.085, 0.12, -0.1), 1.1 * hair.fullness), 0.03)
        if hair.curl > 0:
            x, y, z = np.sin(points * np.float32(42))
            volume = volume - x * y * z * np.float32(1.5 * hair.curl) - np.float32(0.9 * hair.curl)
            # The curls are steep: the slope they add would overstate the distance.
            volume = volume / np.float32(1 + 45 * hair.curl)
        return volume

    def hat(self, points: Points) -> Distances:
        """A knitted hat with a rolled edge."""
        (_, height, back), (width, tall, deep) = self.bare.skull_centre, self.bare.skull_radii
        slope = (0.0, -0.97, 0.243)
        edge = slope[1] * (EYE_LEVEL + self.parameters.features.brow_height + 0.1) + slope[2] * 0.25
        room = 0.05
        cap = ellipsoid(
            points, (0, height + 0.4 * room, back), (width + 0.045, tall + 0.02 + 0.6 * room, deep + 0.045)
        )
        roll = ellipsoid(points, (0, height, back), (width + 0.068, tall + 0.068, deep + 0.068))
        below = plane(points, slope, edge)
        cap = np.maximum(cap, below)
        return np.minimum(cap, -join(-roll, -np.abs(below + np.float32(0.035)) + np.float32(0.035), 0.03))

    def beard(self, points: Points, folded: Points) -> Distances | None:
        """Beard and moustache; None on a shaven head."""
        hair, features, skull = self.parameters.hair, self.parameters.features, self.parameters.skull
        level, front_of_mouth = self.bare.mouth_level, self.bare.mouth_front
        parts = []
        if hair.beard > 0:
            beard = self.bare.bone(points) - np.float32(hair.beard)
            cheeks = (0, level + 0.17, 0.25), (0.2 * skull.face_width, 0.17, 0.26)
            beard = carve(beard, ellipsoid(points, *cheeks), 0.03)
            lips = (
                (0, level, front_of_mouth),
                (1.15 * features.mouth_width, 0.042 + features.mouth_open, 0.15),
            )
            beard = carve(beard, ellipsoid(points, *lips), 0.02)
            # From the throat up to the ears, where it ends before them.
            beard = carve(beard, plane(points, (0, -0.28, 0.96), 0.045), 0.03)
            parts.append(carve(beard, EYE_LEVEL - 0.03 - points[1], 0.02))
        if hair.moustache > 0:
            above = level + features.mouth_open + features.upper_lip + 0.5 * hair.moustache
            ends = (
                (0.012, above, front_of_mouth + 0.006),
                (features.mouth_width, level, front_of_mouth - 0.03),
            )
            parts.append(capsule(folded, *ends, hair.moustache, 0.7 * hair.moustache))
        return np.minimum.reduce(parts) if parts else None

    def torso(self, folded: Points) -> Distances:
        """Shoulders and chest as far as the clothes cover them."""
        body = self.parameters.body
        width, height = body.shoulder_width, body.shoulder_height
        shoulders = capsule(folded, (0, height - 0.08, -0.08), (width, height - 0.15, -0.08), 0.15, 0.125)
        chest = ellipsoid(folded, (0, height - 0.18, -0.05), (width + 0.08, 0.16, 0.2))
        slope = capsule(folded, (0, height + 0.1, -0.1), (0.7 * width, height - 0.1, -0.09), 0.07, 0.09)
        return join(join(shoulders, chest, 0.06), slope, 0.06)

    def clothes(self, points: Points, torso: Distances, neck: Distances) -> Distances:
        """The clothes, given the distances to the torso and to the neck."""
        body = self.parameters.body
        if body.collar > 0:
            along = points[1] - np.float32(body.shoulder_height + 0.15)
            wall = neck - np.float32(0.012)
            # A tube up to the ring, and the ring: near the neck's wall and near the ring's level.
            ring = np.sqrt(wall * wall + along * along * np.float32(0.36)) - np.float32(body.collar)
            return join(join(torso, np.maximum(wall, along), 0.05), ring, 0.02)
        return carve(torso, sphere(points, (0, body.shoulder_height + 0.14, 0.03), body.neckline), 0.01)
