"""MediaPipe's models: where the faces of a photograph are, their landmarks, and a matte.

They use whichever of MediaPipe's interfaces works here.
"""

import itertools
import os
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from nerfgen_ns.preprocessing.crops import Crop, upright_crop
from nerfgen_ns.preprocessing.landmarks.mediapipe_backends import (
    Detection,
    Face,
    FaceDetector,
    FindFaces,
    bundled_face_detector,
    bundled_face_mesh,
    bundled_selfie_segmentation,
    face_detector,
    face_landmarker,
    image_segmenter,
)
from nerfgen_ns.preprocessing.landmarks.models import CHIN, FACE_SIDES, FOREHEAD, face_width, mirror_partners
from nerfgen_ns.preprocessing.photographs import RejectedError

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
    """Resample the crop of a photograph for a network: like `crop_photograph`, coarser and much faster."""
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
    """Return the width in pixels of the narrowest face that is worth a search."""
    height, width = photograph.shape[:2]
    return max(FEWEST_PIXELS, NARROWEST * float(np.sqrt(width * height)))


def faces_at_once(
    photograph: Photograph, detector: FaceDetector, border: float = 0.0, turned: float = 0.0
) -> list[Detection]:
    """Find faces in one look at the whole photograph; return the surest first.

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
    """Find faces in windows smaller than the photograph; return the surest first.

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
    """Keep the surest detection of each face; return the surest first."""
    kept: list[Detection] = []
    for one in sorted(detections, key=lambda detection: -detection.score):
        if not any(same_face(one, other) for other in kept):
            kept.append(one)
    return kept


def same_face(one: Detection, other: Detection) -> bool:
    """Return whether two detections are of one face."""
    apart = float(np.linalg.norm(one.middle - other.middle))
    return apart < SAME_PLACE * max(one.width, other.width)


def moved(detection: Detection, crop: Crop) -> Detection:
    """Convert a detection from pixels of a crop to pixels of its photograph."""
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
    """Return the middles along an axis of windows of this side that cover it, evenly spread."""
    if side >= length:
        return [length / 2]
    count = 1 + int(np.ceil((length - side) / ((1 - OVERLAP) * side)))
    return [float(middle) for middle in np.linspace(side / 2, length - side / 2, count)]


def _window(across: float, down: float, side: float, turned: float) -> Crop:
    """Return the square window of this side around a pixel, turned clockwise by `turned` degrees."""
    angle = np.radians(turned)
    up = np.array([np.sin(angle), -np.cos(angle)])
    return upright_crop(np.array([across, down]), up, WINDOW_PIXELS / side, WINDOW_PIXELS)


LOOK_PIXELS = 256
AROUND_DETECTION = 1.75
"""Side of the crop around a detection, in widths of its box."""
AROUND_FACE = 3.8
"""Side of the crop around landmarks, in root mean square distances of the landmarks from their mean."""
UNSURE = 30.0
TURNED = 0.5
"""Weights in `doubt`: of a detector that is not sure at all, and of a degree between two looks."""
KEYPOINT_PARTNERS = [1, 0, 2, 3, 5, 4]


@dataclass(frozen=True)
class Look:
    """What one look at a face found, in pixels of the photograph."""

    landmarks: Float[np.ndarray, "468 3"]
    detection: Detection
    """The detection that they start from, of the upright face."""

    @property
    def score(self) -> float:
        """Return how sure the detector is, in (0, 1)."""
        return self.detection.score


def crop_of_detection(detection: Detection, turned: float = 0.0) -> Crop:
    """Return the upright crop around a detection.

    Args:
        turned: degrees by which the crop is turned further, clockwise.
    """
    right = detection.keypoints[1] - detection.keypoints[0]
    return _crop(detection.middle, right, AROUND_DETECTION * detection.width, turned)


def crop_of_landmarks(landmarks: Float[np.ndarray, "468 3"], larger: float = 1.0) -> Crop:
    """Return the upright crop around the landmarks of a face.

    Args:
        larger: a factor of its side.
    """
    spread = np.sqrt(((landmarks - landmarks.mean(axis=0)) ** 2).sum(axis=1).mean())
    middle = (landmarks[:, :2].min(axis=0) + landmarks[:, :2].max(axis=0)) / 2
    return _crop(middle, _right(landmarks), larger * AROUND_FACE * float(spread))


