"""Pixels that Pillow does not read as 8-bit sRGB: more than 8 bits a channel, and colors of any kind."""

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageCms

BITS_PER_SAMPLE, ORIENTATION = 258, 274
"""Tags of TIFF; the second is EXIF's as well."""
WHITE_IS_ZERO, SEPARATED, LAB = 0, 5, 8
"""Kinds of color, by TIFF's PhotometricInterpretation."""
UNSPECIFIED = 0
"""Kind of a further channel, by TIFF's ExtraSamples, that is no alpha."""
USUAL_BITS = (8, 10, 12, 14, 16)
"""Scanners and cameras store 10, 12 and 14 bits in 16 without saying so."""
USUAL_HIGHEST = (1.0, 255.0, 65535.0)
"""White of floating-point images."""
MOST_OF_THEM = 0.99
"""At least this part of the values is no brighter than white; the others are highlights."""


def is_deep(image: Image.Image) -> bool:
    """Return whether a file that Pillow has opened, but not loaded, has channels of more than 8 bits."""
    if image.format == "TIFF":
        return max(image.tag_v2.get(BITS_PER_SAMPLE, (1,))) > 8  # type: ignore[attr-defined]
    if image.format == "PNG":
        return any("16" in str(tile[3]) for tile in image.tile)  # type: ignore[attr-defined]
    return False


def is_tiff(path: Path) -> bool:
    """Return whether a file begins like a TIFF, even one that Pillow cannot open."""
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_deep_tiff(path: Path) -> Image.Image:
    """Read the first image of a TIFF of any depth, see `from_values`, with its profile and EXIF orientation.

    Raises:
        Image.DecompressionBombError: it has more pixels than Pillow would read.
        Exception: whatever tifffile raises where the file is damaged or not of a kind that can be read.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        check_pixels(page.imagewidth, page.imagelength)
        photometric, profile = int(page.photometric), page.iccprofile
        orientation = page.tags.valueof(ORIENTATION, 1)
        try:
            values = page.asarray()
        except ValueError:  # a compression that tifffile leaves to another package
            values = _read_by_opencv(path)
        else:
            if page.axes.startswith("S"):
                values = np.moveaxis(values, 0, -1)
            extra = page.extrasamples
            if extra and extra[0] == UNSPECIFIED:  # infrared, depth or a mask, but no alpha
                values = values[..., : -len(extra)]
    return with_tags(from_values(values, photometric), int(orientation), profile)


def with_tags(image: Image.Image, orientation: int, profile: bytes | None) -> Image.Image:
    """Add an EXIF orientation and an ICC profile to an image, as Pillow would have read them; return it."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image.info["exif"] = exif.tobytes()
    if profile:
        image.info["icc_profile"] = profile
    return image


