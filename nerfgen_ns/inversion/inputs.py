"""The input of an inversion: photographs with cameras; raw files go through preprocessing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nerfgen_ns.cameras.trajectories import turned_cameras, usual_angles
from nerfgen_ns.datamanagers.data_record import CANONICAL_LANDMARKS
from nerfgen_ns.dataset_format.frame import Frame
from nerfgen_ns.dataset_format.label_maps import (
    LabelMap,
    Legend,
    MappedPhotograph,
    label_map_of_crop,
    list_label_maps,
    match_label_maps,
    read_label_map,
    read_legend,
    shrink_label_map,
)
from nerfgen_ns.dataset_format.transforms import (
    read_transforms,
    rows_of_frames,
    transforms_path,
    write_transforms,
)
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.inversion.config import FitConfig
from nerfgen_ns.preprocessing.crops import crop_photograph, square_crop
from nerfgen_ns.preprocessing.landmarks.models import LANDMARK_COUNT
from nerfgen_ns.preprocessing.listing import LISTED_BY_NAME, LeftOut, list_folder
from nerfgen_ns.preprocessing.mattes import MatteOptions
from nerfgen_ns.preprocessing.photographs import RejectedError, is_photograph, read_alpha, read_photograph
from nerfgen_ns.preprocessing.prepare import PrepareConfig, prepare
from nerfgen_ns.preprocessing.report.prepare_report import Rejection, by_reason, printable
from nerfgen_ns.runs.run import Run
from nerfgen_ns.utils.files import write_json


@dataclass(frozen=True)
class Photograph:
    """One photograph to fit."""

    name: str
    """Its name in reports."""
    image: Path
    """Its file."""
    matte: Path | None
    """The file of its matte, if it has one."""
    frame: Frame
    """Its camera."""
    identity: int
    """Photographs of one object share one; numbered from 0 without gaps."""
    searched: bool = False
    """Whether the camera is only a usual one of the class, and the true one must be searched."""
    label_map: LabelMap | None = field(default=None, compare=False)
    """What is where in it, by the labels of the run, at the size of the image; None where that is not known.
    """
    is_drawn: bool = False
    """Whether the image is nothing but its label map in colors, and says nothing of the object's own."""
    camera_model: str = "OPENCV"
    """nerfstudio's name of the camera model."""
    notes: tuple[str, ...] = ()
    """Remarks of its capture for a person to read."""


@dataclass(frozen=True)
class Gathered:
    """The photographs that can be fitted, and those that cannot."""

    photographs: list[Photograph]
    rejected: list[Rejection] = field(default_factory=list)
    left_out: list[Rejection] = field(default_factory=list)
    """Other files and folders beside the photographs."""


def read_photographs(path: Path) -> list[Photograph]:
    """Read the photographs of a transforms.json: those with the role "query" or, where none has it, all.

    Raises:
        UsageError: it cannot be used, or a file that it names is missing.
    """
    data = read_transforms(path, allow_outside=True)
    frames = [frame for frame in data.frames if frame.role == "query"] or data.frames
    model = data.head.get("camera_model", Photograph.camera_model)
    photographs = []
    for frame, identity in zip(frames, rows_of_frames(frames), strict=True):
        image = path.parent / frame.file_path
        matte = None if frame.mask_path is None else path.parent / frame.mask_path
        for file in (image, matte):
            if file is not None and not file.is_file():
                raise UsageError(f"{file}: no such file, though {path} names it; prepare the folder again")
        name = frame.source or image.name
        photographs.append(Photograph(name, image, matte, frame, identity, camera_model=model))
    return photographs


def write_folder(
    photographs: Sequence[Photograph], folder: Path, canonical_landmarks: dict[str, Any] | None
) -> None:
    """Write copies of the photographs, in their order, as a prepared folder: a nerfstudio data set.

    Args:
        photographs: all with a matte, or none.
        folder: a folder to be made.
        canonical_landmarks: the contents of the file that goes with it, where the class has any.
    """
    frames = []
    digits = max(4, len(str(len(photographs) - 1)))  # nerfstudio sorts by name
    (folder / "images").mkdir(parents=True)
    for number, photograph in enumerate(photographs):
        image, matte = f"images/{number:0{digits}d}{photograph.image.suffix}", None
        shutil.copyfile(photograph.image, folder / image)
        if photograph.matte is not None:
            matte = f"mattes/{number:0{digits}d}{photograph.matte.suffix}"
            (folder / "mattes").mkdir(exist_ok=True)
            shutil.copyfile(photograph.matte, folder / matte)
        frames.append(
            photograph.frame.same_camera(
                image, mask_path=matte, identity=photograph.identity, source=photograph.name
            )
        )
    write_transforms(folder, frames, {"camera_model": photographs[0].camera_model})
    if canonical_landmarks is not None:
        write_json(folder / CANONICAL_LANDMARKS, canonical_landmarks)


