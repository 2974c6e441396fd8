"""The surface of a head: its signed distance, what it wears, its colors and labels, and its landmarks."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from nerfgen_ns.synthetic.head_parameters import Color, HeadParameters
from nerfgen_ns.synthetic.render import trace
from nerfgen_ns.synthetic.solids import (
    Distances,
    Points,
    capsule,
    carve,
    ellipsoid,
    join,
    mirrored,
    plane,
    sphere,
)

EYE_LEVEL = 0.02
"""Height of the pupils, the same for every head: it defines the frame."""


def front(
    distance: Callable[[Points], Distances], x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Return z of the surface that a ray from the front hits at (x, y)."""
    origins = np.stack([x, y, np.ones_like(x)]).astype(np.float32)
    backwards = np.broadcast_to(np.array([[0.0], [0.0], [-1.0]]), origins.shape)
    return 1 - trace(distance, origins, backwards, np.zeros(len(x)), np.full(len(x), 2.0))


class BareHead:
    """Signed distance of one head without hair and clothes, and where its features are."""

    def __init__(self, parameters: HeadParameters) -> None:
        self.parameters = parameters
        skull, features = parameters.skull, parameters.features
        self.chin_level = -0.37 * skull.face_length
        self.nose_level = EYE_LEVEL - features.nose_length
        self.mouth_level = self.chin_level + features.mouth_height * (self.nose_level - self.chin_level)
        self.ear_side = 0.262 * skull.width
        self.skull_center = (0.0, 0.13, -0.05)
        self.skull_radii = (0.272 * skull.width, 0.285 * skull.height, 0.325 * skull.depth)
        anchors = [
            (features.eye_apart, EYE_LEVEL),
            (0, EYE_LEVEL + 0.03),
            (0, EYE_LEVEL + features.brow_height),
            (0, self.nose_level),
            (0, self.mouth_level),
            (features.mouth_width, self.mouth_level + features.smile),
        ]
        surface = front(self.bone, *np.array(anchors, float).T)
        self.eye_front, self.bridge_front, self.brow_front = map(float, surface[:3])
        self.nose_front, self.mouth_front, self.corner_front = map(float, surface[3:])

    def bone(self, points: Points) -> Distances:
        """Return the distance to skull, face, jaw, cheeks and chin, without the features."""
        skull, folded = self.parameters.skull, mirrored(points)
        length = skull.face_length
        head = ellipsoid(points, self.skull_center, self.skull_radii)
        face = ellipsoid(
            points, (0, -0.055 * length, 0.055), (0.225 * skull.face_width, 0.29 * length, 0.225)
        )
        head = join(head, face, 0.08)
        jaw = ellipsoid(points, (0, -0.2 * length, 0.03), (skull.jaw_width, 0.125 * length, 0.18))
        head = join(head, jaw, 0.08)
        cheeks = sphere(folded, (0.12 * skull.face_width, -0.09 * length, 0.165), skull.cheeks)
        head = join(head, cheeks, 0.1)
        muzzle = ellipsoid(points, (0, -0.22 * length, 0.1), (0.155 * skull.face_width, 0.12 * length, 0.15))
        head = join(head, muzzle, 0.08)
        chin = ellipsoid(
            points, (0, self.chin_level + 0.055, 0.19 + skull.chin_forward), (skull.chin_width, 0.055, 0.06)
        )
        return join(head, chin, 0.06)

    def distance(self, points: Points) -> Distances:
        """Return the distance to the head without the neck."""
        head = self.bone(points)
        # Away from the face its features cannot be nearest: how far outside their box a point is bounds them.
        margin = np.float32(0.08)
        aside = np.maximum(np.abs(points[0]) - 0.2, np.float32(0.04) - points[2])
        aside = np.maximum(aside, np.abs(points[1] + np.float32(0.09)) - np.float32(0.28))
        near = aside < margin
        face = np.where(near, head, np.minimum(head, aside))
        face[near] = self._face(points.compress(near, axis=1), head[near])
        return join(face, self._ear(mirrored(points)), 0.03)

    def _face(self, points: Points, head: Distances) -> Distances:
        """Return `head` with brow ridge, eyes, nose and lips."""
        skull, features, folded = self.parameters.skull, self.parameters.features, mirrored(points)
        brow = EYE_LEVEL + features.brow_height
        ridge = (0.02, brow - 0.01, self.brow_front - 0.02), (0.12, brow - 0.005, self.eye_front - 0.015)
        head = join(head, capsule(folded, *ridge, skull.brow_ridge, 0.6 * skull.brow_ridge), 0.05)
        eye = (features.eye_apart, EYE_LEVEL)
        socket = ellipsoid(folded, (*eye, self.eye_front + 0.045 - features.eye_depth), (0.068, 0.048, 0.05))
        head = carve(head, socket, 0.05)
        head = join(
            head, sphere(folded, (*eye, self.eye_front - 0.058 - 0.3 * features.eye_depth), 0.055), 0.012
        )

        tip = (
            0.0,
            self.nose_level + 0.01,
            max(self.nose_front, self.bridge_front - 0.02) + features.nose_forward - features.nose_tip,
        )
        bridge = (0.0, EYE_LEVEL + 0.04, self.bridge_front - 0.022)
        nose = capsule(points, bridge, tip, 0.022, features.nose_tip)
        wings = (
            features.nose_width,
            self.nose_level - 0.005,
            self.nose_front + 0.3 * features.nose_forward - 0.005,
        )
        nose = join(nose, sphere(folded, wings, 0.02), 0.04)
        if features.nose_hump > 0:
            hump = [0.55 * a + 0.45 * b for a, b in zip(bridge, tip, strict=True)]
            hump[2] += features.nose_hump
            nose = join(nose, sphere(points, hump, 0.026), 0.03)
        head = join(head, nose, 0.045)

        return join(head, self._lips(folded), 0.02)

    def _lips(self, folded: Points) -> Distances:
        features, level, gap = self.parameters.features, self.mouth_level, self.parameters.features.mouth_open
        corner = (features.mouth_width, level + features.smile, self.corner_front - 0.004)
        upper = (0, level + gap + 0.5 * features.upper_lip, self.mouth_front - 0.002)
        lower = (0, level - gap - 0.5 * features.lower_lip, self.mouth_front - 0.004)
        return np.minimum(
            capsule(folded, upper, corner, 0.55 * features.upper_lip, 0.005),
            capsule(folded, lower, corner, 0.6 * features.lower_lip, 0.005),
        )

    def _ear(self, folded: Points) -> Distances:
        features = self.parameters.features
        ear_center = (self.ear_side + features.ear_flare, -0.01, -0.05)
        ear = ellipsoid(folded, ear_center, (0.022, 0.078 * features.ear_size, 0.05 * features.ear_size))
        return carve(ear, sphere(folded, (ear_center[0] + 0.035, 0.0, -0.02), 0.035), 0.02)

    def neck(self, points: Points) -> Distances:
        """Return the distance to the neck alone."""
        radius = self.parameters.body.neck
        return capsule(points, (0, -0.15, -0.08), (0, -0.7, -0.1), radius, radius * 1.08)


