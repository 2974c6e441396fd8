"""A prepared folder as columns of numbers, read frame by frame: landmarks are never all in memory."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int

from nerfgen_ns.dataset_format.frame import check_path
from nerfgen_ns.dataset_format.transforms import read_head, stream_frames, transforms_path
from nerfgen_ns.errors import UsageError


@dataclass(frozen=True)
class Overview:
    """What is known about the n frames of a prepared folder."""

    class_name: str
    source: list[str]
    """Name of each photograph."""
    image: list[str]
    """Path of each crop in the folder."""
    matte: list[str | None]
    """Path of each matte in the folder."""
    identity: Int[np.ndarray, " n"]
    angles: Float[np.ndarray, "n 3"]
    """Yaw, pitch and roll of each camera in degrees (see `camera_angles`)."""
    focal: Float[np.ndarray, " n"]
    """Focal length as a multiple of the image's longer side."""
    error: Float[np.ndarray, " n"]
    """Root mean square reprojection error in pixels; NaN where the cameras do not come from landmarks."""
    turn: Float[np.ndarray, " n"]
    """Degrees by which each photograph was turned to make an upright crop; 0 where nothing was cropped."""

    def __len__(self) -> int:
        return len(self.source)


def read_overview(folder: Path) -> Overview:
    """Read the overview of a prepared folder.

    Raises:
        UsageError: there is no transforms.json of a prepared folder, or it names a file outside.
    """
    names: list[tuple[str, str, str | None]] = []
    numbers: list[tuple[float, ...]] = []
    matrices: list[np.ndarray] = []
    for place, frame in stream_frames(folder):
        names.append((frame.source or frame.file_path, frame.file_path, frame.mask_path))
        matrices.append(frame.transform_matrix[:3, :3])
        identity = place if frame.identity is None else frame.identity
        if not isinstance(identity, int):
            raise UsageError(
                f"{transforms_path(folder)}: frame {place}: the identity {identity!r} is no number; "
                "prepare the folder again"
            )
        error = np.nan if frame.reprojection_rmse is None else frame.reprojection_rmse
        crop = frame.photograph_to_crop
        along, across = (1.0, 0.0) if crop is None else crop[:, 0].tolist()
        numbers.append((identity, frame.fl_x / max(frame.w, frame.h), error, along, across))
    columns = np.array(numbers, dtype=np.float64).reshape(-1, 5)
    return Overview(
        class_name=read_head(folder).get("class_name", "objects"),
        source=[source for source, _, _ in names],
        image=[image for _, image, _ in names],
        matte=[matte for _, _, matte in names],
        identity=columns[:, 0].astype(int),
        angles=camera_angles(np.array(matrices).reshape(-1, 3, 3)),
        focal=columns[:, 1],
        error=columns[:, 2],
        turn=np.degrees(np.arctan2(columns[:, 4], columns[:, 3])),
    )


def camera_angles(rotation: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 3"]:
    """Compute yaw, pitch and roll in degrees of camera-to-world rotations.

    Yaw turns about y from the front (+z) toward +x, pitch then rises toward +y, and roll turns the camera
    about its own viewing direction, its right side upwards.
    """
    right, back = rotation[:, :, 0], rotation[:, :, 2]
    yaw = np.arctan2(back[:, 0], back[:, 2])
    pitch = np.arcsin(np.clip(back[:, 1], -1, 1))
    level = np.stack([np.cos(yaw), np.zeros_like(yaw), -np.sin(yaw)], axis=1)
    upright = np.cross(back, level)
    roll = np.arctan2((right * upright).sum(axis=1), (right * level).sum(axis=1))
    return np.degrees(np.stack([yaw, pitch, roll], axis=1))


def open_landmarks(folder: Path) -> Float32[np.ndarray, "n m 2"] | None:
    """Open the landmarks of all frames, in pixels of the crops, NaN where one is missing; they stay on disk.

    Return None where they are not in a file of their own: the frames have them, or there are none.

    Raises:
        UsageError: the file is missing or damaged.
    """
    name = read_head(folder).get("landmarks_path")
    if name is None:
        return None
    check_path(name, transforms_path(folder), "", "landmarks_path", allow_outside=False)
    try:
        landmarks: Float32[np.ndarray, "n m 2"] = np.load(folder / name, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / name}: cannot be read ({error}); prepare the folder again") from error
    return landmarks
