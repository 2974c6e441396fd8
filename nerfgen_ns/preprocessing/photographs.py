"""A photograph in a file of any kind as an upright RGB array."""

import os
import stat
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from nerfgen_ns.preprocessing.image_formats import (
    ORIENTATION,
    deep_tiff_size,
    from_values,
    is_deep,
    is_tiff,
    read_deep_png,
    read_deep_tiff,
    to_srgb,
    with_tags,
)
from nerfgen_ns.utils.files import hash_of

SUFFIXES = (
    ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp",
    ".avif", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jp2", ".jpe", ".ppm",
)  # fmt: skip
RAW_SUFFIXES = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos",
    ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
"""What cameras write before any development. Most are TIFF with a small preview, which Pillow would read."""
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "PSD", "TIFF", "WEBP")
"""Pillow's names of the formats of photographs. Its other readers call programs, or accept anything."""
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
"""HEIF with HEVC in it. Its container alone, mif1, may hold AV1 as well, which is AVIF and Pillow's."""
FORBIDDEN = "cannot be read"
HEIF_REASON = "is HEIC, which needs the package pillow-heif"
LONGEST_SIDE = 2048
"""Larger photographs are read at this size: the crops are far smaller, and the memory stays bounded."""
LONGEST_SIDE_LARGE = 8192
"""Where a small part of a photograph is wanted it is read larger: up to 50 megapixels, or 150 MB."""
SHORTEST_SIDE = 32
SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""


class RejectedError(Exception):
    """A photograph that cannot be used, with the reason and what to do about it."""

    def __init__(self, reason: str, mend: str) -> None:
        super().__init__(reason, mend)
        self.reason = reason
        self.mend = mend


