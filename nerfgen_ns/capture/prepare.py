"""`nerfgen prepare`: a folder of photographs becomes a prepared folder of crops, mattes and cameras."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nerfgen_ns.capture.camera_fitting import fit_cameras
from nerfgen_ns.capture.cameras import Cameras, first_guess, project
from nerfgen_ns.capture.canonical_landmarks import estimate_canonical_landmarks
from nerfgen_ns.capture.capture_pool import capture_all
from nerfgen_ns.capture.face_mesh import (
    LANDMARK_CENTRE,
    LANDMARK_COUNT,
    LANDMARK_RADIUS,
    face_width,
    mirror_partners,
)
from nerfgen_ns.capture.photograph_capture import FORMAT, CaptureFiles
from nerfgen_ns.capture.photographs import list_photographs
from nerfgen_ns.capture.prepared_folder import Frame, PreparedFolder, PrepareReport, Rejection
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.files import read_json

FEWEST_PHOTOGRAPHS = 3
WORST_ERROR = 0.08
"""Photographs with a larger reprojection error than this part of the face width are rejected."""


@dataclass
class PrepareConfig:
    """Landmarks, mattes, cameras and crops of a folder of photographs."""

    data: Path
    """Folder of photographs, one object each. Nothing is written into it."""
    output_dir: Path
    """Prepared folder to make. What an interrupted run has done there is taken up again."""
    size: int = 256
    """Side of the square crops in pixels."""
    focal: float = 2.1
    """Focal length as a multiple of the crop's side, which photographs do not tell: 2.1 suits portraits, 1.5
    close snapshots, 3 and more a telephoto lens. The head's distance follows: 1.3 units times as many."""
    canonical_landmarks: Path | None = None
    """`canonical_landmarks.json` of another prepared folder: cameras are then fitted into its class frame, at
    its focal length, and nothing about the class is estimated. One photograph is enough."""
    class_name: str = "faces"
    """Name of the class, noted in the prepared folder."""
    workers: int | None = None
    """Worker processes, of one thread each; by default one for each processor. With 1 there are none."""

    def check(self) -> None:
        """Raise a UsageError for values that make no sense together."""
        if self.size < 32 or self.size > 4096:
            raise UsageError(f"--size {self.size}: take from 32 to 4096 pixels")
        if not 0.2 <= self.focal <= 100:
            raise UsageError(f"--focal {self.focal}: take from 0.2 to 100 crop sides; 2.1 suits portraits")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers {self.workers}: take at least 1")
        data, output = Path(self.data).resolve(), Path(self.output_dir).resolve()
        if data == output or data in output.parents or output in data.parents:
            raise UsageError(
                f"{self.output_dir}: overlaps with the photographs in {self.data}; choose one beside them"
            )


def prepare(config: PrepareConfig) -> PrepareReport:
    """Prepare a folder of photographs, or report on it where it has been prepared with the same options.

    Raises:
        UsageError: the call cannot be right: no photographs, an output folder that belongs to something else.
        NerfgenError: too few photographs were accepted, or the output cannot be written.
    """
    config.check()
    photographs = list_photographs(config.data)
    given = _read_canonical_landmarks(config.canonical_landmarks)
    folder = PreparedFolder(Path(config.output_dir))
    fingerprint = _fingerprint(config, photographs)
    finished = folder.finished_report(fingerprint)
    if finished is not None:
        return finished
    with folder.locked():
        files = [CaptureFiles.of(path, config.size, folder.captures) for path in photographs]
        records = capture_all(photographs, config.size, files, config.workers)
        rejected = [
            Rejection(path.name, record["reason"], record["mend"])
            for path, record in zip(photographs, records, strict=True)
            if "reason" in record
        ]
        found = [index for index, record in enumerate(records) if "reason" not in record]
        _check_enough(len(found), config, rejected)
        cameras, points, landmarks = _fit([records[index] for index in found], config, given)
        errors = np.sqrt(((project(cameras, points) - landmarks) ** 2).sum(axis=2).mean(axis=1))
        widths = face_width(landmarks)
        matrices = cameras.camera_to_world()
        frames = []
        for place, index in enumerate(found):
            path, record = photographs[index], records[index]
            if errors[place] > WORST_ERROR * widths[place]:
                rejected.append(
                    Rejection(
                        path.name,
                        "no camera explains where its landmarks lie",
                        "use a photograph in which the face is whole and not in profile",
                    )
                )
                continue
            frames.append(
                Frame(
                    source=path.name,
                    files=files[index],
                    camera_to_world=matrices[place],
                    focal=float(cameras.focal[place]),
                    centre=cameras.centre[place],
                    landmarks=landmarks[place],
                    reprojection_rmse=float(errors[place]),
                    face_width=float(widths[place]),
                    photograph_to_crop=record["photograph_to_crop"],
                    notes=record["notes"],
                )
            )
        _check_enough(len(frames), config, rejected)
        canonical = {
            "class_name": config.class_name,
            "focal": cameras.focal[0] / config.size,
            "landmarks": points.round(6).tolist(),
            "mirror_partners": mirror_partners().tolist(),
        }
        return folder.write(config.class_name, config.size, frames, rejected, canonical, fingerprint)


def _fit(
    records: list[dict[str, Any]], config: PrepareConfig, given: dict[str, Any] | None
) -> tuple[Cameras, np.ndarray, np.ndarray]:
    """Cameras, canonical landmarks (m × 3) and landmarks (n × m × 2) of the captured photographs."""
    landmarks = np.array([record["landmarks"] for record in records])
    centre = np.array([record["principal_point"] for record in records])
    focal = np.full(len(records), (given["focal"] if given else config.focal) * config.size)
    if given:
        points = np.array(given["landmarks"], dtype=np.float64)
    else:
        points = estimate_canonical_landmarks(
            landmarks, focal, centre, mirror_partners(), LANDMARK_CENTRE, LANDMARK_RADIUS
        )
    cameras = fit_cameras(landmarks, points, first_guess(landmarks, points, focal, centre))
    return cameras, points, landmarks[..., :2]


def _check_enough(accepted: int, config: PrepareConfig, rejected: list[Rejection]) -> None:
    fewest = 1 if config.canonical_landmarks else FEWEST_PHOTOGRAPHS
    if accepted >= fewest:
        return
    why = f"; {rejected[0].source}: {rejected[0].reason}; {rejected[0].mend}" if rejected else ""
    if accepted == 0:
        raise NerfgenError(f"{config.data}: none of its {len(rejected)} photographs can be used{why}")
    raise NerfgenError(
        f"{config.data}: only {accepted} of its photographs can be used and a class needs at least {fewest}: "
        f"add more{why}"
    )


def _read_canonical_landmarks(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    value = read_json(path)
    try:
        points = np.array(value["landmarks"], dtype=np.float64)
        valid = (
            points.shape == (LANDMARK_COUNT, 3) and np.isfinite(points).all() and 0.2 <= value["focal"] <= 100
        )
    except (KeyError, TypeError, ValueError):
        valid = False
    if not valid:
        raise UsageError(
            f"{path}: not canonical landmarks of faces; give canonical_landmarks.json of a prepared folder"
        )
    return dict(value)


def _fingerprint(config: PrepareConfig, photographs: list[Path]) -> str:
    """Changes whenever a photograph or an option that the result depends on does."""
    given = config.canonical_landmarks
    parts: list[Any] = [FORMAT, config.size, config.focal, config.class_name]
    parts.append(None if given is None else Path(given).read_text(encoding="utf-8"))
    for path in photographs:
        status = path.stat()
        parts.append([os.fsencode(path.name).hex(), status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
