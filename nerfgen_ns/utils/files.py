"""Write files and folders whole: an interruption leaves either the old one or the new one, complete."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import secrets
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nerfgen_ns.errors import NerfgenError, UsageError


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, renamed to `path` when the block ends well and removed otherwise.

    The temporary name keeps the suffix, so that encoders which choose a format by it still do.

    Raises:
        NerfgenError: the folder cannot be written to, or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Made in the usual way, so that its permissions are the usual ones; those of mkstemp are not.
        temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
        temporary.touch(exist_ok=False)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise NerfgenError(
            f"{path}: cannot be written ({error.strerror or error}); choose another place or free some space"
        ) from error


def cache_folder() -> Path:
    """Return where nerfgen keeps files that it can make again: `nerfgen` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nerfgen"


def writable_cache_folder() -> Path:
    """Return `cache_folder`, made where it was missing.

    Raises:
        NerfgenError: there is no home, or nothing can be written into the folder.
    """
    folder = None
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NerfgenError(
            f"{folder or 'the cache folder'}: cannot be written ({reason}); "
            "set XDG_CACHE_HOME to a folder that can be"
        ) from error
    return folder


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path`, whole or not at all. NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UsageError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        raise UsageError(f"{path}: not a readable JSON file ({error}); make it again") from error


def hash_of(parts: Iterable[bytes | str]) -> str:
    """Return the SHA-256 of the parts, end to end, in hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        # Names of files may contain bytes that are not text.
        digest.update(os.fsencode(part) if isinstance(part, str) else part)
    return digest.hexdigest()


def hash_of_value(value: Any) -> str:
    """Return `hash_of` a value that JSON can hold; the order of a dictionary's keys does not matter."""
    return hash_of([json.dumps(value, sort_keys=True)])


HEAD = 64 * 1024
"""Bytes at the beginning of a file that `digest_of` covers, besides its size."""


def digest_of(file: Path) -> int:
    """Return a number that changes with a file's size or beginning; 0 where there is no such file.

    It reads little of a large file, so that checking a whole collection of photographs takes a moment.
    """
    try:
        with file.open("rb") as opened:
            head = opened.read(HEAD)
            size = file.stat().st_size
    except OSError:
        return 0
    digest = hashlib.blake2b(size.to_bytes(8, "little") + head, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What libraries raise for files that are cut off, changed, or made to mislead."""


@contextmanager
def read_whole(path: Path, fix: str) -> Iterator[None]:
    """Run the block that reads a file, and turn what libraries raise for a damaged one into one line.

    Args:
        path: the file, for the message.
        fix: what to do, for the message.

    Raises:
        UsageError, NerfgenError: from the block, with the file's name.
        NerfgenError: the file is damaged.
    """
    try:
        yield
    except NerfgenError as error:
        if str(path.parent) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise NerfgenError(f"{path}: is damaged ({reason}); {fix}") from error


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
    """Run the block with errors that name files by the folder's final place; other files keep theirs."""
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
