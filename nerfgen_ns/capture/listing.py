"""Which files of a folder are taken for photographs, and what is left out: every file is one or the other."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nerfgen_ns.capture.photographs import RAW_SUFFIXES, SUFFIXES, RejectedError, check_kind, is_photograph
from nerfgen_ns.errors import UsageError

LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin")
"""What systems leave in folders of photographs, beside files whose names begin with a dot."""
LISTED_BY_NAME = (*SUFFIXES, *RAW_SUFFIXES)
MOST_COUNTED = 10_000
RECURSIVE = "give --recursive to take them too"


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that is not taken for a photograph."""

    path: Path
    reason: str
    mend: str


@dataclass(frozen=True)
class Listing:
    """What a folder holds."""

    photographs: list[Path] = field(default_factory=list)
    """All that claim to be one, by their name or their first bytes; reading them tells which can be used."""
    left_out: list[LeftOut] = field(default_factory=list)
    """All others."""


def list_folder(folder: Path, recursive: bool = False, of_folders: str = RECURSIVE) -> Listing:
    """The photographs in `folder` by name, and what is left out.

    A file is taken for a photograph where its suffix says so, even if it turns out to be damaged, a broken
    link or a pipe, and with any other name where it begins like one.

    Args:
        recursive: whether the photographs in folders below are taken too; links to folders are followed.
        of_folders: what a person does to have them taken, for the messages.

    Raises:
        UsageError: the folder is missing or cannot be read, or it holds nothing that can be read.
    """
    folder = Path(folder)
    listing = Listing()
    try:
        _list_into(listing, folder, recursive, of_folders, {_identity(folder)})
    except OSError as error:
        raise UsageError(f"{folder}: not a readable folder of photographs ({error.strerror})") from error
    _check_some(listing, folder, of_folders)
    return listing


def list_photographs(folder: Path, recursive: bool = False) -> list[Path]:
    """The photographs alone, see `list_folder`."""
    return list_folder(folder, recursive).photographs


def name_in(folder: Path | None, photograph: Path) -> str:
    """What a photograph is called: its file's name, below `folder` with the folders on the way to it."""
    if folder is not None and photograph.is_relative_to(folder):
        return photograph.relative_to(folder).as_posix()
    return photograph.name


def names_in(folder: Path | None, photographs: Sequence[Path]) -> list[str]:
    """What each photograph is called, see `name_in`."""
    return [name_in(folder, photograph) for photograph in photographs]


def _list_into(
    listing: Listing, folder: Path, recursive: bool, of_folders: str, around: set[tuple[int, int]]
) -> None:
    """Add what a folder holds. `around` are the folders that it is in, by device and number, and itself."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    stems = {Path(entry.name).stem for entry in found if entry.name.lower().endswith(SUFFIXES)}
    for entry in found:
        path = folder / entry.name
        suffix = path.suffix.lower()
        if entry.name.startswith(".") or entry.name.lower() in LITTER:
            listing.left_out.append(LeftOut(path, "is hidden, or left there by the system", "leave it there"))
        elif _is_folder(entry):
            if not recursive:
                listing.left_out.append(_folder_left_out(path, of_folders))
            elif _identity(path) in around:
                reason = "is a link to a folder that it is in"
                listing.left_out.append(LeftOut(path, reason, "leave it there, or remove it"))
            else:
                try:
                    _list_into(listing, path, recursive, of_folders, around | {_identity(path)})
                except OSError as error:
                    reason = f"is a folder that cannot be read ({error.strerror})"
                    listing.left_out.append(LeftOut(path, reason, "allow reading it"))
        elif suffix in RAW_SUFFIXES and path.stem in stems:
            listing.left_out.append(
                LeftOut(path, "is the raw file of a photograph beside it", "leave it there, or remove it")
            )
        elif suffix in LISTED_BY_NAME or (_is_file(entry) and is_photograph(path)):
            listing.photographs.append(path)
        else:
            listing.left_out.append(
                LeftOut(path, "is no photograph", "if it holds one, save that as JPEG or PNG")
            )


def _check_some(listing: Listing, folder: Path, of_folders: str) -> None:
    """Make sure that the kind of at least one photograph is known."""
    first: RejectedError | None = None
    for photograph in listing.photographs:
        try:
            check_kind(photograph)
            return
        except RejectedError as error:
            first = first or error
    if first is not None:
        photograph, others = listing.photographs[0], len(listing.photographs) - 1
        more = f", and the {others} others cannot be read either" if others else ""
        raise UsageError(f"{photograph}: {first.reason}; {first.mend}{more}")
    filled = [path for path in _below(folder) if any(_photographs_in(path))]
    if filled:
        some = ", ".join(f"{path.name}/" for path in filled[:3]) + (" …" if filled[3:] else "")
        raise UsageError(
            f"{folder}: no photographs in it, but in the folders below it ({some}); {of_folders}"
        )
    raise UsageError(f"{folder}: no photographs in it; it takes files that end in {' '.join(SUFFIXES)}")


def _folder_left_out(path: Path, of_folders: str) -> LeftOut:
    count = 0
    for _ in _photographs_in(path):
        count += 1
        if count == MOST_COUNTED:
            break
    if count == 0:
        return LeftOut(path, "is a folder without photographs", "leave it there")
    many = f"{'at least ' if count == MOST_COUNTED else ''}{count} photograph{'s' if count > 1 else ''}"
    return LeftOut(path, f"is a folder with {many}", of_folders)


def _photographs_in(folder: Path) -> Iterator[Path]:
    """Files in and below a folder that are named like photographs; links to folders are not followed."""
    for parent, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".") and name.lower() not in LITTER]
        yield from (
            Path(parent, name)
            for name in files
            if name.lower().endswith(LISTED_BY_NAME) and not name.startswith(".")
        )


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
