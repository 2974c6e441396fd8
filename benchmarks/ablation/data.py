"""The folders that the variants train on: the first photographs of a folder, with true or fitted cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablation.variants import CameraSource
from benchmarks.cameras import SCHEME_68, landmark_collection, mediapipe_landmarks
from nerfgen_ns.dataset_format.transforms import read_frames, transforms_path
from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.camera_fitting.fit import fit_collection
from nerfgen_ns.preprocessing.landmarks.models import FACE_MESH
from nerfgen_ns.utils.files import read_json, write_json

FILES = ("file_path", "mask_path", "depth_path", "semantic_path")


def first_photographs(data: Path, count: int, folder: Path, cameras: CameraSource = "true") -> Path:
    """A folder of the first photographs of `data`, whose files stay where they are.

    Larger numbers hold all photographs of smaller ones. Fitted cameras keep the true focal length and
    principal point; the true camera stays under `true_transform_matrix`.

    Args:
        data: a data set with true cameras and, for those from exact landmarks, `landmarks2d` in each frame.
        count: how many photographs.
        folder: where to write transforms.json, made anew each time.
        cameras: where the cameras come from.

    Raises:
        UsageError: the data has fewer photographs, or no landmarks.
    """
    transforms = read_json(transforms_path(data))
    frames = read_frames(transforms_path(data))
    if count > len(frames):
        raise UsageError(f"{data}: has {len(frames)} photographs, and {count} were asked for")
    root = transforms_path(data).parent.resolve()
    chosen = [{**transforms, **frame} for frame in frames[:count]]
    for frame in chosen:
        frame.pop("frames")
        frame |= {key: str(root / frame[key]) for key in FILES if key in frame}
        frame.setdefault("true_transform_matrix", frame["transform_matrix"])
    if cameras != "true":
        for frame, matrix in zip(chosen, _fit_cameras(data, chosen, cameras), strict=True):
            frame["transform_matrix"] = matrix.tolist()
    shared = {key: value for key, value in transforms.items() if key != "frames"}
    write_json(folder / "transforms.json", {**shared, "frames": chosen})
    return folder


def _fit_cameras(data: Path, frames: list[dict[str, Any]], source: CameraSource) -> np.ndarray:
    focal = np.array([frame["fl_x"] for frame in frames], dtype=np.float64)
    center = np.array([[frame["cx"], frame["cy"]] for frame in frames], dtype=np.float64)
    if source == "exact landmarks":
        if any("landmarks2d" not in frame for frame in frames):
            raise UsageError(f'{data}: its frames have no "landmarks2d"; leave the ablation cameras out')
        landmarks, scheme = np.array([frame["landmarks2d"] for frame in frames]), SCHEME_68
    else:
        landmarks, scheme = mediapipe_landmarks([Path(frame["file_path"]) for frame in frames]), FACE_MESH
    fit = fit_collection(landmark_collection(landmarks, focal, center), scheme)
    return fit.cameras.camera_to_world()
