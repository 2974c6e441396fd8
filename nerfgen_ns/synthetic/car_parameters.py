"""What makes one car: its parameters, and how they are drawn. Lengths are in the class's frame."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Color = Float[np.ndarray, "3"]
BODY_TYPES = ("saloon", "hatchback", "van", "pickup", "sports")
BODY_TYPE_SHARES = (0.24, 0.24, 0.18, 0.16, 0.18)
MEANS_AND_SPREAD = {
    #                 saloon hatch. van    pickup sports spread
    "half_length":    (0.735, 0.640, 0.750, 0.780, 0.710, 0.038),
    "half_width":     (0.310, 0.300, 0.330, 0.325, 0.320, 0.012),
    "clearance":      (0.062, 0.068, 0.075, 0.105, 0.048, 0.010),
    "nose_height":    (0.240, 0.260, 0.310, 0.315, 0.205, 0.014),
    "cowl_height":    (0.315, 0.335, 0.400, 0.390, 0.272, 0.012),
    "deck_height":    (0.330, 0.340, 0.400, 0.375, 0.290, 0.014),
    "roof_height":    (0.505, 0.540, 0.700, 0.620, 0.420, 0.030),
    "bonnet":         (0.365, 0.285, 0.180, 0.365, 0.420, 0.030),
    "windscreen_run": (0.220, 0.190, 0.220, 0.160, 0.250, 0.026),
    "roof_end":       (0.440, 0.150, 0.050, 0.690, 0.470, 0.055),
    "rear_run":       (0.190, 0.105, 0.020, 0.050, 0.310, 0.033),
    "wheel_radius":   (0.112, 0.108, 0.118, 0.138, 0.118, 0.006),
    "front_overhang": (0.255, 0.225, 0.245, 0.265, 0.255, 0.016),
    "rear_overhang":  (0.285, 0.205, 0.290, 0.305, 0.250, 0.022),
    "roof_width":     (0.760, 0.770, 0.900, 0.800, 0.720, 0.025),
    "nose_width":     (0.860, 0.860, 0.900, 0.940, 0.800, 0.035),
    "tail_width":     (0.880, 0.900, 0.970, 0.970, 0.900, 0.025),
    "roundness":      (0.012, 0.014, 0.012, 0.010, 0.014, 0.003),
}  # fmt: skip
"""Of each field of `Body`: its mean for each of BODY_TYPES, and its standard deviation."""
NEUTRAL_PAINTS = np.array(
    [[0.84, 0.84, 0.82], [0.66, 0.67, 0.69], [0.44, 0.45, 0.47], [0.26, 0.27, 0.29], [0.14, 0.14, 0.15]]
)
BRIGHT_PAINTS = np.array(
    [[0.80, 0.10, 0.11], [0.90, 0.42, 0.10], [0.90, 0.76, 0.16], [0.50, 0.74, 0.26], [0.12, 0.48, 0.28],
     [0.16, 0.62, 0.66], [0.36, 0.62, 0.88], [0.13, 0.26, 0.68], [0.50, 0.22, 0.55], [0.58, 0.38, 0.24],
     [0.86, 0.78, 0.62], [0.54, 0.08, 0.16]]
)  # fmt: skip
TRIM = np.array([0.13, 0.13, 0.14])
CHROME = np.array([0.74, 0.75, 0.77])
PATTERNS = ("plain", "roof", "lower", "stripes")
"""What the second paint covers: nothing, the roof, the flanks' lower half, two bands along the middle."""


@dataclass(frozen=True)
class Body:
    """Proportions of the body. Heights are above the ground, runs and places are along the car."""

    half_length: float
    half_width: float
    clearance: float
    """Height of the floor."""
    nose_height: float
    """Of the bonnet's front edge."""
    cowl_height: float
    """Of the bonnet's rear edge, where the windscreen begins."""
    deck_height: float
    """Of the boot lid, of the walls of a pickup's bed, or of the side windows' lower edge at the rear."""
    roof_height: float
    bonnet: float
    """From the nose to the windscreen."""
    windscreen_run: float
    """How far the windscreen leans back."""
    roof_end: float
    """From the tail to the rear edge of the roof."""
    rear_run: float
    """How far the rear window leans."""
    wheel_radius: float
    front_overhang: float
    rear_overhang: float
    """From the ends of the car to the axles."""
    roof_width: float
    nose_width: float
    tail_width: float
    """Shares of the car's width."""
    roundness: float
    """Radius of the edges."""


