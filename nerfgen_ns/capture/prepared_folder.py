"""The prepared folder on disk: what is in it, and how it comes to be there whole or not at all.

The new contents are made aside, in `.prepare/making`. Once whole they are renamed to `.prepare/made`, and a
process that finds them there moves them into place before it does anything else: whenever the one before was
killed, the folder ends up the same. `.prepare/kept` has the captures, for photographs added later.
"""

import errno
import fcntl
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from nerfgen_ns.capture.capture_store import (
    Capture,
    CaptureFiles,
    CaptureStore,
    gather_landmarks,
    link,
)
from nerfgen_ns.capture.prepare_report import PAGE, PrepareReport, Rejection, printable
from nerfgen_ns.capture.report_page import inspect_folder, write_report_page
from nerfgen_ns.capture.shards import Shard
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.files import write_json

WORK = ".prepare"
KEPT = f"{WORK}/kept"
LANDMARKS = "landmarks.npy"
CONTENTS = (
    KEPT, "images", "mattes", LANDMARKS, "canonical_landmarks.json", "transforms.json", PAGE, "report.json",
)  # fmt: skip
"""What is moved into place, in this order: the report, which the folder is known by, comes last."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems say that know no locks: then it is for people to start no two processes at once."""


@dataclass(frozen=True)
class Frame:
    """What the fit found for one accepted photograph."""

    source: str
    identity: int
    """Photographs of one number show one object; the folder numbers them anew, in the order of frames."""
    camera_to_world: Float[np.ndarray, "4 4"]
    focal: float
    centre: Float[np.ndarray, "2"]
    landmarks: Float[np.ndarray, "m 2"]
    coefficients: Float[np.ndarray, "k"]
    reprojection_rmse: float
    extent: float
    """Size of the object in pixels, see `LandmarkScheme.extent`."""

    def entry(self, identity: int, name: str, size: int, capture: Capture) -> dict[str, Any]:
        """The frame in `transforms.json`; its images are called `name`."""
        entry = {
            "file_path": f"images/{name}",
            "mask_path": f"mattes/{name}",
            "transform_matrix": self.camera_to_world.round(9).tolist(),
            "fl_x": self.focal,
            "fl_y": self.focal,
            "cx": float(self.centre[0]),
            "cy": float(self.centre[1]),
            "w": size,
            "h": size,
            "identity": identity,
            "source": printable(self.source),
            "reprojection_rmse": round(self.reprojection_rmse, 4),
            "photograph_to_crop": capture.record["photograph_to_crop"],
            "coefficients": self.coefficients.round(5).tolist(),
        }
        if capture.matte is None:
            del entry["mask_path"]
        return entry


