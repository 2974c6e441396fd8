"""What a fit is asked for, as photographs with cameras: raw files go through capture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nerfgen_ns.capture.face_mesh import LANDMARK_COUNT
from nerfgen_ns.capture.photographs import list_photographs
from nerfgen_ns.capture.prepare import PrepareConfig, prepare
from nerfgen_ns.capture.prepare_report import printable
from nerfgen_ns.datamanagers.transforms import transforms_path
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.files import read_json
from nerfgen_ns.fitting.config import FitConfig
from nerfgen_ns.fitting.photograph import Gathered, read_photographs
from nerfgen_ns.fitting.uncaptured import take_uncaptured
from nerfgen_ns.run import Run


def gather(images: Sequence[Path], run: Run, config: FitConfig, work: Path) -> Gathered:
    """The photographs to fit.

    Args:
        images: photographs and folders of photographs; or one folder with cameras in the class frame of the
            run (or its transforms.json), see `read_photographs`.
        run: the trained run.
        config: `one_object` and `search_cameras` count here.
        work: an empty folder for what is made of the photographs.

    Raises:
        UsageError: a path does not exist, or there is no photograph.
        NerfgenError: no photograph can be used.
    """
    if not images:
        raise UsageError("--images names no photograph; it takes photographs or a folder of them")
    for path in images:
        if not path.exists():
            raise UsageError(
                f"{path}: no such file or folder; --images takes photographs or a folder of them"
            )
    if len(images) == 1 and transforms_path(images[0]).is_file():
        gathered = Gathered(read_photographs(transforms_path(images[0])))
    else:
        gathered = _capture(_link(images, work / "photographs"), run, config.search_cameras, work)
    if config.one_object:
        same = [replace(photograph, identity=0) for photograph in gathered.photographs]
        return replace(gathered, photographs=same)
    return gathered


def canonical_landmarks_of(run: Run) -> Path | None:
    """The canonical landmarks of the class, where it has any."""
    path = transforms_path(run.data).parent / "canonical_landmarks.json"
    return path if path.is_file() else None


def _face_landmarks_of(run: Run) -> Path | None:
    """The canonical landmarks of the class, where they are those that capture finds in photographs."""
    path = canonical_landmarks_of(run)
    return path if path is not None and len(read_json(path).get("landmarks", ())) == LANDMARK_COUNT else None


def stored_size(run: Run) -> int:
    """Side in pixels of the photographs that a run was trained on, as they are stored."""
    return int(run.cameras.height.max())


def _link(images: Sequence[Path], folder: Path) -> Path:
    """A folder of links to all photographs, under names of their own."""
    files = [file for path in images for file in (list_photographs(path) if path.is_dir() else [path])]
    folder.mkdir(parents=True)
    for number, file in enumerate(files):
        link = folder / file.name
        os.symlink(file.resolve(), link if not link.is_symlink() else link.with_stem(f"{file.stem}-{number}"))
    list_photographs(folder)
    return folder


def _capture(folder: Path, run: Run, search_cameras: bool, work: Path) -> Gathered:
    """Photographs with their landmarks' cameras; where they are searched, those without landmarks too."""
    canonical = _face_landmarks_of(run)
    captured = Gathered([])
    if canonical is not None:
        config = PrepareConfig(
            data=folder,
            output_dir=work / "captured",
            size=stored_size(run),
            canonical_landmarks=canonical,
        )
        try:
            report = prepare(config)
            photographs = [
                replace(photograph, notes=tuple(report.notes.get(printable(photograph.name), ())))
                for photograph in read_photographs(report.path.with_name("transforms.json"))
            ]
            captured = Gathered(photographs, report.rejected)
        except UsageError:
            raise
        except NerfgenError as error:
            if not search_cameras:
                # Nobody knows the folder of links.
                raise NerfgenError(str(error).removeprefix(f"{folder}: ")) from error
        if not search_cameras:
            return captured
    names = {photograph.name for photograph in captured.photographs}
    others = [path for path in list_photographs(folder) if path.name not in names]
    searched = take_uncaptured(others, run, stored_size(run), work / "uncaptured", canonical is not None)
    first = len(captured.photographs)
    together = [
        *captured.photographs,
        *(replace(photograph, identity=first + n) for n, photograph in enumerate(searched.photographs)),
    ]
    if not together:
        rejection = searched.rejected[0]
        raise NerfgenError(
            f"none of the {len(searched.rejected)} photographs can be used; "
            f"{rejection.source}: {rejection.reason}; {rejection.mend}"
        )
    return Gathered(together, searched.rejected)