HAIRLINE_SLOPE = (0.0, -0.62, 0.785)
"""Normal of the plane that runs from the forehead behind the ears to the nape; hair grows behind it."""


class Outfit:
    """Signed distances of what one head wears."""

    def __init__(self, bare: BareHead) -> None:
        self.bare, self.parameters = bare, bare.parameters
        self.brow_points = self._place_brows()

    def _place_brows(self) -> Float[np.ndarray, "3 3"]:
        """Return inner end, middle and outer end of the left brow, on the skin, one a row."""
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
        """Return the distance to both brows, given points folded onto the left side."""
        inner, middle, outer = self.brow_points.tolist()
        thick = self.parameters.features.brow_thickness
        first = capsule(folded, inner, middle, 0.9 * thick, thick)
        return np.minimum(first, capsule(folded, middle, outer, thick, 0.6 * thick))

    def hair(self, points: Points, folded: Points) -> Distances | None:
        """Return the distance to the volume of the hair; None on a bald head."""
        hair, skull = self.parameters.hair, self.parameters.skull
        if hair.style == "bald":
            return None
        (_, height, back), (width, tall, deep) = self.bare.skull_center, self.bare.skull_radii
        center = (hair.parting, height + 0.35 * hair.top, back - 0.3 * hair.side)
        radii = (width + hair.side + 0.7 * abs(hair.parting), tall + 0.65 * hair.top, deep + 0.8 * hair.side)
        volume = ellipsoid(points, center, radii)
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
        """Return the distance to a knitted hat with a rolled edge."""
        (_, height, back), (width, tall, deep) = self.bare.skull_center, self.bare.skull_radii
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
        """Return the distance to beard and moustache; None on a shaven head."""
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
        """Return the distance to shoulders and chest as far as the clothes cover them."""
        body = self.parameters.body
        width, height = body.shoulder_width, body.shoulder_height
        shoulders = capsule(folded, (0, height - 0.08, -0.08), (width, height - 0.15, -0.08), 0.15, 0.125)
        chest = ellipsoid(folded, (0, height - 0.18, -0.05), (width + 0.08, 0.16, 0.2))
        slope = capsule(folded, (0, height + 0.1, -0.1), (0.7 * width, height - 0.1, -0.09), 0.07, 0.09)
        return join(join(shoulders, chest, 0.06), slope, 0.06)

    def clothes(self, points: Points, torso: Distances, neck: Distances) -> Distances:
        """Return the distance to the clothes, given the distances to the torso and to the neck."""
        body = self.parameters.body
        if body.collar > 0:
            along = points[1] - np.float32(body.shoulder_height + 0.15)
            wall = neck - np.float32(0.012)
            # A tube up to the ring, and the ring: near the neck's wall and near the ring's level.
            ring = np.sqrt(wall * wall + along * along * np.float32(0.36)) - np.float32(body.collar)
            return join(join(torso, np.maximum(wall, along), 0.05), ring, 0.02)
        return carve(torso, sphere(points, (0, body.shoulder_height + 0.14, 0.03), body.neckline), 0.01)


