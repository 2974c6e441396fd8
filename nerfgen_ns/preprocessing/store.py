"""Captures on disk: what was found in each photograph by itself, kept as it comes, to do no work twice.

A store is a folder with `records.jsonl`, one line a photograph, and `landmarks.f32`, their landmarks end to
end: to read 100,000 captures takes two files. Both only grow, and the line of a photograph is written after
everything that it refers to. A process killed while writing leaves at most half a line, which is ignored.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float, Float32

from nerfgen_ns.utils.files import replace_file

RECORDS, LANDMARKS = "records.jsonl", "landmarks.f32"
NUMBER, COLUMNS = np.dtype("<f4"), 4


@dataclass(frozen=True)
class CaptureFiles:
    """Where the crop and the matte of one photograph are to be written."""

    image: Path
    matte: Path


@dataclass(frozen=True)
class Capture:
    """What was found in one photograph."""

    record: dict[str, Any]
    """`reason` and `mend` of a rejected photograph, or the result of the capture without its landmarks."""
    image: Path | None = None
    """The crop; None for a rejected photograph."""
    matte: Path | None = None
    """The matte of the crop; None where there is none."""
    landmarks_at: tuple[Path, int, int] | None = None
    """File, first byte and number of the landmarks."""

    @property
    def rejected(self) -> bool:
        """Return whether the photograph cannot be used."""
        return "reason" in self.record

    def landmarks(self) -> Float32[np.ndarray, "m 4"]:
        """Read from disk: pixels of the crop, relative depth or NaN, confidence; 0 × 4 if there are none."""
        if self.landmarks_at is None:
            return np.empty((0, COLUMNS), NUMBER)
        path, start, count = self.landmarks_at
        return np.fromfile(path, NUMBER, COLUMNS * count, offset=start).reshape(count, COLUMNS)

    def whole_record(self) -> dict[str, Any]:
        """Return the record with the landmarks, as `CaptureStore.append` takes it."""
        if self.landmarks_at is None:
            return self.record
        rows = self.landmarks()
        return {**self.record, "landmarks": rows[:, :3], "confidence": rows[:, 3]}


class CaptureStore:
    """One folder of captures. Any process may read it; one process at a time enters it by `with` to write."""

    def __init__(self, folder: Path, root: Path) -> None:
        """Use `folder`, which need not exist yet; paths of images are kept relative to `root`, around it."""
        self.folder = folder
        self.root = root
        self._records: BinaryIO | None = None
        self._landmarks: BinaryIO | None = None

    def files(self, key: str) -> CaptureFiles:
        """Return where the crop and the matte of the photograph with this key belong."""
        return CaptureFiles(self.folder / f"{key}-image.png", self.folder / f"{key}-matte.png")

    def read(self) -> dict[str, Capture]:
        """Read all captures by key, except those whose images somebody has removed."""
        return {
            key: capture
            for key, capture in self._scan()[0].items()
            if all(path.exists() for path in (capture.image, capture.matte) if path is not None)
        }

    def __enter__(self) -> "CaptureStore":
        self.folder.mkdir(parents=True, exist_ok=True)
        _, records_end, landmarks_end = self._scan()
        self._records = (self.folder / RECORDS).open("ab", buffering=0)
        self._landmarks = (self.folder / LANDMARKS).open("ab", buffering=0)
        for file, end in ((self._records, records_end), (self._landmarks, landmarks_end)):
            file.truncate(end)
            file.seek(end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._records is not None and self._landmarks is not None
        self._landmarks.close()
        self._records.close()

    def append(self, key: str, record: dict[str, Any], files: CaptureFiles | None = None) -> None:
        """Keep the record of a photograph whose images are written.

        Args:
            key: of the photograph, with all that its capture depends on.
            record: see `Capture.record`; and `landmarks`, m × 2 or with relative depth m × 3, and their
                `confidence`, where there are any. Without confidence it is 1, or 0 where a landmark is NaN.
            files: where the images are, if not at `files(key)`.
        """
        assert self._records is not None and self._landmarks is not None
        record = dict(record)
        landmarks, confidence = record.pop("landmarks", None), record.pop("confidence", None)
        line: dict[str, Any] = {"key": key, "record": record}
        if "reason" not in record:
            files = files or self.files(key)
            line["image"] = files.image.relative_to(self.root).as_posix()
            if files.matte.exists():
                line["matte"] = files.matte.relative_to(self.root).as_posix()
        if landmarks is not None:
            rows = _rows(np.asarray(landmarks, NUMBER), confidence)
            line["landmarks"] = [self._landmarks.tell(), len(rows)]
            _write_all(self._landmarks, rows.tobytes())
        _write_all(self._records, json.dumps(line).encode() + b"\n")

    def _scan(self) -> tuple[dict[str, Capture], int, int]:
        """Read the captures, and how many bytes of the two files belong to them."""
        captures: dict[str, Capture] = {}
        landmarks = self.folder / LANDMARKS
        records_end, landmarks_end = 0, 0
        try:
            available = landmarks.stat().st_size
            lines = (self.folder / RECORDS).open("rb")
        except FileNotFoundError:
            return captures, 0, 0
        with lines:
            for line in lines:
                try:
                    value = json.loads(line) if line.endswith(b"\n") else {}
                    key, at = value["key"], value.get("landmarks")
                    capture = Capture(
                        value["record"],
                        self.root / value["image"] if "image" in value else None,
                        self.root / value["matte"] if "matte" in value else None,
                        (landmarks, at[0], at[1]) if at else None,
                    )
                    end = at[0] + NUMBER.itemsize * COLUMNS * at[1] if at else landmarks_end
                except (ValueError, KeyError, TypeError, IndexError):
                    break
                if end > available:
                    break
                captures[key] = capture
                records_end += len(line)
                landmarks_end = max(landmarks_end, end)
        return captures, records_end, landmarks_end


def gather_landmarks(captures: list[Capture], path: Path) -> Float32[np.ndarray, "n m 4"]:
    """Write the landmarks of all captures to `path`; return them as one array on disk, not in memory."""
    count = len(captures[0].landmarks())
    with replace_file(path) as temporary, temporary.open("wb") as file:
        for capture in captures:
            file.write(capture.landmarks().tobytes())
    return np.memmap(path, NUMBER, "r", shape=(len(captures), count, COLUMNS))


def _rows(
    landmarks: Float32[np.ndarray, "m dimensions"], confidence: Float[np.ndarray, "m"] | None
) -> Float32[np.ndarray, "m 4"]:
    rows = np.full((len(landmarks), COLUMNS), np.nan, NUMBER)
    rows[:, : landmarks.shape[1]] = landmarks
    rows[:, 3] = np.isfinite(landmarks).all(axis=1) if confidence is None else confidence
    return rows


def link(source: Path, target: Path) -> None:
    """Give a file a second name, without a copy if the file system can."""
    try:
        os.link(source, target)
    except OSError:
        import shutil

        shutil.copyfile(source, target)


def _write_all(file: BinaryIO, content: bytes) -> None:
    """Write all of the content; an unbuffered file may accept only a part of it at a time."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]
