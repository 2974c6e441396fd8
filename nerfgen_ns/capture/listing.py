"""Which files of a folder are taken for photographs, and what is left out: every file is one or the other."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from nerfgen_ns.capture.photographs import RAW_SUFFIXES, SUFFIXES, RejectedError, check_kind, is_photograph
from nerfgen_ns.errors import UsageError

LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin")
"""What systems leave in folders of photographs, beside files whose names begin with a dot."""
LISTED_BY_NAME = (*SUFFIXES, *RAW_SUFFIXES)
MOST_COUNTED = 100_000
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


def list_folder(
    folder: Path, recursive: bool = False, of_folders: str = RECURSIVE, mattes: Path | None = None
) -> Listing:
    """The photographs in `folder` by name, and what is left out.

    A file is taken for a photograph where its suffix says so, even if it turns out to be damaged, a broken
    link or a pipe, and with any other name where it begins like one.

    Args:
        recursive: whether the photographs in folders below are taken too; links to folders are followed.
        of_folders: what a person does to have them taken, for the messages.
        mattes: the folder of the mattes, which may be below.

    Raises:
        UsageError: the folder is missing or cannot be read, or it holds nothing that can be read.
    """
    folder = Path(folder)
    lister = _Lister(Listing(), recursive, of_folders, None if mattes is None else _identity(mattes))
    try:
        lister.add(folder, {_identity(folder)})
    except OSError as error:
        raise UsageError(f"{folder}: not a readable folder of photographs ({error.strerror})") from error
    _check_some(lister.listing, folder, of_folders)
    return lister.listing


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


@dataclass(frozen=True)
class _Lister:
    listing: Listing
    recursive: bool
    of_folders: str
    mattes: tuple[int, int] | None

    def add(self, folder: Path, around: set[tuple[int, int]]) -> None:
        """Add what a folder holds. `around` are the folders that it is in, and itself, by `_identity`."""
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        stems = {Path(entry.name).stem for entry in found if entry.name.lower().endswith(SUFFIXES)}
        for entry in found:
            path = folder / entry.name
            suffix = path.suffix.lower()
            if entry.name.startswith(".") or entry.name.lower() in LITTER:
                self._leave_out(path, "is hidden, or left there by the system", "leave it there")
            elif _is_folder(entry):
                self._add_folder(path, around)
            elif suffix in RAW_SUFFIXES and path.stem in stems:
                reason = "is the raw file of a photograph beside it"
                self._leave_out(path, reason, "leave it there, or remove it")
            elif suffix in LISTED_BY_NAME or (_is_file(entry) and is_photograph(path)):
                self.listing.photographs.append(path)
            else:
                self._leave_out(path, "is no photograph", "if it holds one, save that as JPEG or PNG")

    def _add_folder(self, path: Path, around: set[tuple[int, int]]) -> None:
        identity = _identity(path)
        if identity == self.mattes:
            self._leave_out(path, "is the folder of the mattes", "leave it there")
        elif not self.recursive:
            count = _count_photographs(path)
            many = f"{count} photographs" if count > 1 else f"{count or 'no'} photograph{'s' * (count == 0)}"
            self._leave_out(path, f"is a folder with {many}", self.of_folders if count else "leave it there")
        elif identity in around:
            self._leave_out(path, "is a link to a folder that it is in", "leave it there, or remove it")
        else:
            try:
                self.add(path, around | {identity})
            except OSError as error:
                reason = f"is a folder that cannot be read ({error.strerror})"
                self._leave_out(path, reason, "allow reading it")

    def _leave_out(self, path: Path, reason: str, mend: str) -> None:
        self.listing.left_out.append(LeftOut(path, reason, mend))


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


def _count_photographs(folder: Path) -> int:
    """How many photographs a folder and those below it hold, up to `MOST_COUNTED`."""
    return sum(1 for _ in islice(_photographs_in(folder), MOST_COUNTED))


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
