"""The bare head: its signed distance, with every feature placed relative to the others."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from nerfgen_ns.synthetic.head_parameters import HeadParameters
from nerfgen_ns.synthetic.primitives import (
    Distances,
    Points,
    capsule,
    carve,
    ellipsoid,
    join,
    mirrored,
    sphere,
)
from nerfgen_ns.synthetic.render import trace

EYE_LEVEL = 0.02
"""Height of the pupils, the same for every head: the frame hangs on it."""


def front(
    distance: Callable[[Points], Distances], x: Float[np.ndarray, "n"], y: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n"]:
    """z of the surface met at (x, y) when coming from the front."""
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
        self.skull_centre = (0.0, 0.13, -0.05)
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
        """Skull, face, jaw, cheeks and chin, without the features."""
        skull, folded = self.parameters.skull, mirrored(points)
        length = skull.face_length
        head = ellipsoid(points, self.skull_centre, self.skull_radii)
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
        """The head without the neck."""
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
        """`head` with brow ridge, eyes, nose and lips."""
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
        ear_centre = (self.ear_side + features.ear_flare, -0.01, -0.05)
        ear = ellipsoid(folded, ear_centre, (0.022, 0.078 * features.ear_size, 0.05 * features.ear_size))
        return carve(ear, sphere(folded, (ear_centre[0] + 0.035, 0.0, -0.02), 0.035), 0.02)

    def neck(self, points: Points) -> Distances:
        """The neck alone."""
        radius = self.parameters.body.neck
        return capsule(points, (0, -0.15, -0.08), (0, -0.7, -0.1), radius, radius * 1.08)
