"""What is done to one photograph by itself: landmarks, crop and matte, kept on disk to resume from."""

import hashlib
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from nerfgen_ns.capture.crops import Crop, crop_around, crop_photograph
from nerfgen_ns.capture.mediapipe_models import LandmarkModel, MatteModel
from nerfgen_ns.capture.photographs import RejectedError, read_photograph
from nerfgen_ns.files import replace_file, write_text

FORMAT = 1
"""To be raised when captures or prepared folders made before must not be used any more."""
NOTED_OUTSIDE = 0.3
NOTED_SCALE = 4.0

_models: tuple[LandmarkModel, MatteModel] | None = None


@dataclass(frozen=True)
class CaptureFiles:
    """Where the capture of one photograph is kept. The record is written last: without it nothing counts."""

    image: Path
    matte: Path
    record: Path

    @classmethod
    def of(cls, photograph: Path, size: int, folder: Path) -> "CaptureFiles":
        """Files named after the photograph's name, size and time of change, and the crop's size."""
        status = photograph.stat()
        identity = f"{photograph.name}|{status.st_size}|{status.st_mtime_ns}|{size}|{FORMAT}"
        key = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:24]
        return cls(folder / f"{key}-image.png", folder / f"{key}-matte.png", folder / f"{key}.json")


def start_worker() -> None:
    """Set up a worker process: interruptions are its parent's business, the chatter of C++ nobody's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def capture_photograph(photograph: Path, size: int, files: CaptureFiles) -> dict[str, Any]:
    """Make the capture of a photograph, or read it where it exists.

    Returns:
        Either `reason` and `mend` of a rejected photograph, or `landmarks` (468 × 3, pixels of the crop and
        relative depth), `principal_point` (pixels of the crop), `photograph_to_crop` (2 × 3) and `notes`.

    Raises:
        NerfgenError: the capture cannot be written, or MediaPipe's models are missing.
    """
    if files.record.exists():
        record: dict[str, Any] = json.loads(files.record.read_text(encoding="utf-8"))
        return record
    global _models
    if _models is None:
        _models = LandmarkModel(), MatteModel()
    try:
        record = _capture(photograph, size, files, *_models)
    except RejectedError as rejected:
        record = {"reason": rejected.reason, "mend": rejected.mend}
    write_text(files.record, json.dumps(record))
    return record


def _capture(
    path: Path, size: int, files: CaptureFiles, landmark_model: LandmarkModel, matte_model: MatteModel
) -> dict[str, Any]:
    photograph = read_photograph(path)
    landmarks, notes = landmark_model(photograph)
    crop = crop_around(landmarks, size)
    image = crop_photograph(photograph, crop)
    # The matte is taken of the padded crop: where the image goes on beyond the edge, so does its matte.
    matte = np.round(matte_model(image) * 255).astype(np.uint8)
    for array, target in ((image, files.image), (matte, files.matte)):
        with replace_file(target) as temporary:
            Image.fromarray(array).save(temporary, compress_level=1)
    height, width = photograph.shape[:2]
    outside = _part_outside(crop, width, height)
    if outside > NOTED_OUTSIDE:
        notes.append(f"{outside:.0%} of the crop lies outside the photograph and is filled from its edge")
    if crop.scale > NOTED_SCALE:
        notes.append(f"the face is small: enlarged {crop.scale:.1f} times")
    in_crop = np.column_stack([crop.to_crop(landmarks[:, :2]), landmarks[:, 2] * crop.scale])
    return {
        "landmarks": in_crop.round(3).tolist(),
        "principal_point": _principal_point(crop, width, height).round(4).tolist(),
        "photograph_to_crop": crop.matrix.round(9).tolist(),
        "notes": notes,
    }


def _principal_point(crop: Crop, width: int, height: int) -> Float[np.ndarray, "2"]:
    """Where the photograph's middle lies in the crop, as seen with the focal length of the crop.

    The photograph's lens is taken to be as long, for the photograph's longer side, as the crop's is for its
    own: through the crop's shorter one, the same angle is fewer pixels, and angles make the pose.
    """
    middle = crop.to_crop(np.array([width, height]) / 2)
    longer = max(1.0, max(width, height) * crop.scale / crop.size)
    return crop.size / 2 + (middle - crop.size / 2) / longer


def _part_outside(crop: Crop, width: int, height: int) -> float:
    ticks = (np.arange(16) + 0.5) / 16 * crop.size
    points = crop.to_photograph(np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2))
    return float(((points < 0) | (points > [width, height])).any(axis=1).mean())
