"""Square crops aligned to the object: upright, of one scale, the center of its class frame in their middle.

A similarity of the image plane changes a pinhole camera's focal length, principal point and roll and nothing
else, so the crop of a photograph is an exact pinhole photograph itself.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from nerfgen_ns.cameras.projection import Cameras, project
from nerfgen_ns.preprocessing.landmarks.models import (
    CHIN,
    FACE_SIDES,
    FOREHEAD,
    LANDMARK_CENTER,
    LANDMARK_RADIUS,
    LandmarkScheme,
)

CROP_WIDTH = 1.286
"""What the crop shows at the depth of the class frame's origin, in units of the class frame."""
SMALL_OBJECT = 2.0
"""From a photograph that is so many crops long on, its camera is more and more taken to face the object."""


@dataclass(frozen=True)
class Crop:
    """A similarity from photograph pixels to crop pixels: `matrix @ [u, v, 1]`, pixel centers at +0.5."""

    matrix: Float[np.ndarray, "2 3"]
    size: int

    def to_crop(self, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Photograph pixels to crop pixels."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def to_photograph(self, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Crop pixels to photograph pixels."""
        return (points - self.matrix[:, 2]) @ np.linalg.inv(self.matrix[:, :2]).T

    def then(self, other: "Crop") -> "Crop":
        """The crop of the photograph that equals the `other` crop of this one."""
        linear = other.matrix[:, :2] @ self.matrix[:, :2]
        return Crop(np.column_stack([linear, other.to_crop(self.matrix[:, 2])]), other.size)

    @property
    def scale(self) -> float:
        """Crop pixels for one photograph pixel."""
        return float(np.hypot(*self.matrix[:, 0]))


def crop_around(landmarks: Float[np.ndarray, "468 3"], size: int) -> Crop:
    """The crop that puts a face into its class frame's place, from its landmarks with relative depth.

    The axes of the head are read from the landmarks in three dimensions, so that the crop's center is the
    center of the head and not of the face, however the head is turned.

    Args:
        landmarks: pixels of the photograph and relative depth, see `LandmarkModel`.
        size: pixels on a side of the crop.
    """
    center = landmarks.mean(axis=0)
    radius = np.sqrt(((landmarks - center) ** 2).sum(axis=1).mean())
    # The class frame's x is the subject's left: to the right in the image of someone who looks at the camera.
    right = landmarks[FACE_SIDES[1]] - landmarks[FACE_SIDES[0]]
    right /= np.linalg.norm(right)
    up = landmarks[FOREHEAD] - landmarks[CHIN]
    up = up - right * (up @ right)
    up /= np.linalg.norm(up)
    axes = np.stack([right, up, np.cross(right, up)])
    middle = center - (LANDMARK_CENTER / LANDMARK_RADIUS * radius) @ axes
    return upright_crop(middle[:2], up[:2], size / (radius / LANDMARK_RADIUS * CROP_WIDTH), size)


def crop_side_guess(landmarks: Float[np.ndarray, "n m 2"], scheme: LandmarkScheme) -> Float[np.ndarray, "n"]:
    """About how many pixels of each photograph `CROP_WIDTH` is, before there is any camera.

    The focal length of a photograph in its own pixels is about the crop's focal length, as a multiple of its
    side, times this. The landmarks are taken to be spread alike in all three directions.
    """
    known = np.isfinite(landmarks[..., :2]).all(axis=-1, keepdims=True)
    points = np.where(known, landmarks[..., :2], 0.0)
    count = np.maximum(known.sum(axis=1), 1)
    mean = points.sum(axis=1) / count
    spread = np.where(known, (points - mean[:, None]) ** 2, 0.0).sum(axis=(1, 2)) / count[:, 0]
    return np.sqrt(1.5 * spread) / scheme.radius * CROP_WIDTH


def crop_of_landmarks(landmarks: Float[np.ndarray, "m 2"], scheme: LandmarkScheme, size: int) -> Crop:
    """The crop of one photograph by itself, for landmarks of which nothing but the scheme is known.

    Taken as seen from the front: its scale and place are roughly right, whatever the object's pose, and its
    roll stays. Cameras are fitted afterwards, for which any similarity does.
    """
    pixels = float(crop_side_guess(landmarks[None], scheme)[0])
    middle = np.nanmean(landmarks, axis=0) - scheme.center[:2] * [1.0, -1.0] * (pixels / CROP_WIDTH)
    return upright_crop(middle, np.array([0.0, -1.0]), size / pixels, size)


def crops_from_cameras(cameras: Cameras, size: int) -> list[Crop]:
    """For each photograph the crop that its camera, fitted in the photograph's pixels, calls for.

    The origin of the class frame comes to lie in the crop's middle, its y axis there points up, and
    `CROP_WIDTH` at the depth of the origin fills the crop's side.

    Args:
        size: pixels on a side of the crops.
    """
    step = 1e-4
    middle, above = project(cameras, np.array([[0.0, 0.0, 0.0], [0.0, step, 0.0]])).transpose(1, 0, 2)
    up = (above - middle) / step
    scales = size / (CROP_WIDTH * cameras.focal / -cameras.translation[:, 2])
    return [
        upright_crop(center, direction, float(scale), size)
        for center, direction, scale in zip(middle, up, scales, strict=True)
    ]


def square_crop(width: int, height: int, size: int) -> Crop:
    """The whole photograph, for collections that are aligned already: its longer side fills the crop."""
    scale = size / max(width, height)
    shift = (size - scale * np.array([width, height])) / 2
    return Crop(np.column_stack([scale * np.eye(2), shift]), size)


def principal_point(crop: Crop, width: float, height: float) -> Float[np.ndarray, "2"]:
    """Where the photograph's middle lies in the crop, as seen with the focal length of the crop.

    The photograph's lens is taken to be as long, for the photograph's longer side, as the crop's is for its
    own: through the crop's shorter one, the same angle is fewer pixels, and angles make the pose. For an
    object that is small in the photograph, the camera is the one turned to it: the crop looks the same, and
    nobody knows the angle of view that the guess depends on.
    """
    middle = crop.to_crop(np.array([width, height]) / 2)
    longer = max(1.0, max(width, height) * crop.scale / crop.size)
    known = min(1.0, SMALL_OBJECT / longer) ** 2
    return crop.size / 2 + (middle - crop.size / 2) * known / longer


def upright_crop(middle: Float[np.ndarray, "2"], up: Float[np.ndarray, "2"], scale: float, size: int) -> Crop:
    """The similarity that brings `middle` to the middle and turns `up` (in pixels, v downwards) upwards."""
    roll = np.arctan2(up[0], -up[1])
    linear = scale * np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    return Crop(np.column_stack([linear, size / 2 - linear @ middle]), size)


def crop_photograph(
    photograph: UInt8[np.ndarray, "height width *channels"], crop: Crop
) -> UInt8[np.ndarray, "size size *channels"]:
    """Resample the crop of a photograph or matte. Outside it the color of its nearest edge goes on."""
    height, width = photograph.shape[:2]
    corners = crop.to_photograph(np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * float(crop.size))
    low = np.floor(corners.min(axis=0)).astype(int) - 2
    high = np.ceil(corners.max(axis=0)).astype(int) + 2
    if (low >= 0).all() and (high <= [width, height]).all():
        region = Image.fromarray(photograph[low[1] : high[1], low[0] : high[0]])
    else:
        columns = np.clip(np.arange(low[0], high[0]), 0, width - 1)
        rows = np.clip(np.arange(low[1], high[1]), 0, height - 1)
        region = Image.fromarray(photograph[np.ix_(rows, columns)])
    # Shrink by whole pixels first: the transform below looks at 4×4 pixels, whatever the scale.
    factor = max(1, int(1 / crop.scale))
    region = region.reduce(factor) if factor > 1 else region
    inverse = np.linalg.inv(crop.matrix[:, :2])
    offset = -inverse @ crop.matrix[:, 2] - low
    coefficients = np.column_stack([inverse, offset]) / factor
    image = region.transform(
        (crop.size, crop.size),
        Image.Transform.AFFINE,
        tuple(coefficients.ravel()),
        resample=Image.Resampling.BICUBIC,
    )
    return np.asarray(image)