LABELS = ("background", "skin", "hair", "eyes", "lips and mouth", "neck and clothes")
"""Label i means LABELS[i]."""
SKIN, HAIR, EYES, MOUTH, CLOTHES = range(1, 6)
WHITE_OF_EYE = np.array([0.93, 0.91, 0.89])
INSIDE_MOUTH = np.array([0.22, 0.06, 0.06])
Mixed = tuple[Float[np.ndarray, "3 n"], Int[np.ndarray, " n"]]


def _cover(albedo: Float[np.ndarray, "3 n"], where: Float[np.ndarray, " n"], color: Color) -> None:
    """Mix `color` into `albedo` by the share `where`."""
    albedo += where * (color[:, None] - albedo)


def paint_skin(bare: BareHead, points: Points, neck_level: float) -> Mixed:
    """Paint skin, eyes, lips and blush."""
    features, colors = bare.parameters.features, bare.parameters.colors
    x, y, z = points
    side = np.abs(x)
    labels = np.where(y < neck_level, CLOTHES, SKIN)
    albedo = np.repeat(colors.skin[:, None], points.shape[1], axis=1)

    blush = np.exp(-((side - 0.13) ** 2 + (y + 0.07) ** 2) / 0.004) + np.exp(
        -(x**2 + (y - bare.nose_level) ** 2) / 0.002
    )
    redder = colors.skin * (1 - colors.blush * np.array([0.0, 2.0, 1.6]))
    _cover(albedo, np.minimum(blush, 1) * (z > 0.1), redder)

    front = z > bare.mouth_front - 0.09
    along = x / features.mouth_width
    arch = np.sqrt(np.clip(1 - along**2, 0, 1))
    height = y - bare.mouth_level - features.smile * along**2
    gap = features.mouth_open * arch
    # Cupid's bow: the upper lip dips in the middle.
    upper = gap + features.upper_lip * arch * (0.8 + 0.6 * np.abs(along) * (1 - np.abs(along)))
    mouth = front & (np.abs(along) < 1) & (height < upper) & (height > -gap - features.lower_lip * arch)
    _cover(albedo, mouth.astype(float), colors.lips)
    _cover(albedo, (mouth & (np.abs(height) < gap + 0.0035)).astype(float), INSIDE_MOUTH)
    labels[mouth] = MOUTH

    right, up = side - features.eye_apart, y - EYE_LEVEL
    up = up - features.eye_tilt * right
    along = right / features.eye_width
    lid = np.clip(1 - along**2, 0, 1)
    eye = (
        (z > 0.05)
        & (np.abs(along) < 1)
        & (up < features.eye_height * lid)
        & (up > -0.75 * features.eye_height * lid)
    )
    _cover(albedo, eye.astype(float), WHITE_OF_EYE)
    from_pupil = np.sqrt(right**2 + up**2)
    _cover(albedo, (eye & (from_pupil < 0.021)).astype(float), colors.eyes)
    _cover(albedo, (eye & (from_pupil < 0.0095)).astype(float), np.full(3, 0.03))
    labels[eye] = EYES
    lashes = (z > 0.05) & (np.abs(along) < 1.1) & ~eye & (up > 0) & (up < features.eye_height * lid + 0.008)
    _cover(albedo, 0.75 * lashes, 0.6 * colors.brows)
    crease = (z > 0.05) & (np.abs(along) < 1.1) & ~eye & ~lashes & (np.abs(up) < features.eye_height + 0.02)
    _cover(albedo, 0.18 * crease, 0.6 * colors.skin)
    return albedo, labels


