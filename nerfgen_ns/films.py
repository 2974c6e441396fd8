"""Films in the form that a path's name asks for: .mp4, .gif, or a folder of frames."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from nerfgen_ns.errors import UsageError
from nerfgen_ns.files import replace_file
from nerfgen_ns.folders import replace_folder
from nerfgen_ns.pictures import write_image, write_video


def check_film(path: Path, size: int) -> None:
    """See that a film of frames `size` pixels wide and high can be written as the path's name asks.

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
