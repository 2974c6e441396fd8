"""The pixels of a data set in one file, read page by page: more of them than memory holds."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from filelock import FileLock
from jaxtyping import Int, UInt8, UInt32

from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.files import replace_file

PAGE = 1024
"""Pixels that are read together: four kilobytes, what a disk reads at least."""


class PixelFile:
    """Pixels of four bytes each in a file; after them, 1 if there are mattes.

    What was read stays in the system's cache, which it takes back when memory is needed elsewhere. The file
    is read rather than mapped: of a mapped file each page that is touched counts as memory of the process,
    with as many as 512 around it.

    Args:
        path: a file that `write` made.
        count: how many pixels are in it.

    Raises:
        NerfgenError: it is shorter than that.
    """

    def __init__(self, path: Path, count: int) -> None:
        self._file = path.open("rb")
        self._pixels = count
        flag = np.empty(1, dtype=np.uint32)
        self._read(flag, 4 * self._pixels)
        self.has_mattes = bool(flag[0])
        """Whether the fourth byte of each pixel is a matte."""

    def take(self, places: Int[np.ndarray, "pixels"]) -> UInt8[np.ndarray, "pixels 4"]:
        """The pixels at places, counted from the beginning of the file.

        All pages are asked for before the first is waited for, so that a disk serves many at once.
        """
        handle = self._file.fileno()
        pages, page_of_place = np.unique(places // PAGE, return_inverse=True)
        if hasattr(os, "posix_fadvise"):
            for page in pages.tolist():
                os.posix_fadvise(handle, 4 * PAGE * page, 4 * PAGE, os.POSIX_FADV_WILLNEED)
        content = np.empty((len(pages), PAGE), dtype=np.uint32)
        for place, page in enumerate(pages.tolist()):
            self._read_page(content[place], page)
        return content[page_of_place, places % PAGE].view(np.uint8).reshape(-1, 4)

    def _read_page(self, page: UInt32[np.ndarray, "pixels"], number: int) -> None:
        """Read one page; the last of the file may be shorter, and what it lacks stays as it is."""
        begin = PAGE * number
        self._read(page[: self._pixels - begin], 4 * begin)

    def _read(self, values: UInt32[np.ndarray, "pixels"], begin: int) -> None:
        """Fill values from a byte of the file on. The system may give less than it is asked for.

        Raises:
            NerfgenError: the file ends before, or cannot be read.
        """
        wanted = memoryview(values.data).cast("B")
        done = 0
        try:
            while done < len(wanted):
                read = os.preadv(self._file.fileno(), [wanted[done:]], begin + done)
                if read == 0:
                    raise EOFError("it is shorter than it was")
                done += read
        except (OSError, EOFError) as error:
            raise NerfgenError(
                f"{self._file.name}: the pixels cannot be read ({error}); delete the file and train again"
            ) from error


def write(path: Path, count: int, images: Iterable[tuple[UInt8[np.ndarray, "pixels 4"], bool]]) -> None:
    """Write a file of `count` pixels, unless it is there; another process that wants it too waits.

    Args:
        path: where.
        count: how many pixels the images have together.
        images: the pixels of one image after another, and whether it has a matte.

    Raises:
        NerfgenError: the disk has no room for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists() and path.stat().st_size == 4 * (count + 1):
            return
        free = shutil.disk_usage(path.parent).free
        if 4 * count > free:
            raise NerfgenError(
                f"{path.parent}: the pixels take {4 * count / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
                "choose another --pipeline.datamanager.pixel-folder or a larger "
                "--pipeline.datamanager.dataparser.downscale-factor"
            )
        have_mattes = True
        with replace_file(path) as temporary, temporary.open("wb") as file:
            for pixels, has_matte in images:
                file.write(np.ascontiguousarray(pixels).data)
                have_mattes &= has_matte
            file.write(np.uint32(have_mattes).tobytes())


def name_of(files: Iterable[Path], *arrays: Int[np.ndarray, "..."]) -> str:
    """A name that is another when one of the files has changed, or one of the arrays."""
    digest = hashlib.sha256()
    for file in files:
        try:
            status = file.stat()
            digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        except OSError:
            # Reading it says so, or gray stands in for it.
            digest.update(f"{file}\0\n".encode())
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()[:20]