def paint_hair(points: Points, color: Color) -> Mixed:
    """Paint hair whose strands run from front to back and down the sides."""
    x, y, z = points
    strands = np.sin(60 * x + 5 * np.sin(9 * y + 4 * z)) * np.sin(23 * x - 17 * z + 6 * y)
    albedo = color[:, None] * (1 + 0.16 * strands) + 0.012 * strands
    return np.clip(albedo, 0, 1), np.full(points.shape[1], HAIR)


def paint_clothes(bare: BareHead, points: Points) -> Mixed:
    """Paint plain or striped clothes."""
    body, colors = bare.parameters.body, bare.parameters.colors
    albedo = np.repeat(colors.clothes[:, None], points.shape[1], axis=1)
    wave = np.sin(2 * np.pi * (points[1] + 0.25 * np.abs(points[0])) / (2 * body.stripe_width))
    _cover(albedo, body.stripes * np.clip(0.5 + 2 * wave, 0, 1), colors.clothes_second)
    return albedo, np.full(points.shape[1], CLOTHES)


def paint_hat(bare: BareHead, points: Points) -> Mixed:
    """Paint a knitted hat: ribs that run up to the crown."""
    ribs = np.sin(26 * np.arctan2(points[0], points[2] + 0.05))
    albedo = bare.parameters.colors.hat[:, None] * (1 + 0.12 * ribs)
    return np.clip(albedo, 0, 1), np.full(points.shape[1], CLOTHES)


MIDDLE_NAMES = (
    "forehead", "nose_bridge", "nose_middle", "nose_tip", "nose_base",
    "upper_lip_top", "mouth_middle", "lower_lip_bottom", "chin_front", "chin_bottom",
)  # fmt: skip
SIDE_NAMES = (
    "brow_inner", "brow_middle", "brow_outer", "eye_inner", "eye_outer", "eye_top", "eye_bottom", "pupil",
    "nose_wing", "mouth_corner", "upper_lip_side", "lower_lip_side", "cheek",
    "jaw_1", "jaw_2", "jaw_3", "jaw_4", "jaw_5", "ear_top", "ear_middle", "ear_lobe",
)  # fmt: skip
NAMES = (*MIDDLE_NAMES, *(f"{name}_{side}" for name in SIDE_NAMES for side in ("left", "right")))
"""Left is the subject's left, +x."""
PAIRS = tuple((i, i + 1) for i in range(len(MIDDLE_NAMES), len(NAMES), 2))
"""Indices (left, right) of the points that mirror one another."""
JAW_ANGLES = np.radians([10.0, -15.0, -38.0, -58.0, -75.0])
"""Of jaw_1 … jaw_5 as seen from the front, below the horizontal through the middle of the face."""


