"""The prepared folder on disk, written whole or not at all, by one machine or by several that share it."""

import errno
import fcntl
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from nerfgen_ns.dataset_format.frame import Frame
from nerfgen_ns.dataset_format.transforms import TRANSFORMS, write_transforms
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.preprocessing.report.prepare_report import (
    PAGE,
    PrepareReport,
    Rejection,
    inspect_folder,
    printable,
    write_report_page,
)
from nerfgen_ns.preprocessing.store import Capture, CaptureFiles, CaptureStore, gather_landmarks, link
from nerfgen_ns.utils.files import read_json, write_json

NOTE = "shard.json"
Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Part `number`, counted from 1, of `count`."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `i/n`.

        Raises:
            UsageError: it is not that, or there is no such shard.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if not match:
            raise UsageError(f"--shard {text}: takes i/n, for example 1/4 for the first of four")
        shard = cls(int(match[1]), int(match[2]))
        if not 1 <= shard.number <= shard.count:
            last = max(1, shard.count)
            raise UsageError(f"--shard {text}: no such shard; they go from 1/{last} to {last}/{last}")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"{self.number}-of-{self.count}"

    def part_of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return every `count`-th item, so that neighbors, which often have similar sizes, are spread."""
        return items[self.number - 1 :: self.count]


def check_agreement(stores: Path, options: dict[str, Any], shard: Shard | None) -> None:
    """Compare the options of this call with those of all other shards that exist.

    Args:
        stores: the folder of the shards' stores.
        options: what the results depend on, as text or numbers by the option's name.
        shard: which shard this call is; None: it is the call that puts them together.

    Raises:
        UsageError: they differ; names the shards, the option and both values.
    """
    for path in sorted(stores.glob(f"*/{NOTE}")):
        note = read_json(path)
        if shard is not None and path.parent.name == shard.name:
            continue
        this = f"--shard {shard}" if shard else "this call"
        remedy = f"give all the same options, or choose another --output-dir, or remove {stores}"
        count = int(note["shard"].split("/")[1])
        if shard is not None and count != shard.count:
            raise UsageError(
                f"{this} and --shard {note['shard']} disagree: {shard.count} shards and {count}; {remedy}"
            )
        for name in {**options, **note["options"]}:
            here, there = options.get(name), note["options"].get(name)
            if here != there:
                raise UsageError(
                    f"{this} and --shard {note['shard']} disagree: {name} {here} and {name} {there}; {remedy}"
                )


def announce(stores: Path, options: dict[str, Any], shard: Shard) -> None:
    """Note a shard's options, for the others to agree with.

    Raises:
        UsageError: another shard has other options, see `check_agreement`; nothing is noted.
    """
    check_agreement(stores, options, shard)
    write_json(stores / shard.name / NOTE, {"shard": str(shard), "options": options, "finished": False})
    try:
        # Two shards may have started at once: whichever noted its options last sees the other's.
        check_agreement(stores, options, shard)
    except UsageError:
        (stores / shard.name / NOTE).unlink()
        raise


def note_finished(stores: Path, options: dict[str, Any], shard: Shard) -> None:
    """Note that a shard's photographs are all captured."""
    write_json(stores / shard.name / NOTE, {"shard": str(shard), "options": options, "finished": True})


def unfinished(stores: Path, count: int) -> list[str]:
    """Return the shards of `count` which are not finished, as `i/n`."""
    notes = (read_json(path) for path in stores.glob(f"*/{NOTE}"))
    finished = {note["shard"] for note in notes if note["finished"]}
    return [str(shard) for shard in (Shard(i + 1, count) for i in range(count)) if str(shard) not in finished]


WORK = ".prepare"
KEPT = f"{WORK}/kept"
LANDMARKS = "landmarks.npy"
CONTENTS = (
    KEPT, "images", "mattes", LANDMARKS, "canonical_landmarks.json", TRANSFORMS, PAGE, "report.json",
)  # fmt: skip
"""What is moved into place, in this order. The report, which marks a finished folder, comes last."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of file systems without locks: there, people must not start two processes at once."""


