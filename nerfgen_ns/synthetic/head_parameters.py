"""What makes one head: its parameters, and how they are drawn. Lengths are in the class's frame."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Color = Float[np.ndarray, "3"]
SKIN_TONES = np.array(
    [[0.96, 0.80, 0.70], [0.90, 0.70, 0.57], [0.80, 0.58, 0.43], [0.62, 0.42, 0.29], [0.40, 0.26, 0.18]]
)
HAIR_TONES = np.array(
    [[0.07, 0.06, 0.06], [0.20, 0.12, 0.08], [0.40, 0.25, 0.14], [0.78, 0.60, 0.32], [0.62, 0.27, 0.12],
     [0.55, 0.54, 0.54], [0.90, 0.89, 0.87]]
)  # fmt: skip
EYE_TONES = np.array([[0.22, 0.13, 0.08], [0.42, 0.28, 0.14], [0.28, 0.44, 0.28], [0.28, 0.45, 0.65]])
HAIR_STYLES = ("bald", "buzz", "short", "quiff", "round", "bob", "long", "bun", "pigtails", "hat")
HAIR_STYLE_SHARES = (0.08, 0.12, 0.17, 0.10, 0.12, 0.11, 0.12, 0.07, 0.04, 0.07)


@dataclass(frozen=True)
class Skull:
    """Proportions of the head."""

    width: float
    height: float
    depth: float
    """Skull, relative to the mean."""
    face_length: float
    """From the eyes to the chin, relative to the mean."""
    face_width: float
    """Relative to the mean."""
    jaw_width: float
    """Half the width of the jaw at its angle."""
    chin_width: float
    chin_forward: float
    cheeks: float
    """Radius of the cheeks."""
    brow_ridge: float
    """Radius of the bone above the eyes."""


@dataclass(frozen=True)
class Features:
    """Nose, eyes, mouth and ears."""

    nose_length: float
    """From the level of the eyes downwards."""
    nose_forward: float
    """Of the tip, before the face."""
    nose_width: float
    nose_tip: float
    """Radius."""
    nose_hump: float
    """How far the bridge bulges."""
    eye_apart: float
    """Half the distance of the pupils."""
    eye_width: float
    eye_height: float
    """Half sizes of the opening."""
    eye_tilt: float
    """Rise of the outer corner, per length."""
    eye_depth: float
    """Of the sockets."""
    brow_height: float
    """Above the pupils."""
    brow_thickness: float
    brow_tilt: float
    """Rise of the outer end."""
    mouth_height: float
    """Of its place between chin (0) and nose (1)."""
    mouth_width: float
    """Half of it."""
    upper_lip: float
    lower_lip: float
    """Heights."""
    smile: float
    """Rise of the corners."""
    mouth_open: float
    """Half the height of the gap."""
    ear_size: float
    """Relative to the mean."""
    ear_flare: float
    """How far they stick out."""


@dataclass(frozen=True)
class Hair:
    """The volume of the hair, or a hat, and the beard."""

    style: str
    """One of HAIR_STYLES."""
    top: float
    side: float
    """Thickness above the skull and beside it; zero: none."""
    hairline: float
    """Height of its middle."""
    parting: float
    """How far the volume leans to the left (+) or right."""
    fringe: float
    """How far hair hangs over the forehead."""
    length: float
    """Height down to which long hair hangs; above the ears: none."""
    fullness: float
    """Radius of long hair, buns and pigtails."""
    curl: float
    """Height of the curls."""
    beard: float
    moustache: float
    """Thickness; zero: none."""


@dataclass(frozen=True)
class Body:
    """Neck, shoulders and clothes."""

    neck: float
    """Radius."""
    shoulder_width: float
    shoulder_height: float
    neckline: float
    """Radius of the opening of the clothes."""
    collar: float
    """Radius of a rolled collar; zero: none."""
    stripes: float
    """How strongly the second color of the clothes shows."""
    stripe_width: float


@dataclass(frozen=True)
class Colors:
    """Albedos in [0, 1]."""

    skin: Color
    blush: float
    """How much redder cheeks and nose are."""
    lips: Color
    hair: Color
    brows: Color
    eyes: Color
    clothes: Color
    clothes_second: Color
    hat: Color


@dataclass(frozen=True)
class HeadParameters:
    """Everything about one head except the light and the background."""

    skull: Skull
    features: Features
    hair: Hair
    body: Body
    colors: Colors


def sample_head_parameters(random: np.random.Generator) -> HeadParameters:
    """Draw one head."""
    return HeadParameters(
        _sample_skull(random), _sample_features(random), _sample_hair(random), _sample_body(random),
        _sample_colors(random),
    )  # fmt: skip


def _draw(random: np.random.Generator, mean: float, spread: float) -> float:
    """Draw from a normal distribution, within two spreads, so that no part leaves the head."""
    return mean + spread * float(np.clip(random.normal(), -2, 2))


def _sample_skull(random: np.random.Generator) -> Skull:
    face_width = _draw(random, 1, 0.07)
    return Skull(
        width=0.6 * face_width + 0.4 * _draw(random, 1, 0.07),
        height=_draw(random, 1, 0.07),
        depth=_draw(random, 1, 0.06),
        face_length=_draw(random, 1, 0.08),
        face_width=face_width,
        jaw_width=face_width * _draw(random, 0.185, 0.022),
        chin_width=_draw(random, 0.07, 0.018),
        chin_forward=_draw(random, 0, 0.02),
        cheeks=_draw(random, 0.085, 0.018),
        brow_ridge=_draw(random, 0.03, 0.008),
    )


def _sample_features(random: np.random.Generator) -> Features:
    return Features(
        nose_length=_draw(random, 0.14, 0.018),
        nose_forward=_draw(random, 0.08, 0.014),
        nose_width=_draw(random, 0.036, 0.007),
        nose_tip=_draw(random, 0.031, 0.005),
        nose_hump=max(_draw(random, 0.004, 0.009), 0.0),
        eye_apart=_draw(random, 0.105, 0.008),
        eye_width=_draw(random, 0.046, 0.005),
        eye_height=_draw(random, 0.021, 0.0045),
        eye_tilt=_draw(random, 0.08, 0.1),
        eye_depth=_draw(random, 0.026, 0.007),
        brow_height=_draw(random, 0.075, 0.01),
        brow_thickness=_draw(random, 0.0135, 0.003),
        brow_tilt=_draw(random, 0.0, 0.014),
        mouth_height=_draw(random, 0.6, 0.05),
        mouth_width=_draw(random, 0.09, 0.012),
        upper_lip=_draw(random, 0.021, 0.005),
        lower_lip=_draw(random, 0.027, 0.006),
        smile=_draw(random, 0.006, 0.012),
        mouth_open=max(_draw(random, -0.004, 0.009), 0.0),
        ear_size=_draw(random, 1, 0.12),
        ear_flare=_draw(random, 0.02, 0.01),
    )


def _sample_hair(random: np.random.Generator) -> Hair:
    style = str(random.choice(HAIR_STYLES, p=HAIR_STYLE_SHARES))
    thickness = {
        "bald": (0.0, 0.0), "buzz": (0.014, 0.012), "short": (0.05, 0.022), "quiff": (0.085, 0.016),
        "round": (0.13, 0.11), "bob": (0.05, 0.04), "long": (0.045, 0.035), "bun": (0.025, 0.02),
        "pigtails": (0.035, 0.03), "hat": (0.02, 0.02),
    }  # fmt: skip
    top, side = thickness[style]
    scale = _draw(random, 1, 0.2)
    length = {
        "bob": _draw(random, -0.22, 0.05),
        "long": _draw(random, -0.5, 0.07),
        "hat": _draw(random, -0.15, 0.2),
    }
    curly = style == "round" or (style in ("short", "bob", "long") and random.random() < 0.35)
    hidden_fringe = style in ("bald", "buzz", "round", "hat")
    bearded = random.random() < 0.25 and style not in ("bob", "long", "bun", "pigtails")
    return Hair(
        style=style,
        top=top * scale,
        side=side * scale,
        hairline=_draw(random, 0.255, 0.025),
        parting=0.0 if style == "hat" else _draw(random, 0, 0.025),
        fringe=0.0 if hidden_fringe else max(_draw(random, 0.0, 0.07), 0.0),
        length=length.get(style, 1.0),
        fullness=_draw(random, 0.09, 0.014),
        curl=abs(_draw(random, 0.011, 0.004)) if curly else 0.0,
        beard=_draw(random, 0.03, 0.011) if bearded else 0.0,
        moustache=_draw(random, 0.017, 0.003) if bearded or random.random() < 0.07 else 0.0,
    )


def _sample_body(random: np.random.Generator) -> Body:
    return Body(
        neck=_draw(random, 0.135, 0.014),
        shoulder_width=_draw(random, 0.46, 0.06),
        shoulder_height=_draw(random, -0.57, 0.03),
        neckline=_draw(random, 0.2, 0.035),
        collar=_draw(random, 0.04, 0.008) if random.random() < 0.3 else 0.0,
        stripes=_draw(random, 0.7, 0.15) if random.random() < 0.35 else 0.0,
        stripe_width=_draw(random, 0.045, 0.01),
    )


def _sample_colors(random: np.random.Generator) -> Colors:
    def tone(ramp: Float[np.ndarray, "tones 3"]) -> Color:
        """Draw a color between two neighbors of a ramp, a little brighter or darker, a little off in hue."""
        place = random.uniform(0, len(ramp) - 1)
        left = min(int(place), len(ramp) - 2)
        mixed = ramp[left] + (place - left) * (ramp[left + 1] - ramp[left])
        return np.clip(mixed * (1 + random.normal(0, 0.05)) + random.normal(0, 0.012, 3), 0.02, 0.98)

    skin = tone(SKIN_TONES)
    # Fair hair on dark skin is rarer than dark hair on fair skin.
    fair = len(HAIR_TONES) if skin[0] > 0.7 or random.random() < 0.2 else 3
    hair = tone(HAIR_TONES[:fair])
    redness = random.uniform(0.25, 0.85)
    return Colors(
        skin=skin,
        blush=float(random.uniform(0, 0.12)),
        lips=np.clip(skin * (1 - redness * np.array([0.12, 0.5, 0.42])), 0, 1),
        hair=hair,
        brows=np.clip(hair * 0.75, 0.03, 0.6),
        eyes=tone(EYE_TONES),
        clothes=random.uniform(0.06, 0.92, 3),
        clothes_second=random.uniform(0.06, 0.92, 3),
        hat=random.uniform(0.06, 0.92, 3),
    )
