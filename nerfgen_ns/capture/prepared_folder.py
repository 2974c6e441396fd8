"""The prepared folder on disk: what is in it, and how it comes to be there whole or not at all."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from nerfgen_ns.capture.photograph_capture import CaptureFiles
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.files import write_json, write_text

CONTENTS = ("images", "mattes", "canonical_landmarks.json", "transforms.json", "report.json")
"""What is moved into place, in this order: the report, which the folder is known by, comes last."""
WORK = ".prepare"


@dataclass(frozen=True)
class Rejection:
    """A photograph that was not used."""

    source: str
    """Name of the file."""
    reason: str
    """Why it was not used."""
    mend: str
    """What to do about it."""


@dataclass
class PrepareReport:
    """What came of the photographs; `report.json` holds the same."""

    path: Path
    """The report file."""
    accepted: int
    """Number of frames."""
    rejected: list[Rejection]
    """The photographs that were not used."""
    median_error: float
    """Median over the photographs of the root mean square reprojection error, in face widths."""
    notes: dict[str, list[str]] = field(default_factory=dict)
    """Remarks on photographs that were used, by file name."""


@dataclass(frozen=True)
class Frame:
    """One accepted photograph."""

    source: str
    files: CaptureFiles
    camera_to_world: Float[np.ndarray, "4 4"]
    focal: float
    centre: Float[np.ndarray, "2"]
    landmarks: Float[np.ndarray, "m 2"]
    reprojection_rmse: float
    face_width: float
    photograph_to_crop: list[list[float]]
    notes: list[str]

    def entry(self, identity: int, size: int) -> dict[str, Any]:
        """The frame in `transforms.json`."""
        return {
            "file_path": f"images/{identity:04d}.png",
            "mask_path": f"mattes/{identity:04d}.png",
            "transform_matrix": self.camera_to_world.round(9).tolist(),
            "fl_x": self.focal,
            "fl_y": self.focal,
            "cx": float(self.centre[0]),
            "cy": float(self.centre[1]),
            "w": size,
            "h": size,
            "identity": identity,
            "source": _printable(self.source),
            "reprojection_rmse": round(self.reprojection_rmse, 4),
            "photograph_to_crop": self.photograph_to_crop,
            "landmarks": self.landmarks.round(2).tolist(),
        }


class PreparedFolder:
    """A prepared folder, its captures of work not yet finished, and its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.captures = path / WORK / "captures"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from preparing the same folder.

        Raises:
            UsageError: the folder holds something that is not ours.
            NerfgenError: another process is at work in it, or it cannot be written to.
        """
        if self.path.is_dir() and not (self.path / WORK).exists():
            strange = [name for name in CONTENTS if (self.path / name).exists()]
            if strange and not (self.path / "report.json").exists():
                raise UsageError(
                    f"{self.path}: has {strange[0]} in it that `nerfgen prepare` did not make; "
                    "choose another --output-dir"
                )
        try:
            self.captures.mkdir(parents=True, exist_ok=True)
            with (self.path / WORK / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield
        except BlockingIOError as error:
            raise NerfgenError(
                f"{self.path}: another process is preparing it; wait for it or choose another --output-dir"
            ) from error
        except OSError as error:
            raise NerfgenError(
                f"{self.path}: cannot be written ({error.strerror or error}); "
                "choose another --output-dir or free some space"
            ) from error

    def finished_report(self, fingerprint: str) -> PrepareReport | None:
        """The report of a finished run with this fingerprint, if that is what the folder holds."""
        path = self.path / "report.json"
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value["fingerprint"] != fingerprint or not all(
                (self.path / name).exists() for name in CONTENTS
            ):
                return None
            rejected = [Rejection(**entry) for entry in value["rejected"]]
            return PrepareReport(path, value["accepted"], rejected, value["median_error"], value["notes"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(
        self,
        class_name: str,
        size: int,
        frames: list[Frame],
        rejected: list[Rejection],
        canonical_landmarks: dict[str, Any],
        fingerprint: str,
    ) -> PrepareReport:
        """Assemble the folder aside, move it into place, and remove the captures."""
        aside = self.path / WORK / "assembled"
        shutil.rmtree(aside, ignore_errors=True)
        entries = [frame.entry(identity, size) for identity, frame in enumerate(frames)]
        for kind in ("images", "mattes"):
            (aside / kind).mkdir(parents=True)
        for entry, frame in zip(entries, frames, strict=True):
            _link(frame.files.image, aside / entry["file_path"])
            _link(frame.files.matte, aside / entry["mask_path"])
        # One frame a line: indented, the landmarks would take a line for every number.
        lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
        head = json.dumps({"camera_model": "OPENCV", "class_name": class_name}, ensure_ascii=False)[:-1]
        write_text(aside / "transforms.json", f'{head}, "frames": [\n{lines}\n]}}\n')
        write_json(aside / "canonical_landmarks.json", canonical_landmarks)
        report = PrepareReport(
            path=self.path / "report.json",
            accepted=len(frames),
            rejected=[Rejection(_printable(entry.source), entry.reason, entry.mend) for entry in rejected],
            median_error=float(np.median([frame.reprojection_rmse / frame.face_width for frame in frames])),
            notes={_printable(frame.source): frame.notes for frame in frames if frame.notes},
        )
        value = {**asdict(report), "fingerprint": fingerprint}
        value.pop("path")
        write_json(aside / "report.json", value)
        for name in reversed(CONTENTS):
            _remove(self.path / name)
        for name in CONTENTS:
            (aside / name).rename(self.path / name)
        shutil.rmtree(self.path / WORK)
        return report


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _printable(name: str) -> str:
    """A file name that may hold bytes which are no UTF-8, as text that can be written as such."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