def take_uncaptured(files: Sequence[Path], run: Run, size: int, folder: Path, shows_people: bool) -> Gathered:
    """Read photographs of any object of the class, padded to squares, each an object of its own.

    Mattes come from the model of capture where the class shows people; else from the alpha channel, where all
    photographs have one; else there are none.

    Args:
        files: the photographs.
        run: the trained run; its usual camera is used until the search.
        size: side in pixels of the squares.
        folder: the folder for the squares.
        shows_people: whether the matte model knows the class.
    """
    _, pitch = usual_angles(run.cameras)
    camera = turned_cameras(run.cameras, np.array([[0.0, pitch]]), size)
    kind = "mediapipe" if shows_people else "alpha" if all(map(_has_alpha, files)) else "none"
    mattes = MatteOptions(kind).open() if files else None
    folder.mkdir(parents=True)
    photographs: list[Photograph] = []
    rejected: list[Rejection] = []
    for path in files:
        image_file, matte_file = folder / f"{path.name}.png", folder / f"{path.name}.matte.png"
        try:
            whole = read_photograph(path)
            crop = square_crop(whole.shape[1], whole.shape[0], size)
            image = crop_photograph(whole, crop)
            if mattes is not None:
                Image.fromarray(mattes(path, whole, crop, image)).save(matte_file)
        except RejectedError as error:
            rejected.append(Rejection(path.name, error.reason, error.mend))
            continue
        Image.fromarray(image).save(image_file)
        matte = None if mattes is None else matte_file
        number = len(photographs)
        frame = Frame.of_camera(image_file.name, camera, photograph_to_crop=crop.matrix)
        photographs.append(Photograph(path.name, image_file, matte, frame, number, searched=True))
    return Gathered(photographs, rejected)


def _has_alpha(path: Path) -> bool:
    try:
        return read_alpha(path) is not None
    except RejectedError:
        return False


def with_label_maps(photographs: Sequence[Photograph], folder: Path, run: Run) -> list[Photograph]:
    """Return the photographs with their label maps, from a folder of PNGs; some photographs may have none.

    Raises:
        UsageError: a label map cannot be used, or none is of a photograph; or the run has no labels.
    """
    legend, own = read_legend(folder), run.legend
    crops = [
        MappedPhotograph(
            Path(one.frame.file_path).stem,
            one.name,
            int(one.frame.w),
            int(one.frame.h),
            one.frame.photograph_to_crop,
        )
        for one in photographs
    ]
    maps = list_label_maps(folder, LABEL_MAPS)
    found = match_label_maps(maps, crops, legend)
    return [
        replace(one, label_map=own.renumbered(found[place], legend, folder)) if place in found else one
        for place, one in enumerate(photographs)
    ]


