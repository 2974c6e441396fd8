"""MediaPipe's face mesh landmarks and selfie segmentation matte, by whichever interface of its works here."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from nerfgen_ns.capture.face_mesh import face_width, mirror_partners
from nerfgen_ns.capture.mediapipe_backends import (
    bundled_face_mesh,
    bundled_selfie_segmentation,
    face_landmarker,
    image_segmenter,
)
from nerfgen_ns.capture.photographs import RejectedError

FACE_LANDMARKER_VARIABLE = "NERFGEN_FACE_LANDMARKER_MODEL"
SELFIE_SEGMENTER_VARIABLE = "NERFGEN_SELFIE_SEGMENTER_MODEL"
MOST_FACES = 5
SAME_FACE = 0.1
"""A face of the mirror image is the same one if its landmarks lie this close, in face widths."""


def model_file(given: Path | None, variable: str) -> Path | None:
    """The model file that is given, or else named by the environment `variable`; None: the bundled model."""
    return given or (Path(os.environ[variable]) if os.environ.get(variable) else None)


class LandmarkModel:
    """Face mesh landmarks of one photograph at a time.

    Each photograph is looked at twice, as it is and mirrored, and the two answers are averaged: that takes
    the model's left-right bias out and a part of its noise.
    """

    def __init__(self, model: Path | None = None) -> None:
        """Use the `face_landmarker.task` at `model`; without one, the model that MediaPipe carries.

        Raises:
            UsageError: the file cannot be used.
            NerfgenError: MediaPipe is missing, or carries no models and no file is given.
        """
        model = model_file(model, FACE_LANDMARKER_VARIABLE)
        self._faces = face_landmarker(model, MOST_FACES) if model else bundled_face_mesh(MOST_FACES)
        self._partners = mirror_partners()

    def __call__(
        self, photograph: UInt8[np.ndarray, "height width 3"]
    ) -> tuple[Float[np.ndarray, "468 3"], list[str]]:
        """Landmarks in pixels, and notes for a person to read.

        The third coordinate is the model's guess of relative depth, in pixels too, smaller being nearer.

        Raises:
            RejectedError: no face was found.
        """
        height, width = photograph.shape[:2]
        faces = self._faces(photograph)
        if not faces:
            raise RejectedError("no face was found", "use one that shows the whole face, near frontal")
        centre = np.array([width, height]) / 2
        chosen = max(
            faces,
            key=lambda face: (
                face_width(face[:, :2])
                - 0.25 * np.linalg.norm(face[:, :2].mean(0) - centre) / np.hypot(width, height) * width
            ),
        )
        notes = [f"{len(faces)} faces: the largest and most central was taken"] if len(faces) > 1 else []
        mirrored = [face[self._partners] for face in self._faces(np.ascontiguousarray(photograph[:, ::-1]))]
        for face in mirrored:
            face[:, 0] = width - face[:, 0]
        distances = [np.linalg.norm((face - chosen)[:, :2], axis=1).mean() for face in mirrored]
        if distances and min(distances) < SAME_FACE * face_width(chosen[:, :2]):
            chosen = (chosen + mirrored[int(np.argmin(distances))]) / 2
        return chosen, notes


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
