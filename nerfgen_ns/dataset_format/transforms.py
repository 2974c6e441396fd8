"""transforms.json: its one reader, its one writer, and the row of the latent table of each frame."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nerfgen_ns.dataset_format.cameras_of_files import check_poses
from nerfgen_ns.dataset_format.frame import Frame, check_path, shared_by_frames
from nerfgen_ns.errors import UsageError
from nerfgen_ns.utils.files import read_json, replace_file

TRANSFORMS = "transforms.json"


def transforms_path(data: Path) -> Path:
    """Return the path of the transforms.json of `--data`, which names the file itself or its folder."""
    return data if data.suffix == ".json" else data / TRANSFORMS


@dataclass(frozen=True)
class Transforms:
    """What a transforms.json says."""

    path: Path
    """The file."""
    head: dict[str, Any]
    """What it has besides the frames."""
    frames: list[Frame]
    """In the file's order."""

    @property
    def files(self) -> list[Path]:
        """Return the paths of the photographs."""
        return [self.path.parent / frame.file_path for frame in self.frames]

    @property
    def class_name(self) -> str | None:
        """Return the name of the class; None if the file does not give it."""
        name = self.head.get("class_name")
        return name if isinstance(name, str) else None

    @property
    def semantic_labels(self) -> list[str]:
        """Return the names of the semantic labels, from 0."""
        return [str(label) for label in self.head.get("semantic_labels", [])]


def read_transforms(data: Path, allow_outside: bool = False) -> Transforms:
    """Read a transforms.json, and check all of it.

    Args:
        data: the file, or its folder.
        allow_outside: whether frames may name files outside the folder; they may in a data set that is only
            read.

    Raises:
        UsageError: it is not JSON, holds no frames, lacks something that every frame needs, has an impossible
            camera, or names a file that it must not name.
    """
    path = transforms_path(Path(data))
    head, entries = _parts(path)
    if not entries:
        raise UsageError(f'{path}: holds no "frames"; prepare the folder again')
    if "landmarks_path" in head:
        check_path(head["landmarks_path"], path, "", "landmarks_path", allow_outside)
    shared = shared_by_frames(head)
    frames = [
        Frame.from_json(entry, shared, path, place, allow_outside) for place, entry in enumerate(entries)
    ]
    check_poses(
        np.stack([frame.transform_matrix for frame in frames]),
        lambda place: f"{path}: frame {frames[place].file_path}",
    )
    if len({type(identity) for identity in identities_of(frames)}) > 1:
        raise UsageError(f'{path}: let "identity" be a whole number in every frame, or a name in every frame')
    mattes = sum(frame.mask_path is not None for frame in frames)
    if mattes not in (0, len(frames)):
        raise UsageError(
            f'{path}: {mattes} of {len(frames)} frames have a "mask_path"; give one to each frame or to none'
        )
    return Transforms(path, head, frames)


def read_head(data: Path) -> dict[str, Any]:
    """Read what a transforms.json has besides the frames, without looking at a frame.

    Raises:
        UsageError: the file is missing, or has no frames.
    """
    path = transforms_path(Path(data))
    if not _has_a_frame_a_line(path):
        return _parts(path)[0]
    with path.open(encoding="utf-8") as lines:
        try:
            head = dict(json.loads(next(lines).rstrip() + "]}"))
        except ValueError as error:
            raise UsageError(f"{path}: not a readable JSON file ({error}); make it again") from error
    del head["frames"]
    return head


def stream_frames(data: Path, places: Container[int] | None = None) -> Iterator[tuple[int, Frame]]:
    """Yield the frames of a prepared folder in order, each with its place; with `places` only those.

    Where each frame is on a line of its own, as `write_transforms` writes them, they are read line by line,
    with only one of them in memory. What concerns all frames together is not checked.

    Raises:
        UsageError: the file is missing, or a frame cannot be used; see `read_transforms`.
    """
    path = transforms_path(Path(data))
    by_line = _has_a_frame_a_line(path)
    head, entries = (read_head(path), _lines(path)) if by_line else _parts(path)
    shared = shared_by_frames(head)
    for place, entry in enumerate(entries):
        if places is not None and place not in places:
            continue
        if by_line:
            try:
                entry = json.loads(entry)
            except ValueError as error:
                raise UsageError(
                    f"{path}: frame {place} cannot be read ({error}); prepare the folder again"
                ) from error
        yield place, Frame.from_json(entry, shared, path, place, allow_outside=False)


def write_transforms(data: Path, frames: Iterable[Frame], head: Mapping[str, Any] | None = None) -> None:
    """Write a transforms.json, whole or not at all.

    Args:
        data: the file, or its folder.
        frames: taken one by one, so that they need not all be in memory.
        head: what the file has besides the frames; the camera model is OPENCV if it names none.

    Raises:
        NerfgenError: it cannot be written.
        UsageError: a frame has a number that is not finite, which JSON does not know.
    """
    path = transforms_path(Path(data))
    text = json.dumps({"camera_model": "OPENCV", **(head or {})}, ensure_ascii=False)
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        # One frame a line: indented, a matrix would take a line for every number.
        file.write(f'{text[:-1]}, "frames": [')
        for place, frame in enumerate(frames):
            try:
                line = json.dumps(frame.to_json(), ensure_ascii=False, allow_nan=False)
            except ValueError as error:
                raise UsageError(f"{path}: frame {frame.file_path}: {error}; give finite numbers") from error
            file.write(f",\n{line}" if place else f"\n{line}")
        file.write("\n]}\n")


def identities_of(frames: Sequence[Frame]) -> list[int | str]:
    """Return each frame's object. A frame without an identity is an object of its own, named by its place."""
    return [place if frame.identity is None else frame.identity for place, frame in enumerate(frames)]


def row_of_identity(frames: Sequence[Frame]) -> dict[int | str, int]:
    """Return the row of the latent table of each identity: its place among all in sorted order."""
    # They are all numbers or all names, see `read_transforms`.
    return {identity: row for row, identity in enumerate(sorted(set(identities_of(frames))))}  # type: ignore[type-var]


def rows_of_frames(frames: Sequence[Frame]) -> list[int]:
    """Return the row of the latent table that each frame shows."""
    rows = row_of_identity(frames)
    return [rows[identity] for identity in identities_of(frames)]


def _parts(path: Path) -> tuple[dict[str, Any], list[Any]]:
    value = read_json(path)
    entries = value.pop("frames", None) if isinstance(value, dict) else None
    if not isinstance(entries, list):
        raise UsageError(f'{path}: holds no "frames"; prepare the folder again')
    return value, entries


def _has_a_frame_a_line(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as lines:
            head, frame = next(lines, ""), next(lines, "")
    except (OSError, UnicodeDecodeError):
        return False
    return head.rstrip().endswith('"frames": [') and frame.startswith('{"file_path"')


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            if line.startswith("]"):
                return
            yield line.rstrip().rstrip(",")
