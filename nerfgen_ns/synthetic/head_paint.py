"""Colours and labels on the surface of a head."""

import numpy as np
from jaxtyping import Float, Int

from nerfgen_ns.synthetic.head_parameters import Colour
from nerfgen_ns.synthetic.head_shape import EYE_LEVEL, BareHead
from nerfgen_ns.synthetic.primitives import Points

LABELS = ("background", "skin", "hair", "eyes", "lips and mouth", "neck and clothes")
"""Label i means LABELS[i]."""
SKIN, HAIR, EYES, MOUTH, CLOTHES = range(1, 6)
WHITE_OF_EYE = np.array([0.93, 0.91, 0.89])
INSIDE_MOUTH = np.array([0.22, 0.06, 0.06])

Mixed = tuple[Float[np.ndarray, "3 n"], Int[np.ndarray, "n"]]


def _cover(albedo: Float[np.ndarray, "3 n"], where: Float[np.ndarray, "n"], colour: Colour) -> None:
    """Mix `colour` into `albedo` by the share `where`."""
    albedo += where * (colour[:, None] - albedo)


def paint_skin(bare: BareHead, points: Points, neck_level: float) -> Mixed:
    """Skin, eyes, lips and blush."""
    features, colours = bare.parameters.features, bare.parameters.colours
    x, y, z = points
    side = np.abs(x)
    labels = np.where(y < neck_level, CLOTHES, SKIN)
    albedo = np.repeat(colours.skin[:, None], points.shape[1], axis=1)

    blush = np.exp(-((side - 0.13) ** 2 + (y + 0.07) ** 2) / 0.004) + np.exp(
        -(x**2 + (y - bare.nose_level) ** 2) / 0.002
    )
    redder = colours.skin * (1 - colours.blush * np.array([0.0, 2.0, 1.6]))
    _cover(albedo, np.minimum(blush, 1) * (z > 0.1), redder)

    front = z > bare.mouth_front - 0.09
    along = x / features.mouth_width
    arch = np.sqrt(np.clip(1 - along**2, 0, 1))
    height = y - bare.mouth_level - features.smile * along**2
    gap = features.mouth_open * arch
    # Cupid's bow: the upper lip dips in the middle.
    upper = gap + features.upper_lip * arch * (0.8 + 0.6 * np.abs(along) * (1 - np.abs(along)))
    mouth = front & (np.abs(along) < 1) & (height < upper) & (height > -gap - features.lower_lip * arch)
    _cover(albedo, mouth.astype(float), colours.lips)
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
    _cover(albedo, (eye & (from_pupil < 0.021)).astype(float), colours.eyes)
    _cover(albedo, (eye & (from_pupil < 0.0095)).astype(float), np.full(3, 0.03))
    labels[eye] = EYES
    lashes = (z > 0.05) & (np.abs(along) < 1.1) & ~eye & (up > 0) & (up < features.eye_height * lid + 0.008)
    _cover(albedo, 0.75 * lashes, 0.6 * colours.brows)
    crease = (z > 0.05) & (np.abs(along) < 1.1) & ~eye & ~lashes & (np.abs(up) < features.eye_height + 0.02)
    _cover(albedo, 0.18 * crease, 0.6 * colours.skin)
    return albedo, labels


def paint_hair(points: Points, colour: Colour) -> Mixed:
    """Hair whose strands run from front to back and down the sides."""
    x, y, z = points
    strands = np.sin(60 * x + 5 * np.sin(9 * y + 4 * z)) * np.sin(23 * x - 17 * z + 6 * y)
    albedo = colour[:, None] * (1 + 0.16 * strands) + 0.012 * strands
    return np.clip(albedo, 0, 1), np.full(points.shape[1], HAIR)


def paint_clothes(bare: BareHead, points: Points) -> Mixed:
    """Plain or striped clothes."""
    body, colours = bare.parameters.body, bare.parameters.colours
    albedo = np.repeat(colours.clothes[:, None], points.shape[1], axis=1)
    wave = np.sin(2 * np.pi * (points[1] + 0.25 * np.abs(points[0])) / (2 * body.stripe_width))
    _cover(albedo, body.stripes * np.clip(0.5 + 2 * wave, 0, 1), colours.clothes_second)
    return albedo, np.full(points.shape[1], CLOTHES)


def paint_hat(bare: BareHead, points: Points) -> Mixed:
    """A knitted hat: ribs that run up to the crown."""
    ribs = np.sin(26 * np.arctan2(points[0], points[2] + 0.05))
    albedo = bare.parameters.colours.hat[:, None] * (1 + 0.12 * ribs)
    return np.clip(albedo, 0, 1), np.full(points.shape[1], CLOTHES)