@dataclass(frozen=True)
class PlacedPhotograph:
    """What the fit found for one accepted photograph."""

    source: str
    identity: int
    """Photographs of one number show one object; the folder numbers them again, in the order of frames."""
    camera_to_world: Float[np.ndarray, "4 4"]
    focal: float
    center: Float[np.ndarray, "2"]
    landmarks: Float[np.ndarray, "m 2"]
    coefficients: Float[np.ndarray, " k"]
    reprojection_rmse: float
    extent: float
    """Size of the object in pixels, see `LandmarkScheme.extent`."""

    def frame(self, identity: int, name: str, size: int, capture: Capture) -> Frame:
        """Return the frame in the folder; its images are called `name`."""
        return Frame(
            file_path=f"images/{name}",
            mask_path=None if capture.matte is None else f"mattes/{name}",
            transform_matrix=self.camera_to_world.round(9),
            fl_x=self.focal,
            fl_y=self.focal,
            cx=float(self.center[0]),
            cy=float(self.center[1]),
            w=size,
            h=size,
            identity=identity,
            source=printable(self.source),
            reprojection_rmse=round(self.reprojection_rmse, 4),
            photograph_to_crop=np.array(capture.record["photograph_to_crop"]),
            coefficients=self.coefficients.round(5),
        )


class PreparedFolder:
    """A prepared folder, the captures that it is made from, and its locks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stores = path / WORK / "captures"
        """Captures of work not yet finished: a store for each shard, and one for what is done without."""
        self._made = path / WORK / "made"

    def store(self, shard: Shard | None = None) -> CaptureStore:
        """Return the store that this call's captures go to."""
        return CaptureStore(self.stores / (shard.name if shard else "whole"), self.path)

    def captures(self, shard: Shard | None = None) -> dict[str, Capture]:
        """Return all captures by key: of the finished folder and of work not yet finished.

        With a shard, those of the other shards are left out: other processes write them, and none of their
        photographs is its own.
        """
        folders = sorted(path for path in self.stores.glob("*") if path.is_dir())
        if shard is not None:
            folders = [path for path in folders if path.name in ("whole", shard.name)]
        known: dict[str, Capture] = {}
        for folder in (self.path / KEPT, *folders):
            known.update(CaptureStore(folder, self.path).read())
        return known

    @contextmanager
    def locked(self, shard: Shard | None = None) -> Iterator[None]:
        """Run the block while no other process prepares the same folder or, given a shard, the same shard.

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
        except (OSError, sqlite3.OperationalError) as error:
            raise NerfgenError(
                f"{self.path}: cannot be written ({getattr(error, 'strerror', None) or error}); "
                "choose another --output-dir or free some space"
            ) from error

    def finished_report(self, fingerprint: str) -> PrepareReport | None:
        """Return the report of a finished run with this fingerprint, if that is what the folder holds."""
        needed = [name for name in CONTENTS if name != KEPT]  # which only saves time
        if self._made.exists() or not all((self.path / name).exists() for name in needed):
            return None
        return PrepareReport.read(self.path / "report.json", fingerprint)

    def note_left_out(
        self, report: PrepareReport, left_out: Sequence[Rejection], fingerprint: str
    ) -> PrepareReport:
        """Return the report of a finished folder; write it again if other things are left out by now."""
        if report.left_out != list(left_out):
            report.left_out = list(left_out)
            report.write(report.path, fingerprint)
            write_report_page(self.path)
        return report

    def gather_landmarks(self, captures: list[Capture]) -> Float[np.ndarray, "n m 4"]:
        """Gather the landmarks, see `store.gather_landmarks`; the array ends when the folder is written."""
        return gather_landmarks(captures, self.stores / "landmarks.f32")

    def write(
        self,
        class_name: str,
        size: int,
        photographs: Iterable[tuple[str, Capture, PlacedPhotograph | None]],
        count: int,
        rejected: list[Rejection],
        canonical_landmarks: dict[str, Any],
        fingerprint: str,
        left_out: Sequence[Rejection] = (),
    ) -> PrepareReport:
        """Write the contents to a working folder and move them into place.

        Args:
            photographs: key, capture and, if it was accepted, fit of each in order; taken one by one.
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

        def accepted(kept: CaptureStore) -> Iterator[Frame]:
            for key, capture, fitted in photographs:
                place = len(errors)
                name = f"{place:0{digits}d}.png"
                files = kept.files(key)
                if fitted is not None:
                    files = CaptureFiles(making / "images" / name, making / "mattes" / name)
                for source, target in ((capture.image, files.image), (capture.matte, files.matte)):
                    if source is not None:
                        link(source, target)
                kept.append(key, capture.whole_record(), files)
                if fitted is None:
                    continue
                landmarks[place] = fitted.landmarks
                errors.append(fitted.reprojection_rmse / fitted.extent)
                if capture.record["notes"]:
                    notes[printable(fitted.source)] = capture.record["notes"]
                identity = identities.setdefault(fitted.identity, len(identities))
                yield fitted.frame(identity, name, size, capture)

        with CaptureStore(making / KEPT, making) as kept:
            head = {"class_name": class_name, "landmarks_path": LANDMARKS}
            write_transforms(making, accepted(kept), head)
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