class PreparedFolder:
    """A prepared folder, the captures that it is made from, and its locks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stores = path / WORK / "captures"
        """Captures of work not yet finished: a store for each shard, and one for what is done without."""
        self._made = path / WORK / "made"

    def store(self, shard: Shard | None = None) -> CaptureStore:
        """Where this call's captures go."""
        return CaptureStore(self.stores / (shard.name if shard else "whole"), self.path)

    def captures(self) -> dict[str, Capture]:
        """All captures there are, by key: of the finished folder and of work not yet finished."""
        folders = sorted(path for path in self.stores.glob("*") if path.is_dir())
        known: dict[str, Capture] = {}
        for folder in (self.path / KEPT, *folders):
            known.update(CaptureStore(folder, self.path).read())
        return known

    @contextmanager
    def locked(self, shard: Shard | None = None) -> Iterator[None]:
        """Keep other processes from preparing the same folder, or with a shard: from this shard alone.

        Raises:
            UsageError: the folder holds something that is not ours.
            NerfgenError: another process is at work in it, or it cannot be written to.
        """
        if self.path.is_file():
            raise UsageError(f"{self.path}: is a file; choose another --output-dir")
        if self.path.is_dir() and not (self.path / WORK).exists():
            strange = [name for name in CONTENTS if (self.path / name).exists()]
            if strange and not (self.path / "report.json").exists():
                raise UsageError(
                    f"{self.path}: has {strange[0]} in it that `nerfgen prepare` did not make; "
                    "choose another --output-dir"
                )
        try:
            self.stores.mkdir(parents=True, exist_ok=True)
            with ExitStack() as locks:
                lock = self.path / WORK / "lock"
                locks.enter_context(_lock(lock, fcntl.LOCK_SH if shard else fcntl.LOCK_EX))
                if shard:
                    (self.stores / shard.name).mkdir(exist_ok=True)
                    locks.enter_context(_lock(self.stores / shard.name / "lock", fcntl.LOCK_EX))
                else:
                    self._move_into_place()
                yield
        except BlockingIOError as error:
            raise NerfgenError(
                f"{self.path}: another process is preparing {f'shard {shard} of it' if shard else 'it'}; "
                "wait for it or choose another --output-dir"
            ) from error
        except OSError as error:
            raise NerfgenError(
                f"{self.path}: cannot be written ({error.strerror or error}); "
                "choose another --output-dir or free some space"
            ) from error

    def finished_report(self, fingerprint: str) -> PrepareReport | None:
        """The report of a finished run with this fingerprint, if that is what the folder holds."""
        needed = [name for name in CONTENTS if name != KEPT]  # which is there to save time, and no more
        if self._made.exists() or not all((self.path / name).exists() for name in needed):
            return None
        return PrepareReport.read(self.path / "report.json", fingerprint)

    def note_left_out(
        self, report: PrepareReport, left_out: Sequence[Rejection], fingerprint: str
    ) -> PrepareReport:
        """The report of a finished folder, its files written again where other things are left out by now."""
        if report.left_out != list(left_out):
            report.left_out = list(left_out)
            report.write(report.path, fingerprint)
            write_report_page(self.path)
        return report

    def gather_landmarks(self, captures: list[Capture]) -> Float[np.ndarray, "n m 4"]:
        """See `capture_store.gather_landmarks`; the array is gone when the folder is written."""
        return gather_landmarks(captures, self.stores / "landmarks.f32")

    def write(
        self,
        class_name: str,
        size: int,
        frames: Iterable[tuple[str, Capture, Frame | None]],
        count: int,
        rejected: list[Rejection],
        canonical_landmarks: dict[str, Any],
        fingerprint: str,
        left_out: Sequence[Rejection] = (),
    ) -> PrepareReport:
        """Make the contents aside and move them into place.

        Args:
            frames: key, capture and, if it was accepted, frame of each photograph in order; taken one by one.
            count: how many are accepted.
            left_out: see `PrepareReport.left_out`.
        """
        making = self.path / WORK / "making"
        shutil.rmtree(making, ignore_errors=True)
        (making / "images").mkdir(parents=True)
        (making / "mattes").mkdir()
        digits = max(4, len(str(count - 1)))
        errors: list[float] = []
        notes: dict[str, list[str]] = {}
        identities: dict[int, int] = {}
        shape = (count, len(canonical_landmarks["landmarks"]), 2)
        landmarks = np.lib.format.open_memmap(making / LANDMARKS, "w+", np.float32, shape)
        with (
            CaptureStore(making / KEPT, making) as kept,
            (making / "transforms.json").open("w", encoding="utf-8") as transforms,
        ):
            head = {"camera_model": "OPENCV", "class_name": class_name, "landmarks_path": LANDMARKS}
            transforms.write(f'{json.dumps(head, ensure_ascii=False)[:-1]}, "frames": [')
            for key, capture, frame in frames:
                place = len(errors)
                name = f"{place:0{digits}d}.png"
                files = kept.files(key)
                if frame is not None:
                    files = CaptureFiles(making / "images" / name, making / "mattes" / name)
                for source, target in ((capture.image, files.image), (capture.matte, files.matte)):
                    if source is not None:
                        link(source, target)
                kept.append(key, capture.whole_record(), files)
                if frame is None:
                    continue
                identity = identities.setdefault(frame.identity, len(identities))
                # One frame a line: indented, a matrix would take a line for every number.
                transforms.write(",\n" if place else "\n")
                entry = frame.entry(identity, name, size, capture)
                transforms.write(json.dumps(entry, ensure_ascii=False, allow_nan=False))
                landmarks[place] = frame.landmarks
                errors.append(frame.reprojection_rmse / frame.extent)
                if capture.record["notes"]:
                    notes[printable(frame.source)] = capture.record["notes"]
            transforms.write("\n]}\n")
        landmarks.flush()
        write_json(making / "canonical_landmarks.json", canonical_landmarks)
        report = PrepareReport(
            path=self.path / "report.json",
            accepted=count,
            identities=len(identities),
            rejected=[Rejection(printable(entry.source), entry.reason, entry.mend) for entry in rejected],
            median_error=float(np.median(errors)),
            notes=notes,
            left_out=list(left_out),
        )
        inspection = inspect_folder(making, [entry.reason for entry in rejected], report.median_error)
        report.concerns = inspection.concerns
        report.write(making / "report.json", fingerprint)
        write_report_page(making, inspection)
        making.rename(self._made)
        self._move_into_place()
        return report

    def _move_into_place(self) -> None:
        made = self._made
        if made.exists():
            for name in reversed(CONTENTS):
                if (made / name).exists():
                    _remove(self.path / name)
            for name in CONTENTS:
                if (made / name).exists():
                    (made / name).rename(self.path / name)
            shutil.rmtree(self.stores)
            shutil.rmtree(made)


@contextmanager
def _lock(path: Path, kind: int) -> Iterator[None]:
    with path.open("a+") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
