"""What `nerfgen prepare` is asked for, and the plan of work that follows from it."""

import hashlib
import json
import os
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nerfgen_ns.capture.capture_pool import CaptureOne
from nerfgen_ns.capture.face_mesh import LANDMARK_COUNT
from nerfgen_ns.capture.photograph_capture import FORMAT, CapturePhotograph
from nerfgen_ns.capture.photographs import list_photographs
from nerfgen_ns.errors import UsageError
from nerfgen_ns.files import read_json

NO_PART = ("data", "output_dir", "workers", "shard")
"""Options that the result does not depend on; the photographs themselves are looked at instead of `data`."""


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


@dataclass(frozen=True)
class Plan:
    """All that is known before the work begins."""

    photographs: list[Path]
    keys: list[str]
    """For each photograph: changes with its file and with whatever else its capture depends on."""
    capture: CaptureOne
    given: dict[str, Any] | None
    """The canonical landmarks, where they are given."""
    options: dict[str, Any]
    """What the result depends on, by the option's name."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever a photograph or an option that the result depends on does."""
        return _digest([FORMAT, self.options])

    @classmethod
    def of(cls, config: PrepareConfig) -> "Plan":
        """List the photographs, and read what the options name.

        Raises:
            UsageError: an option's value makes no sense, or a file that it names cannot be used.
        """
        config.check()
        photographs = list_photographs(config.data)
        capture = CapturePhotograph(config.size)
        stamps = [f"{_stamp(path, config.data)}|{capture.stamp(path)}" for path in photographs]
        given = _read_canonical_landmarks(config.canonical_landmarks)
        options = {
            f"--{field.name.replace('_', '-')}": _content(getattr(config, field.name))
            for field in fields(config)
            if field.name not in NO_PART
        }
        options["photographs"] = f"({len(photographs)}, content {_digest(stamps)[:16]})"
        kind = _digest([FORMAT, _described(capture)])
        keys = [_digest([kind, stamp])[:24] for stamp in stamps]
        return cls(photographs, keys, capture, given, options)


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


def _stamp(path: Path, folder: Path) -> str:
    """Changes whenever the file does: its place in the folder, size and time of change."""
    status = path.stat()
    name = os.fsencode(path.relative_to(folder)).hex()
    return f"{name}|{status.st_size}|{status.st_mtime_ns}"


def _content(value: Any) -> Any:
    """An option's value; of a file or a folder, what tells whether it is the same one on another machine."""
    if not isinstance(value, Path):
        return value
    if value.is_dir():
        stamps = [_stamp(path, value) for path in sorted(value.iterdir()) if path.is_file()]
        return f"(content {_digest(stamps)[:16]})"
    return f"(content {hashlib.sha256(value.read_bytes()).hexdigest()[:16]})"


def _described(value: Any) -> Any:
    """What all captures depend on. A folder's files count one by one, each for its photograph's capture."""
    if is_dataclass(value):
        return {field.name: _described(getattr(value, field.name)) for field in fields(value)}
    return "(folder)" if isinstance(value, Path) and value.is_dir() else _content(value)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
