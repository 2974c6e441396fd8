"""The folders that the variants train on: the first photographs of a folder, with true or fitted cameras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.ablation.variants import CameraSource
from benchmarks.cameras import SCHEME_68, landmark_collection, mediapipe_landmarks
from nerfgen_ns.datamanagers.data_record import CANONICAL_LANDMARKS
from nerfgen_ns.dataset_format.frame import Frame
from nerfgen_ns.dataset_format.transforms import read_transforms, write_transforms
from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.camera_fitting.fit import CollectionFit, fit_collection
from nerfgen_ns.preprocessing.landmarks.models import FACE_MESH
from nerfgen_ns.utils.files import write_json


def first_photographs(data: Path, count: int, folder: Path, cameras: CameraSource = "true") -> Path:
    """Write a folder of the first photographs of `data`, whose files stay where they are.

    Larger numbers hold all photographs of smaller ones. Fitted cameras keep the true focal length and
    principal point; the true camera stays under `true_transform_matrix`. The canonical landmarks of the fit
    and each photograph's coefficients are written too.

    Args:
        data: a data set with true cameras and, for those from exact landmarks, `landmarks2d` in each frame.
        count: how many photographs.
        folder: where to write transforms.json, which is made again each time.
        cameras: where the cameras come from.

    Raises:
        UsageError: the data has fewer photographs, or no landmarks.
    """
    known = read_transforms(data, allow_outside=True)
    if count > len(known.frames):
        raise UsageError(f"{data}: has {len(known.frames)} photographs, and {count} were asked for")
    chosen = [
        replace(frame.with_files_of(known.path.parent), true_transform_matrix=frame.true_camera)
        for frame in known.frames[:count]
    ]
    if cameras != "true":
        fit = _fit_cameras(data, chosen, cameras)
        fitted = zip(chosen, fit.cameras.camera_to_world(), fit.coefficients, strict=True)
        chosen = [
            replace(frame, transform_matrix=matrix, coefficients=coefficients)
            for frame, matrix, coefficients in fitted
        ]
        write_json(folder / CANONICAL_LANDMARKS, fit.model.as_dict())
    write_transforms(folder, chosen, known.head)
    return folder


def _fit_cameras(data: Path, frames: list[Frame], source: CameraSource) -> CollectionFit:
    focal = np.array([frame.fl_x for frame in frames])
    center = np.array([[frame.cx, frame.cy] for frame in frames])
    if source == "exact landmarks":
        if any(frame.landmarks2d is None for frame in frames):
            raise UsageError(f'{data}: its frames have no "landmarks2d"; leave the ablation cameras out')
        landmarks, scheme = np.array([frame.landmarks2d for frame in frames]), SCHEME_68
    else:
        landmarks, scheme = mediapipe_landmarks([Path(frame.file_path) for frame in frames]), FACE_MESH
    return fit_collection(landmark_collection(landmarks, focal, center), scheme)
