"""Colors of any kind as sRGB: palettes, gray, CMYK and Lab, transparency, and the file's ICC profile."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

KNOWN_MODES = ("L", "RGB", "CMYK", "LAB")
"""Pillow's modes that a profile can describe; all others become one of these first."""
UNSEEN = 2
"""Profiles that change no color by more than this, of 255, are sRGB itself."""


def to_srgb(image: Image.Image) -> Image.Image:
    """The image in sRGB, its transparent parts over white.

    An ICC profile that is damaged, or that describes another kind of color than the image's, does not count.

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
    """What takes colors of the profile to sRGB; None where it does nothing, or the profile is of no use."""
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
    """Colors from all over the range of a mode."""
    channels = Image.getmodebands(mode)
    levels = np.linspace(0, 255, 6 if channels > 1 else 52).astype(np.uint8)
    colors = np.stack(np.meshgrid(*[levels] * channels), axis=-1)
    return Image.frombytes(mode, (1, colors.size // channels), colors.tobytes())
