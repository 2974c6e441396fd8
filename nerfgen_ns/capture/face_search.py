"""Where the faces of a photograph are, whatever its size: a detector in windows of several sizes.

A detector shrinks what it is given to a few hundred pixels, so it misses faces that are small in it. Windows
that overlap, each level half as large as the one before, find them. The number of windows is bounded.
"""

import itertools

import numpy as np
from jaxtyping import UInt8

from nerfgen_ns.capture.crops import Crop, upright_crop
from nerfgen_ns.capture.mediapipe_backends import Detection, FaceDetector

Photograph = UInt8[np.ndarray, "height width 3"]

WINDOW_PIXELS = 256
"""Side of the picture that a detector is given."""
OVERLAP = 0.3
"""Part of a window's side that the next one shows too: no face is cut in both."""
NARROWEST = 1 / 56
"""The narrowest face that is searched for, as a part of the square root of the photograph's pixels."""
FEWEST_PIXELS = 24.0
"""Narrower faces than this have too few pixels for landmarks."""
SMALLER = 1.2
SAME_PLACE = 0.5
"""Two detections are one face where their middles are closer than this part of the larger one's width."""


def view(photograph: Photograph, crop: Crop) -> UInt8[np.ndarray, "size size 3"]:
    """The crop of a photograph for a network to look at: as `crop_photograph`, coarser and much faster."""
    import cv2

    height, width = photograph.shape[:2]
    corners = crop.to_photograph(np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * float(crop.size))
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, [width - 1, height - 1])
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, low + 1, [width, height])
    region = photograph[low[1] : high[1], low[0] : high[0]]
    shrunk = np.ones(2)
    if crop.scale < 0.5:
        size = np.maximum(1, np.round((high - low) * crop.scale * 1.5)).astype(int)
        shrunk = size / (high - low)
        region = cv2.resize(region, tuple(size.tolist()), interpolation=cv2.INTER_AREA)
    # From pixel centers at +0.5 to OpenCV's at whole numbers.
    linear = crop.matrix[:, :2] / shrunk
    shift = crop.to_crop(low.astype(float)) + linear.sum(axis=1) / 2 - 0.5
    matrix = np.column_stack([linear, shift])
    return cv2.warpAffine(region, matrix, (crop.size, crop.size), borderMode=cv2.BORDER_REPLICATE)


def narrowest_face(photograph: Photograph) -> float:
    """The width in pixels of the narrowest face that is worth a search."""
    height, width = photograph.shape[:2]
    return max(FEWEST_PIXELS, NARROWEST * float(np.sqrt(width * height)))


def faces_at_once(
    photograph: Photograph, detector: FaceDetector, border: float = 0.0, turned: float = 0.0
) -> list[Detection]:
    """The faces that one look at the whole photograph finds, the surest first.

    Args:
        border: width of a border around it, as a part of its longer side; with one, faces that fill the
            photograph are found.
        turned: degrees by which it is turned for the detector, clockwise.
    """
    height, width = photograph.shape[:2]
    side = (1 + 2 * border) * max(width, height)
    return _in_window(photograph, detector, _window(width / 2, height / 2, side, turned))


def smaller_faces(
    photograph: Photograph, detector: FaceDetector, narrowest: float, turned: float = 0.0
) -> list[Detection]:
    """The faces that windows smaller than the photograph find, the surest first.

    Args:
        narrowest: width in pixels of the narrowest face to find.
        turned: degrees by which the windows are turned for the detector, clockwise.
    """
    height, width = photograph.shape[:2]
    found: list[Detection] = []
    side = float(max(width, height))
    # A window a little smaller than the one before shows nothing new.
    while side * detector.smallest > SMALLER * narrowest:
        side = max(side / 2, narrowest / detector.smallest)
        for middle in itertools.product(_middles(width, side), _middles(height, side)):
            found += _in_window(photograph, detector, _window(*middle, side, turned))
    return without_repetitions(found)


def without_repetitions(detections: list[Detection]) -> list[Detection]:
    """Detections of different faces, the surest of each, the surest first."""
    kept: list[Detection] = []
    for one in sorted(detections, key=lambda detection: -detection.score):
        if not any(same_face(one, other) for other in kept):
            kept.append(one)
    return kept


def same_face(one: Detection, other: Detection) -> bool:
    """Whether two detections are of one face."""
    apart = float(np.linalg.norm(one.middle - other.middle))
    return apart < SAME_PLACE * max(one.width, other.width)


def moved(detection: Detection, crop: Crop) -> Detection:
    """A detection in pixels of a crop, in pixels of its photograph."""
    return Detection(
        detection.score,
        crop.to_photograph(detection.keypoints),
        crop.to_photograph(detection.middle),
        detection.width / crop.scale,
    )


def _in_window(photograph: Photograph, detector: FaceDetector, window: Crop) -> list[Detection]:
    found = detector.detect(view(photograph, window))
    return without_repetitions([moved(one, window) for one in found])


def _middles(length: int, side: float) -> list[float]:
    """Middles along an axis of windows of this side that cover it, evenly spread."""
    if side >= length:
        return [length / 2]
    count = 1 + int(np.ceil((length - side) / ((1 - OVERLAP) * side)))
    return [float(middle) for middle in np.linspace(side / 2, length - side / 2, count)]


def _window(across: float, down: float, side: float, turned: float) -> Crop:
    """The square window of this side around a pixel, turned by so many degrees clockwise."""
    angle = np.radians(turned)
    up = np.array([np.sin(angle), -np.cos(angle)])
    return upright_crop(np.array([across, down]), up, WINDOW_PIXELS / side, WINDOW_PIXELS)
