"""What the preflight needs of every crop's pixels: thumbnails, near duplicates, mattes."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8
from PIL import Image

from nerfgen_ns.dataset_format.columns import Overview
from nerfgen_ns.errors import UsageError
from nerfgen_ns.utils.console import progress_over

THUMBNAIL = 24
SAME_PHOTOGRAPH = 0.4
MIDDLE = 0.6
"""Part of the crop's side that is compared: the edges may be filled where the photograph was cut."""
FINE, COARSE = 0.47, 1.87
"""Structures that count are between these sizes: standard deviations in pixels of the thumbnail."""
FAINT = 2.0
"""Contrast, of 255, that noise has: weaker structures are not raised to the strength of others."""
STEPS = 40.0
"""Steps of a thumbnail's values for one unit of contrast."""
PLAIN = 8.0
"""Thumbnails whose values spread by less, of 255, show nothing to compare."""
DIMENSIONS = 64
"""Thumbnails are looked up by so many of their principal components."""
MOST_FOR_COMPONENTS = 2000
ROWS, COLUMNS = 1024, 8192
"""So many are compared at once, so that the products stay in the processor's cache."""


def thumbnail(image: Image.Image) -> UInt8[np.ndarray, "side side"]:
    """The structure in the middle of an image: gray values, less their surroundings, over the contrast."""
    from scipy.ndimage import gaussian_filter

    middle = 2 * THUMBNAIL
    side = round(middle / MIDDLE)
    gray = np.asarray(image.convert("L").resize((side, side), Image.Resampling.BOX), dtype=np.float32)
    detail = gaussian_filter(gray, 2 * FINE) - gaussian_filter(gray, 2 * COARSE)
    contrast = np.sqrt(gaussian_filter(detail**2, 2 * COARSE)) + FAINT
    start = (side - middle) // 2
    inside = (detail / contrast)[start : start + middle, start : start + middle]
    values = inside.reshape(THUMBNAIL, 2, THUMBNAIL, 2).mean(axis=(1, 3))
    return np.clip(np.round(values * STEPS + 128), 0, 255).astype(np.uint8)


def same_photograph(
    thumbnails: UInt8[np.ndarray, "n side side"], mirrored: bool = False
) -> Int[np.ndarray, "n"]:
    """For each photograph another that is the same one, or with `mirrored` its mirror image; −1: none.

    All are compared with all by their principal components, in which distances are never larger than between
    the thumbnails, and each with the nearest one in full: 100,000 take two minutes of one core.
    """
    partner = np.full(len(thumbnails), -1)
    compared = np.flatnonzero(~_plain(thumbnails))
    if len(compared) < 2:
        return partner
    stride = -(-len(compared) // MOST_FOR_COMPONENTS)
    sample = _normalized(thumbnails[compared[::stride]])
    mean = sample.mean(axis=0)
    components = np.linalg.svd(sample - mean, full_matrices=False)[2][:DIMENSIONS].T
    looked_up = _components(thumbnails[compared], mean, components)
    queries = _components(_flipped(thumbnails[compared]), mean, components) if mirrored else looked_up
    for start in range(0, len(compared), ROWS):
        rows = np.arange(start, min(start + ROWS, len(compared)))
        nearest = _nearest(queries[rows], looked_up, rows)
        mine, others = thumbnails[compared[rows]], thumbnails[compared[nearest]]
        own = _normalized(_flipped(mine) if mirrored else mine)
        distance = np.linalg.norm(own - _normalized(others), axis=1)
        found = distance < SAME_PHOTOGRAPH
        partner[compared[rows[found]]] = compared[nearest[found]]
    return partner


def _nearest(
    queries: Float32[np.ndarray, "rows dimensions"],
    points: Float32[np.ndarray, "n dimensions"],
    rows: Int[np.ndarray, "rows"],
) -> Int[np.ndarray, "rows"]:
    """Of each query the nearest point but that of its own row."""
    best = np.full(len(queries), np.inf, np.float32)
    nearest = np.zeros(len(queries), np.int64)
    for start in range(0, len(points), COLUMNS):
        block = points[start : start + COLUMNS]
        # The query's own square is the same for all points, and left out.
        distance = (block**2).sum(axis=1) - 2 * (queries @ block.T)
        own = np.flatnonzero((rows >= start) & (rows < start + len(block)))
        distance[own, rows[own] - start] = np.inf
        column = distance.argmin(axis=1)
        closest = distance[np.arange(len(queries)), column]
        nearer = closest < best
        best[nearer], nearest[nearer] = closest[nearer], start + column[nearer]
    return nearest


def _components(
    thumbnails: UInt8[np.ndarray, "n side side"],
    mean: Float32[np.ndarray, "pixels"],
    components: Float32[np.ndarray, "pixels dimensions"],
) -> Float32[np.ndarray, "n dimensions"]:
    parts = range(0, len(thumbnails), COLUMNS)
    return np.concatenate(
        [(_normalized(thumbnails[start : start + COLUMNS]) - mean) @ components for start in parts]
    )


def _flipped(thumbnails: UInt8[np.ndarray, "n side side"]) -> UInt8[np.ndarray, "n side side"]:
    return thumbnails[:, :, ::-1]


def _plain(thumbnails: UInt8[np.ndarray, "n side side"]) -> Bool[np.ndarray, "n"]:
    return np.array([thumbnail.std() < PLAIN for thumbnail in thumbnails], dtype=bool)


def _normalized(thumbnails: UInt8[np.ndarray, "n side side"]) -> Float32[np.ndarray, "n pixels"]:
    values = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)


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
