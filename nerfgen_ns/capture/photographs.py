"""Photographs on disk: which files count as one, and how any of them becomes an upright RGB array."""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from nerfgen_ns.errors import UsageError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
LONGEST_SIDE = 2048
"""Larger photographs are read at this size: the crops are far smaller, and the memory stays bounded."""
LONGEST_SIDE_LARGE = 8192
"""Where a small part of a photograph is wanted it is read larger: up to 50 megapixels, or 150 MB."""
SHORTEST_SIDE = 32
ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""


class RejectedError(Exception):
    """A photograph that cannot be used, with the reason and the mend."""

    def __init__(self, reason: str, mend: str) -> None:
        super().__init__(reason, mend)
        self.reason = reason
        self.mend = mend


def list_photographs(folder: Path) -> list[Path]:
    """The photographs directly in `folder`, by name; hidden files and other suffixes are passed over.

    Raises:
        UsageError: no such folder, or no photograph in it.
    """
    try:
        files = sorted(path for path in Path(folder).iterdir() if path.is_file())
    except OSError as error:
        raise UsageError(f"{folder}: not a readable folder of photographs ({error.strerror})") from error
    photographs = [
        path for path in files if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    if not photographs:
        raise UsageError(f"{folder}: no photographs in it; it takes files that end in {' '.join(SUFFIXES)}")
    return photographs


def read_photograph(path: Path, longest_side: int = LONGEST_SIDE) -> UInt8[np.ndarray, "height width 3"]:
    """Read any photograph as upright 8-bit RGB, no side longer than `longest_side`.

    EXIF rotation is applied; transparency is laid over white; 16-bit and floating-point values are scaled
    to 8 bits; of an animation the first frame is taken.

    Raises:
        RejectedError: not an image, damaged, or too small to hold a face.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                image.draft("RGB", (longest_side, longest_side))
                image.load()
                upright = ImageOps.exif_transpose(_to_rgb(image))
    except UnidentifiedImageError as error:
        raise RejectedError(
            "not an image, whatever its name says", "replace it with a photograph or remove it"
        ) from error
    except PermissionError as error:
        raise RejectedError("cannot be read", "allow reading it") from error
    except Image.DecompressionBombError as error:
        raise RejectedError("more pixels than can be read safely", "scale it down") from error
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise RejectedError(
            f"damaged or truncated ({error})", "copy it again from where it came from"
        ) from error
    if min(upright.size) < SHORTEST_SIDE:
        width, height = upright.size
        raise RejectedError(
            f"{width}×{height} pixels are too few", f"use one of at least {SHORTEST_SIDE} pixels a side"
        )
    upright.thumbnail((longest_side, longest_side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return np.asarray(upright)


def upright_size(path: Path) -> tuple[int, int] | None:
    """Width and height of the upright photograph in its file, which `read_photograph` may make smaller.

    Only the file's header is looked at. None where it is no image: reading it will tell why.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                size = image.size
                # Asked for tags, a PNG file would be decoded whole, for those that might follow its pixels.
                known = image.format != "PNG" or "exif" in image.info
                turned = known and image.getexif().get(ORIENTATION, 1) in SIDEWAYS
    except Exception:  # decoders raise whatever they like on damaged files
        return None
    return (size[1], size[0]) if turned else size


def read_alpha(path: Path) -> UInt8[np.ndarray, "height width"] | None:
    """The alpha channel of a photograph, upright and of the size of `read_photograph`; None if it has none.

    Raises:
        RejectedError: the file is damaged.
    """
    try:
        with Image.open(path) as image:
            if "A" not in image.getbands() and "transparency" not in image.info:
                return None
            exif = image.getexif().tobytes()
            alpha = image.convert("RGBA").getchannel("A")
            alpha.info["exif"] = exif
            upright: Image.Image = ImageOps.exif_transpose(alpha)
    except Exception as error:
        raise RejectedError(
            f"damaged or truncated ({error})", "copy it again from where it came from"
        ) from error
    upright.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return np.asarray(upright)


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB of the same size, with the EXIF tags kept for the rotation."""
    exif = image.getexif()
    if image.mode.startswith(("I", "F")):
        image = _to_8_bit(image)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    rgb = image.convert("RGB")
    rgb.info["exif"] = exif.tobytes()
    return rgb


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Gray values of 16 and 32 bits or floats, by the smallest usual range that holds them."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    highest = values.max(initial=0.0)
    if image.mode == "F" and highest <= 1.0:
        full = 1.0
    else:
        full = 255.0 if highest <= 255.0 and not image.mode.startswith("I;16") else 65535.0
    return Image.fromarray(np.clip(np.round(values * (255.0 / full)), 0, 255).astype(np.uint8))
