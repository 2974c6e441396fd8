"""What the preflight needs to know of every crop's pixels: a thumbnail, and how much its matte holds."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from nerfgen_ns.capture.near_duplicates import THUMBNAIL, thumbnail
from nerfgen_ns.capture.overview import Overview
from nerfgen_ns.capture.progress import progress_over
from nerfgen_ns.errors import UsageError

READ_AT_ONCE = 512
WORTH_A_PROGRESS_BAR = 2000


@dataclass(frozen=True)
class CropStatistics:
    """Of the n crops of a prepared folder."""

    thumbnails: UInt8[np.ndarray, "n side side"]
    """See `near_duplicates.thumbnail`."""
    matte_mean: Float[np.ndarray, "n"]
    """Mean of each matte; NaN where there is none."""
    matte_border: Float[np.ndarray, "n"]
    """Mean of its outermost pixels; NaN where there is none."""


def crop_statistics(folder: Path, overview: Overview) -> CropStatistics:
    """Read every crop and every matte, in as many threads as there are processors.

    Raises:
        UsageError: a file is missing or no image.
    """
    count = len(overview)
    statistics = CropStatistics(
        np.zeros((count, THUMBNAIL, THUMBNAIL), np.uint8), np.full(count, np.nan), np.full(count, np.nan)
    )

    def read(place: int) -> None:
        with open_image(folder / overview.image[place]) as image:
            statistics.thumbnails[place] = thumbnail(image)
        matte = overview.matte[place]
        if matte is not None:
            with open_image(folder / matte) as image:
                values = np.asarray(image.convert("L"), dtype=np.float32) / 255
            border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
            statistics.matte_mean[place], statistics.matte_border[place] = values.mean(), border.mean()

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads, _progress(count) as advance:
        for start in range(0, count, READ_AT_ONCE):
            for _ in threads.map(read, range(start, min(start + READ_AT_ONCE, count))):
                advance()
    return statistics


def _progress(count: int) -> AbstractContextManager[Callable[[], None]]:
    if count < WORTH_A_PROGRESS_BAR:
        return nullcontext(lambda: None)
    return progress_over("looking at the crops", count)


def open_image(path: Path) -> Image.Image:
    """An image of a prepared folder, its pixels read.

    Raises:
        UsageError: it is missing or no image.
    """
    try:
        image = Image.open(path)
        image.load()
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); prepare the folder again") from error
    return image
