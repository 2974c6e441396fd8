"""Captures on disk: what was found in each photograph by itself, kept as it comes, to do no work twice.

A store is a folder with an SQLite database, one row a photograph; crops and mattes are files beside it or
elsewhere. SQLite writes each row whole or not at all: a process killed at any moment loses the row at hand.
"""

import json
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from nerfgen_ns.utils.files import replace_file

DATABASE = "captures.sqlite"
NUMBER, COLUMNS = np.dtype("<f4"), 4
TABLE = (
    "CREATE TABLE IF NOT EXISTS captures "
    "(key TEXT PRIMARY KEY, record TEXT NOT NULL, image TEXT, matte TEXT, landmarks BLOB)"
)

ALL = "SELECT rowid, key, record, image, matte, landmarks IS NOT NULL FROM captures ORDER BY rowid"


@dataclass(frozen=True)
class CaptureFiles:
    """Where the crop and the matte of one photograph are to be written."""

    image: Path
    matte: Path


@dataclass(frozen=True)
class Capture:
    """What was found in one photograph."""

    record: dict[str, Any]
    """`reason` and `mend` of a rejected photograph, or what else the capture told of it but its landmarks."""
    image: Path | None = None
    """The crop; None of a rejected photograph."""
    matte: Path | None = None
    """The matte of the crop; None where there is none."""
    landmarks_at: tuple[sqlite3.Connection, int] | None = None
    """Database and row of the landmarks: those of 100,000 photographs are too many for the memory."""

    @property
    def rejected(self) -> bool:
        """Whether the photograph cannot be used."""
        return "reason" in self.record

    def landmarks(self) -> Float32[np.ndarray, "m 4"]:
        """Read from disk: pixels of the crop, relative depth or NaN, confidence; 0 × 4 if it has none."""
        content = b""
        if self.landmarks_at is not None:
            database, row = self.landmarks_at
            query = "SELECT landmarks FROM captures WHERE rowid = ?"
            (content,) = database.execute(query, (row,)).fetchone()
        return np.frombuffer(content, NUMBER).reshape(-1, COLUMNS)

    def whole_record(self) -> dict[str, Any]:
        """Return the record with the landmarks, as `CaptureStore.append` takes it."""
        if self.landmarks_at is None:
            return self.record
        rows = self.landmarks()
        return {**self.record, "landmarks": rows[:, :3], "confidence": rows[:, 3]}


class CaptureStore:
    """One folder of captures, which one process at a time may use; to write, it enters it by `with`.

    A database that is damaged counts as empty. What else SQLite meets, such as a full disk, is an
    `sqlite3.OperationalError`.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        """Use `folder`, which need not exist yet; paths of images are kept relative to `root`, around it."""
        self.folder = folder
        self.root = root
        self._path = folder / DATABASE
        self._database: sqlite3.Connection | None = None

    def files(self, key: str) -> CaptureFiles:
        """Where the crop and the matte of the photograph with this key belong."""
        return CaptureFiles(self.folder / f"{key}-image.png", self.folder / f"{key}-matte.png")

    def read(self) -> dict[str, Capture]:
        """All captures by key, but for those whose images somebody has removed."""
        captures: dict[str, Capture] = {}
        database = _open(self._path) if self._path.exists() else None
        for row, key, record, image, matte, has_landmarks in database.execute(ALL) if database else ():
            capture = Capture(
                json.loads(record),
                None if image is None else self.root / image,
                None if matte is None else self.root / matte,
                (database, row) if database and has_landmarks else None,
            )
            if all(path.exists() for path in (capture.image, capture.matte) if path is not None):
                captures[key] = capture
        return captures

    def __enter__(self) -> "CaptureStore":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._database = _open(self._path)
        if self._database is None:
            for path in (self._path, self._path.with_name(f"{DATABASE}-journal")):
                path.unlink(missing_ok=True)
            self._database = _open(self._path)
            assert self._database is not None
        # The journal then stays until the end, where it would be made and removed for every photograph.
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._database is not None
        self._database.close()

    def append(self, key: str, record: dict[str, Any], files: CaptureFiles | None = None) -> None:
        """Keep the record of a photograph whose images are written.

        Args:
            key: of the photograph, with all that its capture depends on.
            record: see `Capture.record`; and `landmarks`, m × 2 or with relative depth m × 3, and their
                `confidence`, where there are any. Without confidence it is 1, or 0 where a landmark is NaN.
            files: where the images are, if not at `files(key)`.
        """
        assert self._database is not None
        record = dict(record)
        landmarks, confidence = record.pop("landmarks", None), record.pop("confidence", None)
        image = matte = rows = None
        if "reason" not in record:
            files = files or self.files(key)
            image = files.image.relative_to(self.root).as_posix()
            if files.matte.exists():
                matte = files.matte.relative_to(self.root).as_posix()
        if landmarks is not None:
            rows = _rows(np.asarray(landmarks, NUMBER), confidence).tobytes()
        row = (key, json.dumps(record), image, matte, rows)
        self._database.execute("INSERT OR REPLACE INTO captures VALUES (?, ?, ?, ?, ?)", row)


def _open(path: Path) -> sqlite3.Connection | None:
    """Open a database, made where there is none; None if it is damaged. Each statement is a transaction."""
    # Without SQLite's locks: the prepared folder has one, and there are file systems that know none.
    database = sqlite3.connect(f"{path.absolute().as_uri()}?nolock=1", uri=True, isolation_level=None)
    try:
        # What a file says of functions and modules is not trusted.
        database.execute("PRAGMA trusted_schema = OFF")
        # To wait for the disk after every photograph guards against a loss of power alone.
        database.execute("PRAGMA synchronous = OFF")
        healthy = database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        healthy = False
    if healthy:
        database.execute(TABLE)
    return database if healthy else None


def gather_landmarks(captures: list[Capture], path: Path) -> Float32[np.ndarray, "n m 4"]:
    """Write the landmarks of all captures to `path`, and return them as an array that stays on disk."""
    count = len(captures[0].landmarks())
    with replace_file(path) as temporary, temporary.open("wb") as file:
        for capture in captures:
            file.write(capture.landmarks().tobytes())
    return np.memmap(path, NUMBER, "r", shape=(len(captures), count, COLUMNS))


def _rows(
    landmarks: Float32[np.ndarray, "m dimensions"], confidence: Float[np.ndarray, " m"] | None
) -> Float32[np.ndarray, "m 4"]:
    rows = np.full((len(landmarks), COLUMNS), np.nan, NUMBER)
    rows[:, : landmarks.shape[1]] = landmarks
    rows[:, 3] = np.isfinite(landmarks).all(axis=1) if confidence is None else confidence
    return rows


def link(source: Path, target: Path) -> None:
    """Give a file a second name: without a copy, where the file system can."""
    try:
        os.link(source, target)
    except OSError:
        import shutil

        shutil.copyfile(source, target)
