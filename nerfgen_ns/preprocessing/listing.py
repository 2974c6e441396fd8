"""Which files of a folder are photographs, which are left out, and whose photograph each is."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Int

from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.photographs import (
    RAW_SUFFIXES,
    SUFFIXES,
    RejectedError,
    check_kind,
    is_photograph,
)


def read_csv(
    path: Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield rows of a CSV file with a header: line number, counted from 1, and each column's stripped field.

    Optional columns that the file lacks are left out; empty lines are skipped. The file is UTF-8, with or
    without a byte order mark; fields may be quoted.

    Raises:
        UsageError: the file cannot be read, lacks a column, has an unknown one, or a row has too few or too
            many fields.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.reader(file)
            header = [name.strip().lower() for name in next(rows, [])]
            known = [*columns, *optional]
            if not set(columns) <= set(header) <= set(known) or len(set(header)) != len(header):
                expected = ",".join(columns) + "".join(f"[,{name}]" for name in optional)
                raise UsageError(
                    f"{path}: row 1 is {','.join(header)!r}; it has to name the columns {expected}"
                )
            for fields in rows:
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise UsageError(
                        f"{path}: row {rows.line_num} has {len(fields)} fields and not {len(header)}: "
                        f"{','.join(header)}"
                    )
                yield rows.line_num, dict(zip(header, map(str.strip, fields), strict=True))
    except (OSError, csv.Error) as error:
        raise UsageError(f"{path}: not a readable CSV file ({error})") from error


def check_names(path: Path, rows: dict[str, str], names: Sequence[str]) -> None:
    """Make sure that every image that a file names is one of the photographs.

    Args:
        rows: where in the file each image is named first, for the message.
        names: of the photographs.

    Raises:
        UsageError: an image is none of them.
    """
    strange = sorted(rows.keys() - set(names))
    if strange:
        more = f", and {len(strange) - 1} more images" if len(strange) > 1 else ""
        raise UsageError(
            f"{path}: {rows[strange[0]]}: no photograph is named {strange[0]!r}{more}; write names of "
            f"photographs, such as {names[0]!r}"
        )


LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin")
"""What systems leave in folders of photographs, beside files whose names begin with a dot."""
LISTED_BY_NAME = (*SUFFIXES, *RAW_SUFFIXES)
MOST_COUNTED = 100_000
RECURSIVE = "give --recursive to take them too"


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that is not treated as a photograph."""

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
    """List the photographs in `folder` by name, and what is left out.

    A file counts as a photograph if its suffix says so, even if it turns out to be damaged, a broken link or
    a pipe. With any other name it counts if it begins like a photograph.

    Args:
        recursive: whether to include the photographs in folders below; links to folders are followed.
        of_folders: what a person does to include them, for the messages.
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
    """List the photographs alone, see `list_folder`."""
    return list_folder(folder, recursive).photographs


def name_in(folder: Path | None, photograph: Path) -> str:
    """Return the name of a photograph: its path below `folder` if it is there, otherwise its file's name."""
    if folder is not None and photograph.is_relative_to(folder):
        return photograph.relative_to(folder).as_posix()
    return photograph.name


def names_in(folder: Path | None, photographs: Sequence[Path]) -> list[str]:
    """Return the name of each photograph, see `name_in`."""
    return [name_in(folder, photograph) for photograph in photographs]


@dataclass(frozen=True)
class _Lister:
    listing: Listing
    recursive: bool
    of_folders: str
    mattes: tuple[int, int] | None

    def add(self, folder: Path, around: set[tuple[int, int]]) -> None:
        """Add what a folder holds. `around` has the `_identity` of the folder and of those around it."""
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
    """Count the photographs in a folder and the folders below it, up to `MOST_COUNTED`."""
    return sum(1 for _ in islice(_photographs_in(folder), MOST_COUNTED))


def _photographs_in(folder: Path) -> Iterator[Path]:
    """Yield files in and below a folder named like photographs; links to folders are not followed."""
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


def read_identity_file(
    path: Path, photographs: Sequence[Path], folder: Path | None = None
) -> Int[np.ndarray, " n"]:
    """Read the identity of each photograph, numbered from 0 in the order of the photographs.

    The file has the columns `image` (name of a photograph, see `listing.name_in`) and `identity` (any name or
    number). A photograph that it does not list shows an object of its own.

    Args:
        folder: where the photographs are; None: the file names them by their files' names alone.

    Raises:
        UsageError: the file is unreadable, names an image twice or one that is no photograph, or leaves an
            identity empty.
    """
    labels: dict[str, str] = {}
    rows: dict[str, str] = {}
    for number, row in read_csv(path, ("image", "identity")):
        image = row["image"]
        if not row["identity"]:
            raise UsageError(
                f"{path}: row {number}: {image!r} has no identity; give one or leave the row out"
            )
        if image in rows:
            raise UsageError(
                f"{path}: row {number}: {image!r} is listed in {rows[image]} already; leave one out"
            )
        labels[image], rows[image] = row["identity"], f"row {number}"
    names = names_in(folder, photographs)
    check_names(path, rows, names)
    numbers: dict[object, int] = {}
    return np.array(
        [
            # A photograph that is not listed has its place as its label, which equals no text in the file.
            numbers.setdefault(labels.get(name, place), len(numbers))
            for place, name in enumerate(names)
        ],
        dtype=np.int64,
    )