def look_at(find: FindFaces, photograph: Photograph, crop: Crop, mirrored: bool = False) -> Look | None:
    """Find the landmarks of the face in the middle of a crop; return None if there is none.

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
    """Compute how little two looks at a face can be trusted; a clear face gives about 6."""
    unsure = (1 - one.score) + (1 - other.score)
    return UNSURE * unsure + TURNED * turn_between(one.landmarks, other.landmarks)


def roll(landmarks: Float[np.ndarray, "468 3"]) -> float:
    """Compute the degrees by which a head is turned in the image plane, clockwise, in (−180, 180]."""
    right = _right(landmarks)
    return float(np.degrees(np.arctan2(right[1], right[0])))


def turn_between(one: Float[np.ndarray, "m 3"], other: Float[np.ndarray, "m 3"]) -> float:
    """Compute the angle in degrees of the rotation that best aligns landmarks with others (Kabsch)."""
    first, second = one - one.mean(axis=0), other - other.mean(axis=0)
    left, _, right = np.linalg.svd(first.T @ second)
    flip = np.sign(np.linalg.det(left @ right))
    cosine = (np.trace(left @ np.diag([1.0, 1.0, flip]) @ right) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _off(face: Face, middle: Float[np.ndarray, "2"]) -> float:
    """Compute how far a face is from the middle, in its widths."""
    landmarks = face.landmarks[:, :2]
    return float(np.linalg.norm(landmarks.mean(axis=0) - middle) / face_width(landmarks))


def _crop(
    middle: Float[np.ndarray, "2"], right: Float[np.ndarray, "2"], side: float, turned: float = 0.0
) -> Crop:
    angle = np.arctan2(right[1], right[0]) + np.radians(turned)
    return upright_crop(middle, np.array([np.sin(angle), -np.cos(angle)]), LOOK_PIXELS / side, LOOK_PIXELS)


def _right(landmarks: Float[np.ndarray, "468 3"]) -> Float[np.ndarray, "2"]:
    """Return the image direction of the subject's left, from the face's sides, chin and forehead."""
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


FACE_LANDMARKER_VARIABLE = "NERFGEN_FACE_LANDMARKER_MODEL"
SELFIE_SEGMENTER_VARIABLE = "NERFGEN_SELFIE_SEGMENTER_MODEL"
MOST_FACES = 5
"""More faces than this are not counted."""
MOST_IN_VIEW = 3
"""How many faces in one crop get landmarks: the face looked at, and others beside it."""
SMALLER_FACES = 4.0
"""Beside a face, others are searched for that are up to this many times narrower."""
BORDER = 0.5
TURNS = (90.0, -90.0, 180.0)
"""Degrees by which a photograph is turned where no upright face is found."""
UPRIGHT_SCORE = 0.84
"""If the detector is less sure of a face than this, it may be upside down: turned ones are compared."""
SURER = 0.1
"""How much surer the detector must be of a turned face than of an upright one."""
TURNED_SCORE = 0.75
"""If the detector is less sure of a turned face than this, it is no face."""
FACE_SCORE = 0.55
"""If the detector is less sure of an upright detection than this, it is no face."""
SIDEWAYS = 45.0
"""Degrees: heads that are turned by more than this get a note."""
CENTRAL = 0.25
"""Weight of a face's distance from the middle against its size."""
DOUBTFUL = 8.5
"""Faces with more `doubt` than this get a note. 5 % of 800 portraits have more. So do all those
of 2,000 covered, darkened or blurred faces whose camera was turned by more than 8°."""


def model_file(given: Path | None, variable: str) -> Path | None:
    """Return the given model file, or else that of the environment `variable`; None: the bundled model."""
    return given or (Path(os.environ[variable]) if os.environ.get(variable) else None)