@dataclass(frozen=True)
class Fittings:
    """What is put on the body."""

    bumper_height: float
    """Of their middle above the floor."""
    bumper_depth: float
    """How far they stick out."""
    mirror: float
    """Radius."""
    spoiler: float
    """Height above the tail; zero: none."""
    roof_load: float
    """Height of a box on the roof; zero: none."""
    rim: float
    """Radius over that of the wheel."""
    wheel_width: float
    light_width: float
    light_height: float
    """Half sizes of the head lights."""
    tail_light_height: float
    """Half of it."""
    grille: float
    """Half the width, over that of the car."""
    pillar: float
    """Width of the posts between the windows."""
    door_post: float
    """Place of the post between the side windows, from the roof's rear (0) to the windscreen (1)."""
    panelled: bool
    """Whether the sides behind the door post are closed, as on a delivery van."""


@dataclass(frozen=True)
class Colors:
    """Albedos in [0, 1]."""

    paint: Color
    second: Color
    """The second paint."""
    pattern: str
    """One of PATTERNS."""
    bumpers: Color
    trim: Color
    """Of sills, grille and whatever is of plastic."""
    rims: Color
    glass: Color
    load: Color
    """Of the box on the roof."""


@dataclass(frozen=True)
class CarParameters:
    """Everything about one car except the light."""

    body_type: str
    """One of BODY_TYPES."""
    body: Body
    fittings: Fittings
    colors: Colors


def sample_car_parameters(random: np.random.Generator) -> CarParameters:
    """Draw one car."""
    body_type = str(random.choice(BODY_TYPES, p=BODY_TYPE_SHARES))
    body = _sample_body(random, body_type)
    return CarParameters(body_type, body, _sample_fittings(random, body_type), _sample_colors(random))


def _draw(random: np.random.Generator, mean: float, spread: float) -> float:
    """Draw from a normal distribution, within two spreads, so that no part leaves the car."""
    return mean + spread * float(np.clip(random.normal(), -2, 2))


def _sample_body(random: np.random.Generator, body_type: str) -> Body:
    place = BODY_TYPES.index(body_type)
    return Body(**{name: _draw(random, row[place], row[-1]) for name, row in MEANS_AND_SPREAD.items()})


def _sample_fittings(random: np.random.Generator, body_type: str) -> Fittings:
    sports, van = body_type == "sports", body_type == "van"
    with_spoiler = random.random() < (0.45 if sports else 0.12 if body_type in ("saloon", "hatchback") else 0)
    with_load = random.random() < 0.15 and body_type in ("saloon", "hatchback", "van")
    round_lights = random.random() < 0.3
    light_height = _draw(random, 0.032 if round_lights else 0.024, 0.004)
    return Fittings(
        bumper_height=_draw(random, 0.055, 0.01),
        bumper_depth=_draw(random, 0.016, 0.007),
        mirror=_draw(random, 0.032, 0.004),
        spoiler=_draw(random, 0.075, 0.015) if with_spoiler else 0.0,
        roof_load=_draw(random, 0.07, 0.015) if with_load else 0.0,
        rim=_draw(random, 0.66, 0.06),
        wheel_width=_draw(random, 0.092 if sports else 0.078, 0.008),
        light_width=light_height if round_lights else _draw(random, 0.06, 0.009),
        light_height=light_height,
        tail_light_height=_draw(random, 0.055 if van else 0.03, 0.008),
        grille=_draw(random, 0.42, 0.1),
        pillar=_draw(random, 0.024, 0.005),
        door_post=_draw(random, 0.5, 0.08),
        panelled=bool(van and random.random() < 0.5),
    )


def _sample_colors(random: np.random.Generator) -> Colors:
    def paint() -> Color:
        paints = NEUTRAL_PAINTS if random.random() < 0.35 else BRIGHT_PAINTS
        color = paints[random.integers(len(paints))] * (1 + random.normal(0, 0.08))
        return np.clip(color + random.normal(0, 0.02, 3), 0.04, 0.88)

    first, second = paint(), paint()
    coating = random.random()
    return Colors(
        paint=first,
        second=second,
        pattern=str(random.choice(PATTERNS, p=(0.64, 0.14, 0.12, 0.10))),
        bumpers=first if coating < 0.55 else TRIM if coating < 0.8 else CHROME,
        trim=TRIM * random.uniform(0.7, 1.6),
        rims=np.clip(CHROME * random.uniform(0.35, 1.1), 0, 0.85),
        glass=np.array([0.20, 0.26, 0.31]) * random.uniform(0.6, 1.5),
        load=paint(),
    )