def deep_tiff_size(path: Path) -> tuple[int, int, int]:
    """Return width, height and EXIF orientation from the header of a TIFF; raise like `read_deep_tiff`."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        return page.imagewidth, page.imagelength, int(page.tags.valueof(ORIENTATION, 1))


def read_deep_png(path: Path) -> Image.Image:
    """Read a PNG of 16 bits, as `from_values` makes it; raise a ValueError if it is damaged."""
    return from_values(_read_by_opencv(path))


def check_pixels(width: int, height: int) -> None:
    """Raise Image.DecompressionBombError for as many pixels as Pillow refuses."""
    if Image.MAX_IMAGE_PIXELS is not None and width * height > 2 * Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError(f"{width} × {height} pixels")


def from_values(
    values: Shaped[np.ndarray, "height width *channels"], photometric: int | None = None
) -> Image.Image:
    """Make an image of 8 bits a channel from gray values or channels of any depth.

    Args:
        values: gray, or gray and alpha, RGB, RGB and alpha; further channels are ignored.
        photometric: TIFF's kind of color, where it is known.
    """
    values = values if values.ndim == 3 else values[..., None]
    if photometric == LAB and values.shape[2] >= 3 and values.dtype.itemsize == 2:
        return _as_image("LAB", (values[..., :3].view(np.uint16) >> 8).astype(np.uint8))
    if photometric == SEPARATED and values.shape[2] >= 4:
        return _as_image("CMYK", to_8_bits(values[..., :4]))
    channels = values.shape[2] if values.shape[2] <= 4 else 3
    colors = to_8_bits(values[..., : channels - 1 + channels % 2])
    if photometric == WHITE_IS_ZERO:
        colors = 255 - colors
    if channels % 2 == 0:
        colors = np.concatenate([colors, to_8_bits(values[..., channels - 1 : channels])], axis=2)
    return _as_image(("L", "LA", "RGB", "RGBA")[channels - 1], colors)


def _as_image(mode: str, values: UInt8[np.ndarray, "height width channels"]) -> Image.Image:
    return Image.frombytes(mode, (values.shape[1], values.shape[0]), values.tobytes())


def to_8_bits(values: Shaped[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Convert values of any depth to 8 bits, by the smallest usual range that holds them.

    Integers fill 8, 10, 12, 14, 16 or any more bits, whatever their type. Floating-point values reach 1, 255
    or 65535, except for a hundredth of them, which are highlights.
    """
    if values.dtype == np.uint8:
        return values
    if np.issubdtype(values.dtype, np.floating):
        values = np.nan_to_num(values.astype(np.float32), posinf=float(np.finfo(np.float32).max))
        lit = values[values > 0]
        most = float(np.quantile(lit, MOST_OF_THEM)) if lit.size else 0.0
        white = next((full for full in USUAL_HIGHEST if most <= full), most)
        return np.clip(np.round(values * (255.0 / white)), 0, 255).astype(np.uint8)
    values = np.clip(values, 0, None)
    highest = int(values.max(initial=0))
    bits = next((bits for bits in USUAL_BITS if highest < 2**bits), highest.bit_length())
    white = min(2**bits - 1, np.iinfo(values.dtype).max)
    if highest < 2**16:
        shades = np.clip(np.round(np.arange(2**16) * (255.0 / white)), 0, 255).astype(np.uint8)
        return shades[values]
    return np.clip(np.round(values * (255.0 / white)), 0, 255).astype(np.uint8)


def _read_by_opencv(path: Path) -> Shaped[np.ndarray, "height width *channels"]:
    import cv2

    values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise ValueError("it cannot be decoded")
    if values.ndim == 3:  # blue comes first
        values = values[..., [2, 1, 0, 3][: values.shape[2]]]
    return values


KNOWN_MODES = ("L", "RGB", "CMYK", "LAB")
"""Pillow's modes that a profile can describe; all others become one of these first."""
UNSEEN = 2
"""Profiles that change no color by more than this, of 255, are sRGB itself."""


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert the image to sRGB, with its transparent parts over white.

    An ICC profile that is damaged, or that describes another kind of color than the image's, is ignored.

    Args:
        image: of 8 bits a channel; its profile is in `info["icc_profile"]`.
    """
    profile = image.info.get("icc_profile")
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
        alpha = image.getchannel("A")
        image = image.convert("L" if image.mode == "LA" else "RGB")
    rgb = _without_alpha(image, profile)
    return rgb if alpha is None else Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)


def _without_alpha(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode not in KNOWN_MODES:
        image = image.convert("L" if image.mode == "1" else "RGB")
    if image.mode == "LAB":
        return _applied(_from_lab(), image)
    if not profile:
        return image.convert("RGB")
    # Programs that take the color out of a photograph often leave the profile of its colors in.
    for mode in dict.fromkeys((image.mode, "RGB")):
        transform = _transform(profile, mode)
        if transform is not None:
            return _applied(transform, image.convert(mode))
    return image.convert("RGB")


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return converted


@lru_cache(maxsize=1)
def _from_lab() -> ImageCms.ImageCmsTransform:
    return _built(ImageCms.createProfile("LAB"), "LAB")


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from the profile's colors to sRGB; None if it does nothing or cannot be used."""
    try:
        transform = _built(ImageCms.ImageCmsProfile(io.BytesIO(profile)), mode)
        probe = _probe(mode)
        change = np.asarray(_applied(transform, probe), int) - np.asarray(probe.convert("RGB"), int)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    return transform if np.abs(change).max() > UNSEEN else None


def _built(
    profile: ImageCms.core.CmsProfile | ImageCms.ImageCmsProfile, mode: str
) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _probe(mode: str) -> Image.Image:
    """Return an image with colors from the whole range of a mode."""
    channels = Image.getmodebands(mode)
    levels = np.linspace(0, 255, 6 if channels > 1 else 52).astype(np.uint8)
    colors = np.stack(np.meshgrid(*[levels] * channels), axis=-1)
    return Image.frombytes(mode, (1, colors.size // channels), colors.tobytes())
