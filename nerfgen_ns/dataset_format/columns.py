"""A prepared folder as columns of numbers, read frame by frame: its landmarks are never all in memory."""

import json
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from nerfgen_ns.errors import UsageError
from nerfgen_ns.utils.files import read_json


@dataclass(frozen=True)
class Overview:
    """What is known of the n frames of a prepared folder."""

    class_name: str
    source: list[str]
    """Name of each photograph."""
    image: list[str]
    """Path of each crop in the folder."""
    matte: list[str | None]
    """Path of each matte in the folder."""
    identity: Int[np.ndarray, "n"]
    angles: Float[np.ndarray, "n 3"]
    """Yaw, pitch and roll of each camera in degrees (see `camera_angles`)."""
    focal: Float[np.ndarray, "n"]
    """Focal length as a multiple of the image's longer side."""
    error: Float[np.ndarray, "n"]
    """Root mean square reprojection error in pixels; NaN where the cameras do not come from landmarks."""
    turn: Float[np.ndarray, "n"]
    """Degrees by which each photograph was turned to make an upright crop; 0 where nothing was cropped."""

    def __len__(self) -> int:
        return len(self.source)


def read_overview(folder: Path) -> Overview:
    """Read the overview of a prepared folder.

    Raises:
        UsageError: there is no transforms.json, or not one of a prepared folder.
    """
    path = Path(folder) / "transforms.json"
    sources: list[str] = []
    images: list[str] = []
    mattes: list[str | None] = []
    numbers: list[list[float]] = []
    matrices: list[np.ndarray] = []
    try:
        for _, frame in frames_of(path):
            images.append(frame["file_path"])
            sources.append(frame.get("source") or frame["file_path"])
            mattes.append(frame.get("mask_path"))
            matrices.append(np.array(frame["transform_matrix"], dtype=np.float64)[:3, :3].reshape(3, 3))
            focal = frame["fl_x"] / max(frame["w"], frame["h"])
            error = frame.get("reprojection_rmse")
            (along, _, _), (across, _, _) = frame.get("photograph_to_crop") or np.eye(2, 3)
            turn = np.degrees(np.arctan2(across, along))
            numbers.append(
                [frame.get("identity", len(numbers)), focal, np.nan if error is None else error, turn]
            )
        columns = np.array(numbers, dtype=np.float64).reshape(-1, 4)
        angles = camera_angles(np.array(matrices).reshape(-1, 3, 3))
    except (LookupError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UsageError(
            f"{path}: frame {len(numbers)} is not one of a prepared folder ({error!r}); prepare it again"
        ) from error
    return Overview(
        class_name=_head(path).get("class_name", "objects"),
        source=sources,
        image=images,
        matte=mattes,
        identity=columns[:, 0].astype(int),
        angles=angles,
        focal=columns[:, 1],
        error=columns[:, 2],
        turn=columns[:, 3],
    )


def camera_angles(rotation: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 3"]:
    """Yaw, pitch and roll in degrees of camera-to-world rotations.

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


def frames_of(path: Path, places: Container[int] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The frames of a transforms.json in order, each with its place; with `places` those alone.

    Where they stand on a line each, as `nerfgen prepare` writes them, they are read line by line.

    Raises:
        UsageError: the file is missing, or has no frames.
    """
    if not _has_a_frame_a_line(path):
        value = read_json(path)
        if not isinstance(value, dict) or not isinstance(value.get("frames"), list):
            raise UsageError(f"{path}: has no list of frames; give a prepared folder")
        yield from ((at, frame) for at, frame in enumerate(value["frames"]) if places is None or at in places)
        return
    with path.open(encoding="utf-8") as lines:
        next(lines)
        for at, line in enumerate(lines):
            if line.startswith("]"):
                return
            if places is None or at in places:
                yield at, json.loads(line.rstrip().rstrip(","))


def open_landmarks(folder: Path) -> Float32[np.ndarray, "n m 2"] | None:
    """The landmarks of all frames, in pixels of the crops, NaN where one is missing; they stay on disk.

    None where they are not in a file of their own: the frames have them, or there are none.

    Raises:
        UsageError: the file is missing or damaged.
    """
    name = _head(folder / "transforms.json").get("landmarks_path")
    if name is None:
        return None
    try:
        landmarks: Float32[np.ndarray, "n m 2"] = np.load(folder / name, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / name}: cannot be read ({error}); prepare the folder again") from error
    return landmarks


def _has_a_frame_a_line(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as lines:
            head, frame = next(lines, ""), next(lines, "")
    except (OSError, UnicodeDecodeError):
        return False
    return head.rstrip().endswith('"frames": [') and frame.startswith('{"file_path"')


def _head(path: Path) -> dict[str, Any]:
    """What stands beside the frames."""
    if not _has_a_frame_a_line(path):
        return dict(read_json(path))
    with path.open(encoding="utf-8") as lines:
        return dict(json.loads(next(lines).rstrip() + "]}"))
