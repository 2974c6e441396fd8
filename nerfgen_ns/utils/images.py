"""Images, contact sheets and videos, each written whole or not at all."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.utils.files import replace_file, replace_folder

# `nerfgen prepare` writes pictures without torch, whose import takes seconds.
if TYPE_CHECKING:
    from torch import Tensor

GAP = 4
LABEL_WIDTH = 132
INK, PAPER = (40, 40, 40), (255, 255, 255)


def to_bytes(colors: Float[Tensor, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """Return colors in [0, 1] as bytes."""
    return (colors.detach().clamp(0.0, 1.0) * 255.0).round().byte().cpu().numpy()


def from_bytes(image: UInt8[np.ndarray, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return bytes as values in [0, 1]."""
    import torch

    return torch.from_numpy(image / np.float32(255))


def depth_picture(outputs: dict[str, Tensor]) -> UInt8[np.ndarray, "height width 3"]:
    """Return the depth of a render in colors, from the object's nearest to its farthest; white around it."""
    from nerfstudio.utils import colormaps

    depth, accumulation = outputs["depth"], outputs["accumulation"]
    on_object = depth[accumulation > 0.5]
    near, far = (float(on_object.min()), float(on_object.max())) if on_object.numel() else (0.0, 1.0)
    return to_bytes(colormaps.apply_depth_colormap(depth, accumulation, near_plane=near, far_plane=far))


def resize(image: UInt8[np.ndarray, "height width 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Return an image as a square of `size` pixels."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def enlarge(colors: Float[Tensor, "height width 3"], factor: int = 2) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return colors in [0, 1] as the bytes of a smoothly enlarged image."""
    image = Image.fromarray(to_bytes(colors))
    size = (image.width * factor, image.height * factor)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def contact_sheet(
    rows: dict[str, list[UInt8[np.ndarray, "size size 3"]]],
) -> UInt8[np.ndarray, "height width 3"]:
    """Make a labeled grid of square images of one size: a row for each name, a column for each identity."""
    size = next(iter(rows.values()))[0].shape[0]
    columns = max(len(images) for images in rows.values())
    step = size + GAP
    sheet = Image.new("RGB", (LABEL_WIDTH + columns * step, GAP + len(rows) * step), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for row, (name, images) in enumerate(rows.items()):
        top = GAP + row * step
        draw.text((LABEL_WIDTH - 8, top + size / 2), name, INK, font, anchor="rm")
        for column, image in enumerate(images):
            sheet.paste(Image.fromarray(image), (LABEL_WIDTH + column * step, top))
    return np.asarray(sheet)


def data_url(
    image: UInt8[np.ndarray, "height width 3"] | Image.Image, kind: str = "PNG", **options: Any
) -> str:
    """Return an image as the text of a link that contains it.

    Args:
        image: the image.
        kind: the format of the file, as Pillow calls it.
        options: of Pillow's writer of that format.
    """
    file = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{b64encode(file.getvalue()).decode('ascii')}"


def write_image(path: Path, image: UInt8[np.ndarray, "height width 3"]) -> None:
    """Write an image; its format follows from the suffix."""
    with replace_file(path) as temporary:
        Image.fromarray(image).save(temporary)


def write_video(path: Path, frames: Iterable[UInt8[np.ndarray, "height width 3"]], fps: int = 24) -> None:
    """Write frames of one size as H.264, which every browser plays. Width and height must be even.

    Raises:
        NerfgenError: there is no ffmpeg, or it fails.
    """
    import imageio_ffmpeg

    with replace_file(path) as temporary:
        writer = None
        try:
            for frame in frames:
                if writer is None:
                    height, width = frame.shape[:2]
                    writer = imageio_ffmpeg.write_frames(
                        str(temporary), (width, height), fps=fps, macro_block_size=2, quality=8
                    )
                    writer.send(None)
                writer.send(np.ascontiguousarray(frame))
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise NerfgenError(
                f"{path}: ffmpeg failed ({reason}); `nerfgen doctor` says what is missing"
            ) from error
        finally:
            if writer is not None:
                writer.close()


def check_film(path: Path, size: int) -> None:
    """Check that a film of frames `size` pixels wide and high can be written in the form of the path's name.

    Raises:
        UsageError: it cannot.
    """
    if path.suffix not in (".mp4", ".gif", ""):
        raise UsageError(f"{path}: a film is a .mp4, a .gif, or, without a suffix, a folder of its frames")
    if path.suffix and path.is_dir():
        raise UsageError(f"{path}: is a folder; choose another --output-path")
    if size < 16 or (path.suffix == ".mp4" and size % 2):
        raise UsageError(f"--size must be at least 16, and even for a .mp4; got {size}")


def write_film(path: Path, frames: Iterable[UInt8[np.ndarray, "height width 3"]], fps: int) -> None:
    """Write frames of one size, whole or not at all; see `check_film` for the forms.

    Raises:
        UsageError: there is a folder that holds other things than such frames.
        NerfgenError: the film cannot be written.
    """
    if path.suffix == ".mp4":
        write_video(path, frames, fps)
    elif path.suffix == ".gif":
        _write_gif(path, frames, fps)
    else:
        with replace_folder(path, _holds_frames_alone) as folder:
            for number, frame in enumerate(frames):
                write_image(folder / f"frame_{number:05d}.png", frame)


def _write_gif(path: Path, frames: Iterable[UInt8[np.ndarray, "height width 3"]], fps: int) -> None:
    with replace_file(path) as temporary:
        # A palette for each frame, without dithering, which flickers.
        images = (Image.fromarray(frame).quantize(256, dither=Image.Dither.NONE) for frame in frames)
        first = next(images)
        # The format counts in hundredths of a second.
        first.save(
            temporary, save_all=True, append_images=images, duration=10 * round(100 / fps), loop=0, disposal=1
        )


def _holds_frames_alone(folder: Path) -> bool:
    return all(path.match("frame_*.png") for path in folder.iterdir())
