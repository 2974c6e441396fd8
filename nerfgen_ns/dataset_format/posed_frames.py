"""Frames of posed images as other projects write them: nerfstudio's form, with gaps, and Blender's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from nerfgen_ns.dataset_format.cameras_of_files import as_pose
from nerfgen_ns.dataset_format.frame import DISTORTION
from nerfgen_ns.dataset_format.transforms import TRANSFORMS
from nerfgen_ns.errors import UsageError
from nerfgen_ns.utils.files import read_json

NAMES = (TRANSFORMS, "transforms_train.json")


@dataclass(frozen=True)
class PosedFrame:
    """A frame that may leave out what can be read from its image."""

    where: str
    """The file and the frame, for messages."""
    blender: bool
    """Whether the file is in Blender's form."""
    file_path: str
    """The photograph, from the folder of the file; Blender's have no suffix."""
    mask_path: str | None
    pose: Float[np.ndarray, "4 4"]
    """OpenGL camera-to-world, in the world of the file."""
    identity: int | str | None
    distortion: dict[str, float]
    """Those of `DISTORTION` that are not 0."""
    given: dict[str, Any]
    """All that the file gives for it."""

    def intrinsics(self, width: int, height: int) -> list[float]:
        """Return fl_x, fl_y, cx, cy, width and height in pixels of the image file, which may be scaled.

        Args:
            width: of the image file.
            height: of the image file.

        Raises:
            UsageError: one is not a number, or makes no sense.
        """
        if self.blender:
            angle = self._number("camera_angle_x")
            if not 0 < angle < math.pi:
                raise UsageError(
                    f"{self.where}: camera_angle_x {angle:g} is not between 0 and π; give radians"
                )
            focal = 0.5 * width / math.tan(0.5 * angle)
            return [focal, focal, width / 2, height / 2, width, height]
        wide, high = self._number("w", width), self._number("h", height)
        fl_x = self._number("fl_x")
        fl_y = self._number("fl_y", fl_x)
        cx, cy = self._number("cx", wide / 2), self._number("cy", high / 2)
        if wide < 1 or high < 1:
            raise UsageError(f"{self.where}: w {wide:g}, h {high:g}; give the image's pixels")
        across, down = width / wide, height / high
        return [fl_x * across, fl_y * down, cx * across, cy * down, width, height]

    def _number(self, key: str, default: float | None = None) -> float:
        return _as_number(self.given.get(key, default), key, self.where)


def has_posed_frames(folder: Path) -> bool:
    """Return whether a folder has a file of posed frames."""
    return any((folder / name).is_file() for name in NAMES)


def read_posed_frames(folder: Path) -> list[PosedFrame]:
    """Read the posed frames of a folder, whatever they leave out.

    Raises:
        UsageError: the file cannot be used, or a frame lacks its image, its camera or its focal length.
    """
    path = next(folder / name for name in NAMES if (folder / name).is_file())
    head = read_json(path)
    entries = head.pop("frames", None) if isinstance(head, dict) else None
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f'{path}: holds no "frames"; write one for each photograph')
    blender = "camera_angle_x" in head and "fl_x" not in {**head, **entries[0]}
    frames = []
    for number, entry in enumerate(entries):
        given = {**head, **entry}
        where = f"{path}: frame {number} ({entry.get('file_path', 'without file_path')})"
        for key in ("file_path", "transform_matrix", "camera_angle_x" if blender else "fl_x"):
            if key not in given:
                raise UsageError(f'{where}: has no "{key}"; add it')
        frames.append(
            PosedFrame(
                where=where,
                blender=blender,
                file_path=str(given["file_path"]),
                mask_path=str(given["mask_path"]) if given.get("mask_path") else None,
                pose=as_pose(given["transform_matrix"], where),
                identity=given.get("identity"),
                distortion={key: _as_number(given[key], key, where) for key in DISTORTION if given.get(key)},
                given=given,
            )
        )
    return frames


def _as_number(value: Any, key: str, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f'{where}: "{key}" is {value!r} and no number; give pixels') from error
