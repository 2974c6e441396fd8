"""Photographs with their cameras, as a fit takes them and as a prepared folder holds them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nerfgen_ns.capture.prepared_folder import Rejection
from nerfgen_ns.datamanagers.transforms import NEEDED_BY_EVERY_FRAME, read_frames
from nerfgen_ns.errors import UsageError
from nerfgen_ns.files import read_json, write_json

CAMERA_MODEL = ("camera_model", "k1", "k2", "k3", "k4", "p1", "p2")


@dataclass(frozen=True)
class Photograph:
    """One photograph to fit."""

    name: str
    """What it is called in reports."""
    image: Path
    """Its file."""
    matte: Path | None
    """The file of its matte, if it has one."""
    camera: dict[str, Any]
    """What a frame of a transforms.json says of its camera."""
    identity: int
    """Photographs of one object share one; numbered from 0 without gaps."""
    searched: bool = False
    """Whether the camera is but a usual one of the class, and the true one has to be searched."""
    notes: tuple[str, ...] = ()
    """Remarks of its capture for a person to read."""


@dataclass(frozen=True)
class Gathered:
    """The photographs that can be fitted, and those that cannot."""

    photographs: list[Photograph]
    rejected: list[Rejection] = field(default_factory=list)
    left_out: list[Rejection] = field(default_factory=list)
    """What is beside the photographs in their folders."""


def read_photographs(path: Path) -> list[Photograph]:
    """The photographs of a transforms.json: those with the role "query" or, where none has it, all.

    Raises:
        UsageError: it cannot be used, or a file that it names is missing.
    """
    frames = read_frames(path)
    shared = read_json(path)
    frames = [frame for frame in frames if frame.get("role") == "query"] or frames
    identities = [frame.get("identity", place) for place, frame in enumerate(frames)]
    numbers = {identity: number for number, identity in enumerate(sorted(set(identities)))}
    photographs = []
    for frame, identity in zip(frames, identities, strict=True):
        known = {**shared, **frame}
        image = path.parent / frame["file_path"]
        matte = path.parent / frame["mask_path"] if "mask_path" in frame else None
        for file in (image, matte):
            if file is not None and not file.is_file():
                raise UsageError(f"{file}: no such file, though {path} names it; prepare the folder again")
        camera = {
            key: known[key]
            for key in (*NEEDED_BY_EVERY_FRAME, *CAMERA_MODEL)
            if key in known and key != "file_path"
        }
        name = str(frame.get("source", image.name))
        photographs.append(Photograph(name, image, matte, camera, numbers[identity]))
    return photographs


def write_folder(photographs: Sequence[Photograph], folder: Path, canonical_landmarks: Path | None) -> None:
    """A prepared folder of copies of the photographs, in their order, as an ordinary nerfstudio data set.

    Args:
        photographs: all with a matte, or none.
        folder: a folder to be made.
        canonical_landmarks: goes with it, where the class has any.
    """
    frames = []
    digits = max(4, len(str(len(photographs) - 1)))  # nerfstudio sorts by name
    (folder / "images").mkdir(parents=True)
    for number, photograph in enumerate(photographs):
        frame = {
            "file_path": f"images/{number:0{digits}d}{photograph.image.suffix}",
            **photograph.camera,
            "identity": photograph.identity,
            "source": photograph.name,
        }
        shutil.copyfile(photograph.image, folder / frame["file_path"])
        if photograph.matte is not None:
            frame["mask_path"] = f"mattes/{number:0{digits}d}{photograph.matte.suffix}"
            (folder / "mattes").mkdir(exist_ok=True)
            shutil.copyfile(photograph.matte, folder / frame["mask_path"])
        frames.append(frame)
    models = {frame.pop("camera_model", "OPENCV") for frame in frames}
    write_json(folder / "transforms.json", {"camera_model": models.pop(), "frames": frames})
    if canonical_landmarks is not None:
        shutil.copyfile(canonical_landmarks, folder / canonical_landmarks.name)
