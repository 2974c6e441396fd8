"""What a fit is asked for, as photographs with cameras: raw files go through capture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nerfgen_ns.capture.face_mesh import LANDMARK_COUNT
from nerfgen_ns.capture.listing import LISTED_BY_NAME, LeftOut, list_folder
from nerfgen_ns.capture.photographs import RejectedError, is_photograph, read_photograph
from nerfgen_ns.capture.prepare import PrepareConfig, prepare
from nerfgen_ns.capture.prepare_report import Rejection, by_reason, printable
from nerfgen_ns.datamanagers.transforms import transforms_path
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.files import read_json
from nerfgen_ns.fitting.config import FitConfig
from nerfgen_ns.fitting.photograph import Gathered, read_photographs
from nerfgen_ns.fitting.uncaptured import take_uncaptured
from nerfgen_ns.run import Run

SEARCH = "--search-cameras, which finds cameras by rendering"
OF_FOLDERS = "name such folders in --images themselves"


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
        if not os.path.lexists(path):
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
    return run.record.canonical_landmarks


def _face_landmarks_of(run: Run) -> Path | None:
    """The canonical landmarks of the class, where they are those that capture finds in photographs."""
    path = canonical_landmarks_of(run)
    return path if path is not None and len(read_json(path).get("landmarks", ())) == LANDMARK_COUNT else None


def stored_size(run: Run) -> int:
    """Side in pixels of the photographs that a run was trained on, as they are stored."""
    return int(run.cameras.height.max())


@dataclass(frozen=True)
class _Linked:
    """Photographs from everywhere as one folder, and what else was named or was beside them."""

    folder: Path
    photographs: list[Path]
    """The links."""
    rejected: list[Rejection]
    left_out: list[Rejection]

    def without_folder(self, error: NerfgenError) -> str:
        """What an error says, without the folder of links, which nobody knows, and with what was rejected."""
        message = str(error).removeprefix(f"{self.folder}: ").replace(f"{self.folder}{os.sep}", "")
        return "; ".join([message, *by_reason(self.rejected)])


def _link(images: Sequence[Path], folder: Path) -> _Linked:
    """Make a folder of links to all photographs, under names of their own."""
    linked = _Linked(folder, [], [], [])
    folder.mkdir(parents=True)
    for path in images:
        if path.is_dir():
            listing = list_folder(path, of_folders=OF_FOLDERS)
            for file in listing.photographs:
                _link_to(file, folder)
            linked.left_out.extend(_as_rejection(str(left.path), left) for left in listing.left_out)
        elif path.suffix.lower() in LISTED_BY_NAME or is_photograph(path):
            _link_to(path, folder)
        else:
            reason, mend = "is no photograph", "give a photograph, or a folder of them"
            linked.rejected.append(Rejection(printable(path.name), reason, mend))
    if not any(folder.iterdir()):
        raise UsageError(f"--images {'; '.join(by_reason(linked.rejected))}")
    try:
        links = list_folder(folder)
    except UsageError as error:
        raise UsageError(linked.without_folder(error)) from error
    linked.photographs.extend(links.photographs)
    linked.left_out.extend(_as_rejection(left.path.name, left) for left in links.left_out)
    return linked


def _as_rejection(name: str, left_out: LeftOut) -> Rejection:
    return Rejection(printable(name), left_out.reason, left_out.mend)


def _link_to(file: Path, folder: Path) -> None:
    name = Path(file.name.lstrip(".") or "photograph")  # a hidden one that is asked for is no longer hidden
    link, number = folder / name, 1
    while link.is_symlink():
        link = folder / f"{name.stem}-{number}{name.suffix}"
        number += 1
    os.symlink(os.path.abspath(file), link)


def _capture(linked: _Linked, run: Run, search_cameras: bool, work: Path) -> Gathered:
    """Photographs with their landmarks' cameras; where they are searched, those without landmarks too."""
    canonical = _face_landmarks_of(run)
    if canonical is None and not search_cameras:
        raise _without_search(linked)
    captured = Gathered([])
    if canonical is not None:
        captured = _with_landmarks(linked, canonical, run, search_cameras, work)
    if not search_cameras:
        rejected = [_searchable(rejection, linked.folder) for rejection in captured.rejected]
        return replace(captured, rejected=[*rejected, *linked.rejected], left_out=linked.left_out)
    names = {photograph.name for photograph in captured.photographs}
    others = [path for path in linked.photographs if printable(path.name) not in names]
    searched = take_uncaptured(others, run, stored_size(run), work / "uncaptured", canonical is not None)
    first = len(captured.photographs)
    together = [
        *captured.photographs,
        *(replace(photograph, identity=first + n) for n, photograph in enumerate(searched.photographs)),
    ]
    if not together:
        raise _none_of([*searched.rejected, *linked.rejected])
    return Gathered(together, [*searched.rejected, *linked.rejected], linked.left_out)


def _with_landmarks(linked: _Linked, canonical: Path, run: Run, search_cameras: bool, work: Path) -> Gathered:
    config = PrepareConfig(
        data=linked.folder,
        output_dir=work / "captured",
        size=stored_size(run),
        canonical_landmarks=canonical,
    )
    try:
        report = prepare(config)
    except NerfgenError as error:
        if search_cameras and not isinstance(error, UsageError):
            return Gathered([])
        anything = any(_why_unreadable(path) is None for path in linked.photographs)
        message = linked.without_folder(error)
        raise type(error)(f"{message}; or give {SEARCH}" if anything else message) from error
    photographs = [
        replace(photograph, notes=tuple(report.notes.get(printable(photograph.name), ())))
        for photograph in read_photographs(report.path.with_name("transforms.json"))
    ]
    return Gathered(photographs, report.rejected)


def _without_search(linked: _Linked) -> NerfgenError:
    """What is wrong with photographs of a class without landmarks: those that are some are to be searched."""
    lost = Rejection(
        "", "its camera is not known, and this class has no landmarks to find it by", f"give {SEARCH}"
    )
    rejected = [
        _why_unreadable(path) or replace(lost, source=printable(path.name)) for path in linked.photographs
    ]
    rejected += linked.rejected
    if any(rejection.reason == lost.reason for rejection in rejected):
        return UsageError("; ".join(by_reason(rejected)))
    return _none_of(rejected)


def _none_of(rejected: Sequence[Rejection]) -> NerfgenError:
    lines = "; ".join(by_reason(rejected))
    return NerfgenError(f"none of the {len(rejected)} photographs can be used; {lines}")


def _searchable(rejection: Rejection, folder: Path) -> Rejection:
    """The rejection of a photograph, with the search as a way out where that is one."""
    if _why_unreadable(folder / rejection.source) is not None:
        return rejection
    return replace(rejection, mend=f"{rejection.mend}, or give {SEARCH}")


def _why_unreadable(path: Path) -> Rejection | None:
    try:
        read_photograph(path)
    except RejectedError as error:
        return Rejection(printable(path.name), error.reason, error.mend)
    return None