class FaceMesh:
    """Face mesh landmarks of one photograph at a time.

    A detector finds the faces. The chosen one is looked at twice, in an upright crop and in a mirrored one.
    The two answers are averaged, which removes the model's left-right bias and a part of its noise. How much
    they differ, and how sure the detector is, shows whether they can be trusted.
    """

    def __init__(self, model: Path | None = None) -> None:
        """Use the `face_landmarker.task` at `model`; without one, the model that MediaPipe carries.

        Raises:
            UsageError: the file cannot be used.
            NerfgenError: MediaPipe is missing, or carries no models and no file is given.
        """
        model = model_file(model, FACE_LANDMARKER_VARIABLE)
        self._find = face_landmarker(model, MOST_IN_VIEW) if model else bundled_face_mesh(MOST_IN_VIEW)
        self._detector = face_detector(model) if model else bundled_face_detector()

    def __call__(
        self, photograph: UInt8[np.ndarray, "height width 3"]
    ) -> tuple[Float[np.ndarray, "468 3"], list[str]]:
        """Find the landmarks, in pixels, and notes for a person to read.

        The third coordinate is the model's guess of relative depth, in pixels too; smaller is nearer.

        Raises:
            RejectedError: no face was found, or none whose landmarks can be trusted at all.
        """
        faces = self._faces(photograph)
        looks = self._looks(photograph, faces[0])
        notes = []
        if len(faces) > 1:
            count = f"{len(faces)} or more" if len(faces) == MOST_FACES else f"{len(faces)}"
            notes.append(
                f"{count} faces: the largest and most central was taken; "
                "if another one is meant, crop the photograph to it"
            )
        turned = roll(looks[0].landmarks)
        if abs(turned) > SIDEWAYS:
            notes.append(f"the head is turned by {abs(turned):.0f}° in the photograph and was set upright")
        if doubt(looks[0], looks[1]) > DOUBTFUL:
            notes.append(
                "the face is hard to see (covered, in shadow, blurred or from the side), so its camera may "
                "be off by 10°: look at its landmarks, and leave the photograph out if they miss it"
            )
        return np.mean([look.landmarks for look in looks], axis=0), notes

    def _faces(self, photograph: Photograph) -> list[Look]:
        """Return looks at the faces of a photograph, the largest and most central first.

        Each step takes longer than the one before, and runs only if those before find nothing.

        Raises:
            RejectedError: no face was found.
        """
        narrowest = narrowest_face(photograph)
        steps = [
            partial(faces_at_once, photograph, self._detector),
            partial(smaller_faces, photograph, self._detector, narrowest),
            partial(faces_at_once, photograph, self._detector, BORDER),
        ]
        for turned in TURNS:
            steps += [
                partial(faces_at_once, photograph, self._detector, turned=turned),
                partial(smaller_faces, photograph, self._detector, 2 * narrowest, turned),
            ]
        for step in steps:
            detections = step()
            faces = self._confirmed(photograph, detections)
            if not faces:
                continue
            width = max(face.detection.width for face in faces)
            others = smaller_faces(photograph, self._detector, max(narrowest, width / SMALLER_FACES))
            if others:
                together = self._confirmed(photograph, without_repetitions(detections + others))
                # Of two detections of one place the surer one is kept; a closer look at it may find no face.
                faces = together if len(together) >= len(faces) else faces
            return faces
        raise RejectedError(
            "no face was found",
            "use one that shows the whole face, near frontal, at least a fortieth as wide as the photograph",
        )

    def _confirmed(self, photograph: Photograph, detections: list[Detection]) -> list[Look]:
        """Return looks at the detections that show a face, the largest and most central first."""
        height, width = photograph.shape[:2]
        middle, diagonal = np.array([width, height]) / 2, np.hypot(width, height)

        def preference(detection: Detection) -> float:
            off = float(np.linalg.norm(detection.middle - middle) / diagonal)
            return detection.width - CENTRAL * off * width

        looks: list[Look] = []
        for detection in sorted(detections, key=preference, reverse=True):
            look = self._first_look(photograph, detection)
            if look is None or any(same_face(look.detection, other.detection) for other in looks):
                continue
            looks.append(look)
            if len(looks) == MOST_FACES:
                break
        return looks

    def _first_look(self, photograph: Photograph, detection: Detection) -> Look | None:
        """Look at a detection, in the turn in which the detector is surest that the face is upright."""
        look = look_at(self._find, photograph, crop_of_detection(detection))
        if look is not None and look.score >= UPRIGHT_SCORE:
            return look
        turned = [look_at(self._find, photograph, crop_of_detection(detection, turn)) for turn in TURNS]
        best = max((other for other in turned if other is not None), key=attrgetter("score"), default=None)
        if best is not None and best.score > max(TURNED_SCORE, look.score + SURER if look else 0.0):
            return best
        return look if look is not None and look.score >= FACE_SCORE else None

    def _looks(self, photograph: Photograph, first: Look) -> list[Look]:
        """Return two looks at one face, a plain and a mirrored one.

        Raises:
            RejectedError: only the first look shows a face.
        """
        for larger in (1.0, 1.4):
            crop = crop_of_landmarks(first.landmarks, larger)
            second = look_at(self._find, photograph, crop, mirrored=True)
            if second is not None:
                return [first, second]
        raise RejectedError(
            "no face is clear enough: it may be covered, in shadow, blurred or from the side",
            "use one that shows the whole face, near frontal",
        )


class MediaPipeMattes:
    """Soft mattes of people."""

    def __init__(self, model: Path | None = None) -> None:
        """Use the `selfie_segmenter.tflite` at `model`; without one, the model that MediaPipe carries.

        Raises:
            UsageError: the file cannot be used.
            NerfgenError: MediaPipe is missing, or carries no models and no file is given.
        """
        model = model_file(model, SELFIE_SEGMENTER_VARIABLE)
        self._matte = image_segmenter(model) if model else bundled_selfie_segmentation()

    def __call__(self, photograph: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width"]:
        """Compute the matte in [0, 1]."""
        return np.clip(self._matte(np.ascontiguousarray(photograph)), 0.0, 1.0)
