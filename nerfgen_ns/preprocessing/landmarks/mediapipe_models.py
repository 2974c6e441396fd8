"""MediaPipe's face mesh landmarks and selfie segmentation matte, by whichever interface of its works here."""

import os
from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from nerfgen_ns.preprocessing.landmarks.face_search import (
    Look,
    crop_of_detection,
    crop_of_landmarks,
    doubt,
    faces_at_once,
    look_at,
    narrowest_face,
    roll,
    same_face,
    smaller_faces,
    without_repetitions,
)
from nerfgen_ns.preprocessing.landmarks.mediapipe_backends import (
    Detection,
    bundled_face_detector,
    bundled_face_mesh,
    bundled_selfie_segmentation,
    face_detector,
    face_landmarker,
    image_segmenter,
)
from nerfgen_ns.preprocessing.photographs import RejectedError

FACE_LANDMARKER_VARIABLE = "NERFGEN_FACE_LANDMARKER_MODEL"
SELFIE_SEGMENTER_VARIABLE = "NERFGEN_SELFIE_SEGMENTER_MODEL"
MOST_FACES = 5
"""More faces than this are not counted."""
MOST_IN_VIEW = 3
"""Faces that a look at one of them gets landmarks of: the others in its crop."""
SMALLER_FACES = 4.0
"""Beside a face, others are searched for that are up to so many times narrower."""
BORDER = 0.5
TURNS = (90.0, -90.0, 180.0)
"""Degrees by which a photograph is turned where no upright face is found."""
UPRIGHT_SCORE = 0.84
"""A face of which the detector is less sure than this may be upside down: turned ones are compared."""
SURER = 0.1
"""By so much surer the detector has to be of a turned face than of an upright one."""
TURNED_SCORE = 0.75
"""A turned face of which the detector is less sure is none."""
FACE_SCORE = 0.55
"""A detection of which the detector is less sure, once it is upright, is no face."""
SIDEWAYS = 45.0
"""Degrees: heads that are turned by more than this get a note."""
CENTRAL = 0.25
"""How much being in the middle counts beside being large."""
DOUBTFUL = 8.5
"""Faces with more `doubt` than this get a note. Of 800 portraits 5 % have more; of 2,000 covered, darkened or
blurred faces whose camera was turned by more than 8°, all."""
Photograph = UInt8[np.ndarray, "height width 3"]


def model_file(given: Path | None, variable: str) -> Path | None:
    """The model file that is given, or else named by the environment `variable`; None: the bundled model."""
    return given or (Path(os.environ[variable]) if os.environ.get(variable) else None)


class LandmarkModel:
    """Face mesh landmarks of one photograph at a time.

    A detector finds the faces. The chosen one is looked at twice, in an upright crop and in a mirrored one,
    and the two answers are averaged: that takes the model's left-right bias out and a part of its noise. How
    much they differ, and how sure the detector is, tells whether they can be trusted.
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
        """Landmarks in pixels, and notes for a person to read.

        The third coordinate is the model's guess of relative depth, in pixels too, smaller being nearer.

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
        """Looks at the faces of a photograph, the largest and most central first.

        Each step takes longer than the one before and comes only where those before find nothing.

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
                # Of two detections of one place the surer one is kept, and may show no face on a closer look.
                faces = together if len(together) >= len(faces) else faces
            return faces
        raise RejectedError(
            "no face was found",
            "use one that shows the whole face, near frontal, at least a fortieth as wide as the photograph",
        )

    def _confirmed(self, photograph: Photograph, detections: list[Detection]) -> list[Look]:
        """Looks at the detections that show a face, the largest and most central first."""
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
        """The look at a detection, turned as the detector is surest that the face is upright."""
        look = look_at(self._find, photograph, crop_of_detection(detection))
        if look is not None and look.score >= UPRIGHT_SCORE:
            return look
        turned = [look_at(self._find, photograph, crop_of_detection(detection, turn)) for turn in TURNS]
        best = max((other for other in turned if other is not None), key=attrgetter("score"), default=None)
        if best is not None and best.score > max(TURNED_SCORE, look.score + SURER if look else 0.0):
            return best
        return look if look is not None and look.score >= FACE_SCORE else None

    def _looks(self, photograph: Photograph, first: Look) -> list[Look]:
        """Two looks at one face, a plain and a mirrored one.

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


class MatteModel:
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
        """Matte in [0, 1]."""
        return np.clip(self._matte(np.ascontiguousarray(photograph)), 0.0, 1.0)
