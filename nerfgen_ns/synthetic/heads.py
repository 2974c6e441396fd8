"""The class of heads: one seed and one number make one head."""

from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from nerfgen_ns.synthetic.head_landmarks import place_landmarks
from nerfgen_ns.synthetic.head_outfit import Outfit
from nerfgen_ns.synthetic.head_paint import paint_clothes, paint_hair, paint_hat, paint_skin
from nerfgen_ns.synthetic.head_parameters import HeadParameters, sample_parameters
from nerfgen_ns.synthetic.head_shape import BareHead
from nerfgen_ns.synthetic.primitives import Distances, Points, join, mirrored
from nerfgen_ns.synthetic.scene import Background, Light, sample_background, sample_light

PARTS = ("skin", "hair", "brows", "beard", "clothes", "hat")
"""What a head is made of; the parts meet without blending."""
ABSENT = np.float32(10.0)
"""Distance to a part that a head does not have."""


class Head:
    """One head: a `Solid`."""

    steps = 24

    def __init__(self, parameters: HeadParameters, light: Light, background: Background) -> None:
        self.parameters, self.light, self.background = parameters, light, background
        self.bare = BareHead(parameters)
        self.outfit = Outfit(self.bare)
        self.low = np.array([-0.85, -0.98, -0.62])
        self.high = np.array([0.85, 0.8, 0.55])

    def parts(self, points: Points) -> Float[np.ndarray, "parts n"]:
        """Distance to each of PARTS."""
        folded = mirrored(points)
        head, neck, torso = self.bare.distance(points), self.bare.neck(points), self.outfit.torso(folded)
        absent = np.full(points.shape[1], ABSENT)
        hair, beard = self.outfit.hair(points, folded), self.outfit.beard(points, folded)
        return np.stack(
            [
                np.minimum(join(head, neck, 0.05), torso + np.float32(0.012)),
                absent if hair is None else hair,
                self.outfit.brows(folded),
                absent if beard is None else beard,
                self.outfit.clothes(points, torso, neck),
                self.outfit.hat(points) if self.parameters.hair.style == "hat" else absent,
            ]
        )

    def distance(self, points: Points) -> Distances:
        """Signed distance to the whole head, negative inside."""
        return self.parts(points).min(axis=0)

    def appearance(self, points: Points) -> tuple[Float[np.ndarray, "3 n"], Int[np.ndarray, "n"]]:
        """Albedo and label at points of the surface."""
        nearest = self.parts(points).argmin(axis=0)
        albedo = np.empty(points.shape)
        labels = np.empty(points.shape[1], int)
        colours = self.parameters.colours
        for part, name in enumerate(PARTS):
            here = nearest == part
            if not here.any():
                continue
            inside = points.compress(here, axis=1)
            if name == "skin":
                painted = paint_skin(self.bare, inside, self.bare.chin_level - 0.03)
            elif name == "clothes":
                painted = paint_clothes(self.bare, inside)
            elif name == "hat":
                painted = paint_hat(self.bare, inside)
            else:
                painted = paint_hair(inside, colours.hair if name == "hair" else colours.brows)
            albedo[:, here], labels[here] = painted
        return albedo, labels

    @cached_property
    def landmarks(self) -> Float[np.ndarray, "m 3"]:
        """Points on the skin, in the order of `head_landmarks.NAMES`."""
        return place_landmarks(self.bare, self.outfit.brow_points)


def make_head(seed: int, identity: int) -> Head:
    """The head of this number among all heads of this seed, the same in every folder and at every size."""
    random = np.random.default_rng([seed, identity])
    return Head(sample_parameters(random), sample_light(random), sample_background(random))
