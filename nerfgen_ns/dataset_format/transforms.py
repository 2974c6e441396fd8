"""What a transforms.json says, checked before nerfstudio's parser reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float

from nerfgen_ns.errors import UsageError
from nerfgen_ns.utils.files import read_json

NEEDED_BY_EVERY_FRAME = ("file_path", "transform_matrix", "fl_x", "fl_y", "cx", "cy", "w", "h")
FILES = ("file_path", "mask_path")
"""What names a file of a frame."""


def transforms_path(data: Path) -> Path:
    """The transforms.json of `--data`, which names the file itself or its folder."""
    return data if data.suffix == ".json" else data / "transforms.json"


def check_inside(path: Path, frame: str, key: str, value: object) -> str:
    """A file name of a transforms.json that says where in another folder a copy goes.

    A transforms.json may come from anywhere. It may name files outside its folder to be read, as nerfstudio
    lets it, but none to be written.

    Args:
        path: the transforms.json, for messages.
        frame: which of its frames, for messages.
        key: the key of the name.
        value: the name.

    Raises:
        UsageError: it leads out of the folder.
    """
    parts = PurePosixPath(value).parts if isinstance(value, str) else ()
    if not parts or ".." in parts or parts[0].startswith("/"):
        raise UsageError(
            f'{path}: {frame}"{key}" is {value!r}, which is no path within the folder; put the file '
            "there, and let the path begin at the folder"
        )
    return str(PurePosixPath(*parts))


def read_frames(path: Path) -> list[dict[str, Any]]:
    """The frames of a transforms.json in the file's order.

    Raises:
        UsageError: it is no JSON, holds no frames, lacks something that every frame needs, or has a camera in
            it that cannot be one.
    """
    transforms = read_json(path)
    frames = transforms.get("frames") if isinstance(transforms, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise UsageError(f'{path}: holds no "frames"; prepare the folder again')
    for place, frame in enumerate(frames):
        for key in NEEDED_BY_EVERY_FRAME:
            if key not in frame and key not in transforms:
                raise UsageError(f'{path}: frame {frame.get("file_path", place)} has no "{key}"')
        for key in FILES:
            if not isinstance(frame.get(key, "."), str):
                raise UsageError(f'{path}: frame {place}: "{key}" is {frame[key]!r} and no file name')
    _check_cameras(path, transforms, frames)
    if {type(frame.get("identity", 0)) for frame in frames} not in ({int}, {str}):
        raise UsageError(f'{path}: let "identity" be a whole number in every frame, or a name in every frame')
    mattes = sum("mask_path" in frame for frame in frames)
    if mattes not in (0, len(frames)):
        raise UsageError(
            f'{path}: {mattes} of {len(frames)} frames have a "mask_path"; give one to each frame or to none'
        )
    return frames


def _check_cameras(path: Path, transforms: dict[str, Any], frames: list[dict[str, Any]]) -> None:
    def where(place: int) -> str:
        return f"{path}: frame {frames[place]['file_path']}"

    def numbers(*keys: str) -> np.ndarray:
        values = [[frame.get(key, transforms.get(key)) for key in keys] for frame in frames]
        for place, row in enumerate(values):
            for key, value in zip(keys, row, strict=True):
                if not isinstance(value, (int, float)):
                    raise UsageError(f'{where(place)}: "{key}" is {value!r} and no number')
        return np.array(values, dtype=np.float64)

    check_poses(
        [frame.get("transform_matrix", transforms.get("transform_matrix")) for frame in frames], where
    )
    check_focal_lengths(numbers("fl_x", "fl_y"), where)
    sizes, centers = numbers("w", "h"), numbers("cx", "cy")
    wrong = ~(np.isfinite(centers).all(axis=1) & np.isfinite(sizes).all(axis=1) & (sizes >= 1).all(axis=1))
    if wrong.any():
        place = int(np.argmax(wrong))
        raise UsageError(f"{where(place)}: w, h, cx, cy are {[*sizes[place], *centers[place]]}; give pixels")


def rows_of_frames(frames: list[dict[str, Any]]) -> list[int]:
    """The row of the latent table that each frame owns: the place of its identity among all of them.

    A frame without an identity is an object of its own, with its place among the frames as its number.
    """
    identities = [frame.get("identity", place) for place, frame in enumerate(frames)]
    row_of_identity = {identity: row for row, identity in enumerate(sorted(set(identities)))}
    return [row_of_identity[identity] for identity in identities]


NOT_RIGID = 5e-3
"""So far from orthonormal is no matter of digits in a file."""
SINGULAR = 1e-6


def check_poses(matrices: Sequence[Any], where: Callable[[int], str]) -> Float[np.ndarray, "n 4 4"]:
    """Camera-to-world matrices as one array, each a rotation and a translation.

    Args:
        matrices: 4 × 4 or 3 × 4 numbers each, as arrays or nested lists.
        where: names the place of a matrix, file and row or frame, for the message.

    Raises:
        UsageError: one is of another shape, not finite, singular, left-handed or not orthonormal.
    """
    poses = np.tile(np.eye(4), (len(matrices), 1, 1))
    for place, matrix in enumerate(matrices):
        try:
            values = np.asarray(matrix, dtype=np.float64)
        except (TypeError, ValueError):
            values = np.empty(0)
        if values.shape not in ((4, 4), (3, 4)):
            raise UsageError(
                f"{where(place)}: the camera-to-world matrix is not 4 × 4 numbers; write four rows of four"
            )
        poses[place, : len(values)] = values
    finite = np.isfinite(poses).all(axis=(1, 2))
    if not finite.all():
        raise UsageError(
            f"{where(int(np.argmin(finite)))}: the camera-to-world matrix is not finite; "
            "give numbers, or remove the photograph"
        )
    rotations = poses[:, :3, :3]
    determinant = np.linalg.det(rotations)
    error = np.abs(rotations.transpose(0, 2, 1) @ rotations - np.eye(3)).max(axis=(1, 2), initial=0.0)
    wrong = (error > NOT_RIGID) | (determinant < 0) | (poses[:, 3] != [0.0, 0.0, 0.0, 1.0]).any(axis=1)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise UsageError(f"{where(place)}: the camera-to-world matrix {_fault(poses[place])}")
    return poses


def _fault(pose: Float[np.ndarray, "4 4"]) -> str:
    rotation, determinant = pose[:3, :3], np.linalg.det(pose[:3, :3])
    if (pose[3] != [0.0, 0.0, 0.0, 1.0]).any():
        return f"ends in the row {pose[3].tolist()} and not in 0 0 0 1; is it transposed?"
    if abs(determinant) < SINGULAR:
        return "is singular; give a rotation and a translation"
    scale = np.cbrt(abs(determinant))
    scaled = np.abs(rotation.T @ rotation - scale**2 * np.eye(3)).max() <= NOT_RIGID * scale**2
    if determinant < 0:
        return "is left-handed (its determinant is negative): one axis is mirrored; turn its sign around"
    if scaled:
        return f"is scaled by {scale:.4g}; divide its upper left 3 × 3 by that"
    return "is no rotation: its columns are not orthonormal; give a rotation and a translation"


def check_focal_lengths(focal: Float[np.ndarray, "n 2"], where: Callable[[int], str]) -> None:
    """Make sure that focal lengths in pixels are finite and positive.

    Raises:
        UsageError: one is not.
    """
    wrong = ~(np.isfinite(focal) & (focal > 0)).all(axis=1)
    if wrong.any():
        place = int(np.argmax(wrong))
        fl_x, fl_y = focal[place]
        raise UsageError(f"{where(place)}: focal length {fl_x:g}, {fl_y:g}; give a positive number of pixels")


def row_of_identity(folder: Path) -> dict[int, int]:
    """The row of the latent table for each identity of the folder that a run was trained on."""
    frames = read_frames(transforms_path(folder))
    identities = (frame.get("identity", place) for place, frame in enumerate(frames))
    return dict(zip(identities, rows_of_frames(frames), strict=True))
