"""MediaPipe's bundled models: face mesh landmarks and the selfie segmentation matte.

Nothing here imports MediaPipe before a model is made. Its libraries write to the process's standard error
from C++; that is closed to them while they work, and problems arrive as exceptions.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from nerfgen_ns.capture.face_mesh import LANDMARK_COUNT, face_width, mirror_partners
from nerfgen_ns.capture.photographs import RejectedError
from nerfgen_ns.errors import NerfgenError

MOST_FACES = 5
SAME_FACE = 0.1
"""A face of the mirror image is the same one if its landmarks lie this close, in face widths."""


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what C++ libraries write to file descriptor 2 to nowhere."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def _solutions() -> Any:
    try:
        with quiet_stderr():
            import mediapipe

            return mediapipe.solutions
    except (ImportError, AttributeError) as error:
        raise NerfgenError(
            "mediapipe: this installation has no face mesh and selfie segmentation models in it; "
            "install them with: pip install 'mediapipe>=0.10.9,<0.10.30'"
        ) from error


class LandmarkModel:
    """Face mesh landmarks of one photograph at a time.

    Each photograph is looked at twice, as it is and mirrored, and the two answers are averaged: that takes
    the model's left-right bias out and a part of its noise.
    """

    def __init__(self) -> None:
        face_mesh = _solutions().face_mesh
        with quiet_stderr():
            self._mesh = face_mesh.FaceMesh(
                static_image_mode=True, max_num_faces=MOST_FACES, refine_landmarks=True
            )
            # The graph starts with its first image, and says so.
            self._mesh.process(np.zeros((64, 64, 3), np.uint8))
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

    def _faces(self, photograph: UInt8[np.ndarray, "height width 3"]) -> list[Float[np.ndarray, "468 3"]]:
        height, width = photograph.shape[:2]
        with quiet_stderr():
            found = self._mesh.process(photograph).multi_face_landmarks or []
        return [
            np.array([(point.x, point.y, point.z) for point in face.landmark[:LANDMARK_COUNT]])
            * [width, height, width]
            for face in found
        ]


class MatteModel:
    """Soft mattes of people."""

    def __init__(self) -> None:
        selfie_segmentation = _solutions().selfie_segmentation
        with quiet_stderr():
            self._segmentation = selfie_segmentation.SelfieSegmentation(model_selection=0)
            self._segmentation.process(np.zeros((64, 64, 3), np.uint8))

    def __call__(self, photograph: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width"]:
        """Matte in [0, 1]."""
        with quiet_stderr():
            matte = self._segmentation.process(np.ascontiguousarray(photograph)).segmentation_mask
        return np.clip(np.asarray(matte), 0.0, 1.0)
