"""Square crops aligned to the object: upright, of one scale, the center of its class frame in their middle.

A similarity of the image plane changes only a pinhole camera's focal length, principal point and roll. The
crop of a photograph is therefore an exact pinhole photograph itself.
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
"""Width that the crop shows at the depth of the class frame's origin, in units of the class frame."""
SMALL_OBJECT = 2.0
"""If a photograph is longer than this many crops, its camera is more and more assumed to face the object."""


@dataclass(frozen=True)
class Crop:
    """A similarity from photograph pixels to crop pixels: `matrix @ [u, v, 1]`, pixel centers at +0.5."""

    matrix: Float[np.ndarray, "2 3"]
    size: int

    def to_crop(self, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Convert photograph pixels to crop pixels."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def to_photograph(self, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Convert crop pixels to photograph pixels."""
        return (points - self.matrix[:, 2]) @ np.linalg.inv(self.matrix[:, :2]).T

    def then(self, other: "Crop") -> "Crop":
        """Return the crop of the photograph that equals the `other` crop of this one."""
        linear = other.matrix[:, :2] @ self.matrix[:, :2]
        return Crop(np.column_stack([linear, other.to_crop(self.matrix[:, 2])]), other.size)

    @property
    def scale(self) -> float:
        """Return the number of crop pixels for one photograph pixel."""
        return float(np.hypot(*self.matrix[:, 0]))


def crop_around(landmarks: Float[np.ndarray, "468 3"], size: int) -> Crop:
    """Return the crop that puts a face in its place in the class frame, from landmarks with relative depth.

    The axes of the head come from the landmarks in three dimensions. The crop's center is therefore the
    center of the head and not of the face, whatever the pose of the head.

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


def crop_side_guess(landmarks: Float[np.ndarray, "n m 2"], scheme: LandmarkScheme) -> Float[np.ndarray, " n"]:
    """Estimate how many pixels of each photograph `CROP_WIDTH` is, before there is any camera.

    The focal length of a photograph in its own pixels is about this times the crop's focal length, as a
    multiple of its side. The landmarks are assumed to spread equally in all three directions.
    """
    known = np.isfinite(landmarks[..., :2]).all(axis=-1, keepdims=True)
    points = np.where(known, landmarks[..., :2], 0.0)
    count = np.maximum(known.sum(axis=1), 1)
    mean = points.sum(axis=1) / count
    spread = np.where(known, (points - mean[:, None]) ** 2, 0.0).sum(axis=(1, 2)) / count[:, 0]
    return np.sqrt(1.5 * spread) / scheme.radius * CROP_WIDTH


def crop_of_landmarks(landmarks: Float[np.ndarray, "m 2"], scheme: LandmarkScheme, size: int) -> Crop:
    """Compute the crop of one photograph by itself, for landmarks with no known property but their scheme.

    The object is assumed to be seen from the front. Scale and place are roughly right, whatever the object's
    pose, and its roll stays. Cameras are fitted afterwards, in any such crop.
    """
    pixels = float(crop_side_guess(landmarks[None], scheme)[0])
    middle = np.nanmean(landmarks, axis=0) - scheme.center[:2] * [1.0, -1.0] * (pixels / CROP_WIDTH)
    return upright_crop(middle, np.array([0.0, -1.0]), size / pixels, size)


def crops_from_cameras(cameras: Cameras, size: int) -> list[Crop]:
    """Return for each photograph the crop that its camera, fitted in the photograph's pixels, requires.

    The origin of the class frame is in the crop's middle, and its y axis there points up. `CROP_WIDTH` at the
    depth of the origin fills the crop's side.

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
    """Return a crop of the whole photograph, for aligned collections: its longer side fills the crop."""
    scale = size / max(width, height)
    shift = (size - scale * np.array([width, height])) / 2
    return Crop(np.column_stack([scale * np.eye(2), shift]), size)


def principal_point(crop: Crop, width: float, height: float) -> Float[np.ndarray, "2"]:
    """Compute where the photograph's middle is in the crop, as seen with the focal length of the crop.

    The photograph's lens is assumed to be as long, for the photograph's longer side, as the crop's is for its
    own. Through the crop's shorter lens the same angle is fewer pixels, and angles determine the pose. If an
    object is small in the photograph, the camera is assumed to face it: the crop looks the same, and the
    angle of view that the guess depends on is unknown.
    """
    middle = crop.to_crop(np.array([width, height]) / 2)
    longer = max(1.0, max(width, height) * crop.scale / crop.size)
    known = min(1.0, SMALL_OBJECT / longer) ** 2
    return crop.size / 2 + (middle - crop.size / 2) * known / longer


def upright_crop(middle: Float[np.ndarray, "2"], up: Float[np.ndarray, "2"], scale: float, size: int) -> Crop:
    """Return the similarity that moves `middle` to the middle and turns `up` (pixels, v down) upwards."""
    roll = np.arctan2(up[0], -up[1])
    linear = scale * np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    return Crop(np.column_stack([linear, size / 2 - linear @ middle]), size)


def crop_photograph(
    photograph: UInt8[np.ndarray, "height width *channels"], crop: Crop
) -> UInt8[np.ndarray, "size size *channels"]:
    """Resample the crop of a photograph or matte. Outside it, the color of the nearest edge continues."""
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
