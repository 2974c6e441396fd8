"""Looks at one face: upright crops around it, plain and mirrored, and what they tell of how sure it is.

A face that is partly covered still gets landmarks, wherever the network supposes them. But the detector is
less sure of it than of a clear one, and other crops of it get other landmarks.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from nerfgen_ns.capture.crops import Crop, upright_crop
from nerfgen_ns.capture.face_mesh import CHIN, FACE_SIDES, FOREHEAD, face_width, mirror_partners
from nerfgen_ns.capture.face_search import moved, view
from nerfgen_ns.capture.mediapipe_backends import Detection, Face, FindFaces

Photograph = UInt8[np.ndarray, "height width 3"]

LOOK_PIXELS = 256
AROUND_DETECTION = 1.75
"""Side of the crop around a detection, in widths of its box."""
AROUND_FACE = 3.8
"""Side of the crop around landmarks, in root mean square distances of them from their mean."""
UNSURE = 30.0
TURNED = 0.5
"""What counts how much in `doubt`: a detector that is not sure at all, and a degree between two looks."""
KEYPOINT_PARTNERS = [1, 0, 2, 3, 5, 4]


@dataclass(frozen=True)
class Look:
    """What one look at a face found, in pixels of the photograph."""

    landmarks: Float[np.ndarray, "468 3"]
    detection: Detection
    """The detection that they start from, of the upright face."""

    @property
    def score(self) -> float:
        """How sure the detector is, in (0, 1)."""
        return self.detection.score


def crop_of_detection(detection: Detection, turned: float = 0.0) -> Crop:
    """The upright crop around a detection.

    Args:
        turned: degrees by which the crop is turned further, clockwise.
    """
    right = detection.keypoints[1] - detection.keypoints[0]
    return _crop(detection.middle, right, AROUND_DETECTION * detection.width, turned)


def crop_of_landmarks(landmarks: Float[np.ndarray, "468 3"], larger: float = 1.0) -> Crop:
    """The upright crop around the landmarks of a face.

    Args:
        larger: a factor of its side.
    """
    spread = np.sqrt(((landmarks - landmarks.mean(axis=0)) ** 2).sum(axis=1).mean())
    middle = (landmarks[:, :2].min(axis=0) + landmarks[:, :2].max(axis=0)) / 2
    return _crop(middle, _right(landmarks), larger * AROUND_FACE * float(spread))


def look_at(find: FindFaces, photograph: Photograph, crop: Crop, mirrored: bool = False) -> Look | None:
    """Landmarks of the face in the middle of a crop; None where there is none.

    Args:
        mirrored: whether the networks get the mirror image. Its landmarks are mirrored back.
    """
    image = view(photograph, crop)
    faces = find(np.ascontiguousarray(image[:, ::-1]) if mirrored else image)
    if mirrored:
        faces = [_mirrored(face, crop.size) for face in faces]
    middle = np.full(2, crop.size / 2)
    central = [face for face in faces if _off(face, middle) < 0.5]
    if not central:
        return None
    landmarks, detection = min(central, key=lambda face: _off(face, middle))
    in_photograph = np.column_stack([crop.to_photograph(landmarks[:, :2]), landmarks[:, 2] / crop.scale])
    return Look(in_photograph, moved(detection, crop))


def doubt(one: Look, other: Look) -> float:
    """How little two looks at a face can be trusted; a clear one comes to about 6."""
    unsure = (1 - one.score) + (1 - other.score)
    return UNSURE * unsure + TURNED * turn_between(one.landmarks, other.landmarks)


def roll(landmarks: Float[np.ndarray, "468 3"]) -> float:
    """Degrees by which a head is turned in the image plane, clockwise, in (−180, 180]."""
    right = _right(landmarks)
    return float(np.degrees(np.arctan2(right[1], right[0])))


def turn_between(one: Float[np.ndarray, "m 3"], other: Float[np.ndarray, "m 3"]) -> float:
    """Angle in degrees of the rotation that takes landmarks with depth nearest to others (Kabsch)."""
    first, second = one - one.mean(axis=0), other - other.mean(axis=0)
    left, _, right = np.linalg.svd(first.T @ second)
    flip = np.sign(np.linalg.det(left @ right))
    cosine = (np.trace(left @ np.diag([1.0, 1.0, flip]) @ right) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _off(face: Face, middle: Float[np.ndarray, "2"]) -> float:
    """How far a face is from the middle, in its widths."""
    landmarks = face.landmarks[:, :2]
    return float(np.linalg.norm(landmarks.mean(axis=0) - middle) / face_width(landmarks))


def _crop(
    middle: Float[np.ndarray, "2"], right: Float[np.ndarray, "2"], side: float, turned: float = 0.0
) -> Crop:
    angle = np.arctan2(right[1], right[0]) + np.radians(turned)
    return upright_crop(middle, np.array([np.sin(angle), -np.cos(angle)]), LOOK_PIXELS / side, LOOK_PIXELS)


def _right(landmarks: Float[np.ndarray, "468 3"]) -> Float[np.ndarray, "2"]:
    """The direction of the subject's left in the image, upright to the line from chin to forehead."""
    up = landmarks[FOREHEAD, :2] - landmarks[CHIN, :2]
    across = landmarks[FACE_SIDES[1], :2] - landmarks[FACE_SIDES[0], :2]
    right = np.array([-up[1], up[0]]) / np.linalg.norm(up) + across / np.linalg.norm(across)
    return right if np.linalg.norm(right) > 1e-3 else across


def _mirrored(face: Face, size: int) -> Face:
    landmarks = face.landmarks[mirror_partners()]
    landmarks[:, 0] = size - landmarks[:, 0]
    score, keypoints, middle, width = face.detection
    flip, shift = np.array([-1.0, 1.0]), np.array([float(size), 0.0])
    detection = Detection(score, keypoints[KEYPOINT_PARTNERS] * flip + shift, middle * flip + shift, width)
    return Face(landmarks, detection)