def read_photograph(path: Path, longest_side: int = LONGEST_SIDE) -> UInt8[np.ndarray, "height width 3"]:
    """Read any photograph as upright 8-bit sRGB, no side longer than `longest_side`.

    EXIF rotation and the ICC profile are applied. Transparent parts become white. 16-bit and floating-point
    values are scaled to 8 bits. An animation gives its first frame. HEIC needs the package pillow-heif.

    Raises:
        RejectedError: not an image, damaged, of a kind that cannot be read, or too small to hold a face.
    """
    upright = read_upright(path, longest_side)
    if min(upright.size) < SHORTEST_SIDE:
        width, height = upright.size
        raise RejectedError(
            f"{width}×{height} pixels are too few", f"use one of at least {SHORTEST_SIDE} pixels a side"
        )
    upright.thumbnail((longest_side, longest_side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return np.asarray(to_srgb(upright))


def read_alpha(path: Path) -> UInt8[np.ndarray, "height width"] | None:
    """Read the alpha channel of a photograph, upright, at the size of `read_photograph`; None if it has none.

    Raises:
        RejectedError: see `read_photograph`.
    """
    upright = read_upright(path)
    if not upright.has_transparency_data:
        return None
    alpha = upright.convert("RGBA").getchannel("A")
    alpha.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return np.asarray(alpha)


def upright_size(path: Path) -> tuple[int, int] | None:
    """Return width and height of the upright photograph in its file, before `read_photograph` scales it down.

    Only the file's header is read. None if it is no image: reading it then says why.
    """
    try:
        check_kind(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if _is_heif(path):
                return _open_heif(path).size
            if is_tiff(path):
                *size, orientation = deep_tiff_size(path)
            else:
                with Image.open(path, formats=_formats()) as image:
                    size = list(image.size)
                    # Asking a PNG file for tags decodes it whole, because some may follow its pixels.
                    known = image.format != "PNG" or "exif" in image.info
                    orientation = image.getexif().get(ORIENTATION, 1) if known else 1
    except Exception:  # decoders raise whatever they like on damaged files
        return None
    width, height = size
    return (height, width) if orientation in SIDEWAYS else (width, height)


def is_photograph(path: Path) -> bool:
    """Return whether a file of any name begins like a photograph."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not path.is_file():  # reading a pipe would wait
                return False
            if _is_heif(path) or is_tiff(path):
                return True
            with Image.open(path, formats=_formats()):
                return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # decoders raise whatever they like on damaged files
        return False


def check_kind(path: Path) -> None:
    """Check what a file is, without decoding it; pipes are not opened, because that would wait forever.

    Raises:
        RejectedError: it is a broken link, no regular file, or of a kind that nothing here can read.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if os.path.islink(path):
            raise RejectedError(_link_fault(path), "let it lead to a photograph, or remove it") from error
        raise RejectedError(f"cannot be read ({error.strerror})", "allow reading it, or remove it") from error
    if stat.S_ISDIR(mode):
        raise RejectedError("is a folder, not a photograph", "give another name to it")
    if not stat.S_ISREG(mode):
        raise RejectedError("is a pipe or a device, not a file", "remove it")
    if path.suffix.lower() in RAW_SUFFIXES:
        raise RejectedError(
            "is a camera's raw file, which is not developed here",
            "develop it and save it as JPEG or TIFF",
        )
    try:
        unreadable = _is_heif(path) and not _reads_heif()
    except OSError as error:
        raise RejectedError(FORBIDDEN, "allow reading it") from error
    if unreadable:
        raise RejectedError(HEIF_REASON, "pip install pillow-heif, or save it as JPEG")


def stamp_of(path: Path) -> str:
    """Return size and date of a file, or of a link that leads nowhere: they change whenever it does."""
    try:
        status = os.stat(path)
    except OSError:
        status = os.lstat(path)
    return f"{status.st_size}|{status.st_mtime_ns}"


def stamps_of(paths: Sequence[Path]) -> list[str]:
    """Return the stamp of each file, with a hash of its content if several have the same size and date."""
    stamps = [stamp_of(path) for path in paths]
    count = Counter(stamps)
    return [
        stamp if count[stamp] == 1 else f"{stamp}|{_digest_of(path)}"
        for path, stamp in zip(paths, stamps, strict=True)
    ]


def readable_now(path: Path, reason: str) -> bool:
    """Return whether the reason for rejecting a photograph is gone by now, though its file is the same."""
    if reason == HEIF_REASON:
        return _reads_heif()
    return reason.startswith(FORBIDDEN) and os.access(path, os.R_OK)


def read_upright(path: Path, longest_side: int = LONGEST_SIDE) -> Image.Image:
    """Read an image upright, in 8 bits a channel of its own color mode; it may be larger than `longest_side`.

    Raises:
        RejectedError: see `read_photograph`.
    """
    check_kind(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(path, longest_side)
    except RejectedError:
        raise
    except UnidentifiedImageError as error:
        raise RejectedError(
            "not an image, whatever its name says", "replace it with a photograph or remove it"
        ) from error
    except PermissionError as error:
        raise RejectedError(FORBIDDEN, "allow reading it") from error
    except Image.DecompressionBombError as error:
        raise RejectedError("more pixels than can be read safely", "scale it down") from error
    except Exception as error:  # decoders raise whatever they like on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RejectedError(
            f"damaged or truncated ({reason})", "copy it again from where it came from"
        ) from error


def _decode(path: Path, longest_side: int) -> Image.Image:
    if _is_heif(path):
        return _upright(_decode_heif(path))
    # Given a path, Pillow maps some TIFF files into memory, and mixes up the rows of those on their side.
    with path.open("rb") as file:
        try:
            image = Image.open(file, formats=_formats())
        except UnidentifiedImageError:
            if is_tiff(path):
                return _upright(read_deep_tiff(path))
            raise
        if is_deep(image) and image.format == "TIFF":
            return _upright(read_deep_tiff(path))
        if is_deep(image):
            tags = image.getexif().get(ORIENTATION, 1), image.info.get("icc_profile")
            return _upright(with_tags(read_deep_png(path), *tags))
        image.draft("RGB", (longest_side, longest_side))
        image.load()
        if image.mode.startswith(("I", "F")):
            return _upright(from_values(np.asarray(image)))
        return _upright(image)


def _upright(image: Image.Image) -> Image.Image:
    """Turn the image as its EXIF tags say, in a mode that can be scaled: without palette or key color."""
    ImageOps.exif_transpose(image, in_place=True)
    mode = {"1": "L", "P": "RGB"}.get(image.mode, image.mode)
    if image.has_transparency_data:
        mode = "LA" if image.mode in ("1", "L", "LA", "La") else "RGBA"
    return image if mode == image.mode else image.convert(mode)


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """Return those of `FORMATS` that this Pillow knows."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _is_heif(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(64)
    brands = head[8 : int.from_bytes(head[:4], "big")]
    return head[4:8] == b"ftyp" and any(brand in brands for brand in HEIF_BRANDS)


def _reads_heif() -> bool:
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        return False
    return True


def _decode_heif(path: Path) -> Image.Image:
    try:
        return _open_heif(path).to_pillow()
    except (RuntimeError, OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise RejectedError(f"is HEIC that cannot be decoded ({reason})", "save it as JPEG") from error


def _open_heif(path: Path):  # type: ignore[no-untyped-def]
    import pillow_heif

    return pillow_heif.open_heif(path)


def _digest_of(path: Path) -> str:
    try:
        check_kind(path)
        return hash_of([path.read_bytes()])[:16]
    except (OSError, RejectedError):
        return ""


def _link_fault(path: Path) -> str:
    seen = set()
    while os.path.islink(path):
        if path in seen:
            return "is a link that leads to itself"
        seen.add(path)
        path = Path(os.path.abspath(path.parent / os.readlink(path)))
    return f"is a link to {path.name}, which is not there"
