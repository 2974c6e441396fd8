"""Writing folders so that an interruption leaves the old folder or the new one, never half of either."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nerfgen_ns.errors import NerfgenError, UsageError


@contextmanager
def replace_folder(folder: Path, is_own: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`, renamed to it when the block ends well and removed otherwise.

    Args:
        folder: a folder that is not there, or is empty, or may be replaced.
        is_own: whether a folder that is there may be replaced.

    Raises:
        UsageError: the folder holds something else.
        NerfgenError: it cannot be written.
    """
    folder = Path(os.path.abspath(folder))
    try:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: is a file; choose another folder")
        if folder.exists() and any(folder.iterdir()) and not is_own(folder):
            raise UsageError(f"{folder}: holds something that is not ours; choose another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            made, former = Path(temporary) / "made", Path(temporary) / "former"
            made.mkdir()
            with _named_as_it_will_be(made, folder):
                yield made
            try:
                if folder.exists():
                    folder.rename(former)
                made.rename(folder)
            finally:
                if not folder.exists() and former.exists():
                    former.rename(folder)
    except OSError as error:
        raise NerfgenError(
            f"{folder}: cannot be written ({error.strerror or error}); "
            "choose another folder or free some space"
        ) from error


@contextmanager
def _named_as_it_will_be(made: Path, folder: Path) -> Iterator[None]:
    """Let errors name files of the folder where it will lie, not where it is made, and other files too."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(error.filename).is_relative_to(made):
            raise
        raise NerfgenError(
            f"{error.filename}: cannot be used ({error.strerror}); allow it, or choose another"
        ) from error
    except NerfgenError as error:
        raise type(error)(str(error).replace(str(made), str(folder))) from error
