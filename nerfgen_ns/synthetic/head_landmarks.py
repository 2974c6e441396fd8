"""Named points on the skin of a head, alike in meaning on every head."""

import numpy as np
from jaxtyping import Float

from nerfgen_ns.synthetic.head_shape import EYE_LEVEL, BareHead, front
from nerfgen_ns.synthetic.render import trace

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
    """Left contour of the jaw: met by rays that come from the side and a little from the front."""
    length = bare.parameters.skull.face_length
    outwards = np.stack([np.cos(JAW_ANGLES), np.sin(JAW_ANGLES), np.full(5, 0.25)])
    outwards /= np.linalg.norm(outwards, axis=0)
    origins = np.array([[0.0], [-0.1 * length], [0.07]]) + outwards
    lengths = trace(bare.distance, origins, -outwards, np.zeros(5), np.ones(5))
    return (origins - outwards * lengths).T


def _ears(bare: BareHead) -> Float[np.ndarray, "3 3"]:
    """Top, middle and lobe of the left ear: met by rays that come from the side."""
    size = bare.parameters.features.ear_size
    origins = np.array(
        [[1.0, -0.01 + 0.062 * size, -0.05], [1.0, -0.01, -0.075], [1.0, -0.01 - 0.062 * size, -0.05]]
    )
    inwards = np.repeat([[-1.0], [0.0], [0.0]], 3, axis=1)
    origins[:, 0] -= trace(bare.distance, origins.T, inwards, np.zeros(3), np.ones(3))
    return origins


def place_landmarks(bare: BareHead, brows: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "m 3"]:
    """The points of NAMES on the bare head; `brows` are the ends and the middle of the left brow."""
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