def gather_label_maps(folder: Path, run: Run, config: FitConfig, work: Path) -> Gathered:
    """Read label maps that have no photograph; each is drawn in colors in the place of one.

    Args:
        folder: a folder with cameras in the class frame, whose frames name label maps as `semantic_path`; or
            one of square label maps as the class is photographed, whose cameras are searched.
        run: the trained run, which has labels.
        config: `one_object` and `search_cameras` are used.
        work: an empty folder for the pictures.

    Raises:
        UsageError: the run has no labels, a label map cannot be used, or its camera is not known.
    """
    own = run.legend
    found: list[tuple[Path, Frame, int]] = []
    searched = not transforms_path(folder).is_file()
    if not searched:
        data = read_transforms(folder, allow_outside=True)
        names = data.semantic_labels
        legend = Legend.of_names(names) if names else read_legend(data.path.parent)
        frames = [frame for frame in data.frames if frame.role == "query"] or data.frames
        for frame, identity in zip(frames, rows_of_frames(frames), strict=True):
            if frame.semantic_path is None:
                raise UsageError(
                    f'{data.path}: frame {frame.file_path} has no "semantic_path"; name its label map there'
                )
            found.append((data.path.parent / frame.semantic_path, frame, identity))
    else:
        maps, legend = list_label_maps(folder, LABEL_MAPS), read_legend(folder)
        if not config.search_cameras:
            raise UsageError(
                f"{LABEL_MAPS} {folder}: has no transforms.json, so the cameras are not known; give {SEARCH}"
            )
        _, pitch = usual_angles(run.cameras)
        camera = turned_cameras(run.cameras, np.array([[0.0, pitch]]), stored_size(run))
        found = [
            (path, Frame.of_camera(path.name, camera), place) for place, path in enumerate(maps.values())
        ]
    (work / "drawn").mkdir(parents=True)
    photographs = []
    for place, (path, frame, identity) in enumerate(found):
        size = MappedPhotograph(path.stem, path.name, int(frame.w), int(frame.h))
        labels = read_label_map(path, legend)
        if searched and labels.shape[0] == labels.shape[1]:
            labels = shrink_label_map(labels, size.width, size.height)
        labels = own.renumbered(label_map_of_crop(path, labels, size), legend, path)
        drawn = work / "drawn" / f"{place:04d}.png"
        Image.fromarray(own.picture(labels)).save(drawn)
        photographs.append(
            Photograph(
                frame.source or path.name,
                drawn,
                None,
                frame,
                0 if config.one_object else identity,
                searched=searched,
                label_map=labels,
                is_drawn=True,
            )
        )
    return Gathered(photographs)


LABEL_MAPS = "--label-maps"
SEARCH = "--search-cameras, which finds cameras by rendering"
OF_FOLDERS = "name such folders in --images themselves"


def gather(images: Sequence[Path], run: Run, config: FitConfig, work: Path) -> Gathered:
    """Collect the photographs to fit.

    Args:
        images: photographs and folders of photographs; or one folder with cameras in the class frame of the
            run (or its transforms.json), see `read_photographs`.
        run: the trained run.
        config: `one_object` and `search_cameras` are used here.
        work: an empty folder for files made from the photographs.

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


def _face_landmarks_of(run: Run) -> dict[str, Any] | None:
    """Return the class's canonical landmarks if they are those that are detected in photographs of faces."""
    canonical = run.record.canonical_landmarks
    return canonical if canonical and len(canonical.get("landmarks", ())) == LANDMARK_COUNT else None


def stored_size(run: Run) -> int:
    """Return the side in pixels of the photographs that a run was trained on, as they are stored."""
    return int(run.cameras.height.max())


@dataclass(frozen=True)
class _Linked:
    """Links to all photographs in one folder, and what else was named or was beside them."""

    folder: Path
    photographs: list[Path]
    """The links."""
    rejected: list[Rejection]
    left_out: list[Rejection]

    def without_folder(self, error: NerfgenError) -> str:
        """Return the message of an error and what was rejected.

        The folder of links is removed from it: the user does not know that folder.
        """
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
    name = Path(file.name.lstrip(".") or "photograph")  # the link to a hidden file is not hidden
    link, number = folder / name, 1
    while link.is_symlink():
        link = folder / f"{name.stem}-{number}{name.suffix}"
        number += 1
    os.symlink(os.path.abspath(file), link)


def _capture(linked: _Linked, run: Run, search_cameras: bool, work: Path) -> Gathered:
    """Prepare photographs with the cameras of their landmarks.

    Where cameras are searched, photographs without landmarks are taken as well.
    """
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


def _with_landmarks(
    linked: _Linked, canonical: dict[str, Any], run: Run, search_cameras: bool, work: Path
) -> Gathered:
    write_json(work / CANONICAL_LANDMARKS, canonical)
    config = PrepareConfig(
        data=linked.folder,
        output_dir=work / "captured",
        size=stored_size(run),
        canonical_landmarks=work / CANONICAL_LANDMARKS,
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
        for photograph in read_photographs(transforms_path(report.path.parent))
    ]
    return Gathered(photographs, report.rejected)


def _without_search(linked: _Linked) -> NerfgenError:
    """Return the error for photographs of a class without landmarks.

    It asks for a search of cameras for those that can be read.
    """
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
    """Return the rejection of a photograph; if it can be read, name the search of cameras as a solution."""
    if _why_unreadable(folder / rejection.source) is not None:
        return rejection
    return replace(rejection, mend=f"{rejection.mend}, or give {SEARCH}")


def _why_unreadable(path: Path) -> Rejection | None:
    try:
        read_photograph(path)
    except RejectedError as error:
        return Rejection(printable(path.name), error.reason, error.mend)
    return None