def _jaw(bare: BareHead) -> Float[np.ndarray, "5 3"]:
    """Return the left contour of the jaw: hit by rays from the side and a little from the front."""
    length = bare.parameters.skull.face_length
    outwards = np.stack([np.cos(JAW_ANGLES), np.sin(JAW_ANGLES), np.full(5, 0.25)])
    outwards /= np.linalg.norm(outwards, axis=0)
    origins = np.array([[0.0], [-0.1 * length], [0.07]]) + outwards
    lengths = trace(bare.distance, origins, -outwards, np.zeros(5), np.ones(5))
    return (origins - outwards * lengths).T


def _ears(bare: BareHead) -> Float[np.ndarray, "3 3"]:
    """Return top, middle and lobe of the left ear: hit by rays from the side."""
    size = bare.parameters.features.ear_size
    origins = np.array(
        [[1.0, -0.01 + 0.062 * size, -0.05], [1.0, -0.01, -0.075], [1.0, -0.01 - 0.062 * size, -0.05]]
    )
    inwards = np.repeat([[-1.0], [0.0], [0.0]], 3, axis=1)
    origins[:, 0] -= trace(bare.distance, origins.T, inwards, np.zeros(3), np.ones(3))
    return origins


def place_head_landmarks(bare: BareHead, brows: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "m 3"]:
    """Return the points of NAMES on the bare head.

    `brows` are the inner end, the middle and the outer end of the left brow.
    """
    features, skull = bare.parameters.features, bare.parameters.skull
    mouth, gap = bare.mouth_level, features.mouth_open
    bridge = EYE_LEVEL + 0.04
    tip = bare.nose_level + 0.01
    middle_heights = [
        EYE_LEVEL + features.brow_height + 0.07, bridge, 0.5 * (bridge + tip), tip,
        bare.nose_level - features.nose_tip, mouth + gap + 0.8 * features.upper_lip, mouth,
        mouth - gap - features.lower_lip, bare.chin_level + 0.055, bare.chin_level + 0.022,
    ]  # fmt: skip
    eye, wide, tilt = features.eye_apart, features.eye_width, features.eye_tilt * features.eye_width
    side_points = [
        (eye - wide, EYE_LEVEL - tilt), (eye + wide, EYE_LEVEL + tilt),
        (eye, EYE_LEVEL + features.eye_height),
        (eye, EYE_LEVEL - 0.75 * features.eye_height), (eye, EYE_LEVEL),
        (features.nose_width + 0.014, bare.nose_level - 0.005),
        (features.mouth_width, mouth + features.smile),
        (0.4 * features.mouth_width, mouth + gap + 0.85 * features.upper_lip),
        (0.5 * features.mouth_width, mouth - gap - 0.8 * features.lower_lip),
        (0.12 * skull.face_width, -0.09 * skull.face_length),
    ]  # fmt: skip
    x = np.array([0.0] * len(middle_heights) + [point[0] for point in side_points])
    y = np.array([*middle_heights, *(point[1] for point in side_points)])
    points = np.stack([x, y, front(bare.distance, x, y)], axis=1)
    middle, left = points[: len(middle_heights)], points[len(middle_heights) :]
    left = np.concatenate([brows, left, _jaw(bare), _ears(bare)])
    both = np.stack([left, left * [-1, 1, 1]], axis=1).reshape(-1, 3)
    return np.concatenate([middle, both])
