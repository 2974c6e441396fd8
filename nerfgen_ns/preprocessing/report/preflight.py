"""Warnings before training: what a prepared folder shows about whether its class can be learned.

The first part reads what the checks need from every crop's pixels: thumbnails, near duplicates, mattes. The
checks follow. Each is a function of arrays, one entry a photograph, and gives a `Concern` or None.
"""

import os
from collections.abc import Callable, Sequence
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
"""Number of principal components by which thumbnails are looked up."""
MOST_FOR_COMPONENTS = 2000
ROWS, COLUMNS = 1024, 8192
"""How many are compared at once, so that the products stay in the processor's cache."""


def thumbnail(image: Image.Image) -> UInt8[np.ndarray, "side side"]:
    """Compute the structure in an image's middle: gray values less their surroundings, over the contrast."""
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
) -> Int[np.ndarray, " n"]:
    """Find for each photograph another that is the same or, with `mirrored`, its mirror image; −1: none.

    All are compared with all by their principal components, where distances are never larger than between
    the thumbnails. Each is then compared with its nearest one in full. 100,000 take two minutes on one core.
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
    rows: Int[np.ndarray, " rows"],
) -> Int[np.ndarray, " rows"]:
    """Find for each query the nearest point, except that of its own row."""
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
    mean: Float32[np.ndarray, " pixels"],
    components: Float32[np.ndarray, "pixels dimensions"],
) -> Float32[np.ndarray, "n dimensions"]:
    parts = range(0, len(thumbnails), COLUMNS)
    return np.concatenate(
        [(_normalized(thumbnails[start : start + COLUMNS]) - mean) @ components for start in parts]
    )


def _flipped(thumbnails: UInt8[np.ndarray, "n side side"]) -> UInt8[np.ndarray, "n side side"]:
    return thumbnails[:, :, ::-1]


def _plain(thumbnails: UInt8[np.ndarray, "n side side"]) -> Bool[np.ndarray, " n"]:
    return np.array([thumbnail.std() < PLAIN for thumbnail in thumbnails], dtype=bool)


def _normalized(thumbnails: UInt8[np.ndarray, "n side side"]) -> Float32[np.ndarray, "n pixels"]:
    values = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)


READ_AT_ONCE = 512
WORTH_A_PROGRESS_BAR = 2000


@dataclass(frozen=True)
class CropStatistics:
    """Statistics of the n crops of a prepared folder."""

    thumbnails: UInt8[np.ndarray, "n side side"]
    """See `thumbnail`."""
    matte_mean: Float[np.ndarray, " n"]
    """Mean of each matte; NaN where there is none."""
    matte_border: Float[np.ndarray, " n"]
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
    """Open an image of a prepared folder and read its pixels.

    Raises:
        UsageError: it is missing or no image.
    """
    try:
        image = Image.open(path)
        image.load()
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); prepare the folder again") from error
    return image


FEW_PHOTOGRAPHS = 100
LYING = 45.0
"""Degrees: if objects are turned upright by more than this, photographs or coordinates are wrong."""
FRONTAL_SPREAD = 4.0
"""Yaw, in degrees: if two thirds of the photographs are closer to their middle than this, they show one side
only. Portraits of people who face the camera reach 6, which is enough."""
MANY_REJECTED = 0.3
LARGE_ERROR = 0.04
"""Of the object's extent: a larger median reprojection error means wrong landmarks or focal lengths."""
EMPTY_MATTE, FULL_MATTE = 0.01, 0.97
"""A matte with a smaller mean holds nothing; one with a larger mean everything."""
FULL_BORDER = 0.9
"""A matte with a larger mean along all of its border touches everything."""
SHORTEST_FOCAL, LONGEST_FOCAL = 0.5, 20.0
"""Focal lengths of ordinary lenses, as multiples of the image's longer side: 90° and 3° of view."""
FOCAL_FACTOR = 3.0
"""A focal length above the median times this, or below the median over this, is a wrong estimate."""


@dataclass(frozen=True)
class Concern:
    """Something about a collection that a person should know before training."""

    name: str
    """What it is, in a few words."""
    text: str
    """What was found."""
    mend: str
    """What to do about it."""
    photographs: tuple[int, ...] = ()
    """The photographs that it is about, by place; none where it is about all."""


def preflight(
    overview: Overview,
    statistics: CropStatistics,
    same: Int[np.ndarray, " n"],
    mirrored: Int[np.ndarray, " n"],
    reasons: Sequence[str] = (),
    median_of_extent: float | None = None,
) -> list[Concern]:
    """Return all concerns about a prepared folder; what prevents learning the class at all comes first.

    Args:
        same, mirrored: for each photograph its near-duplicate; −1: none (see `same_photograph`).
        reasons: why each of the rejected photographs was rejected.
        median_of_extent: median reprojection error, as a part of the object's extent.
    """
    found = [
        too_few(len(overview)),
        nearly_all_frontal(overview.angles[:, 0]),
        lying(overview.turn),
        many_rejected(len(overview), reasons),
        large_error(overview.error, median_of_extent),
        extreme_focal(overview.focal),
        *useless_mattes(statistics.matte_mean, statistics.matte_border),
        *duplicates(same, mirrored, overview.identity),
    ]
    return [concern for concern in found if concern is not None]


def too_few(count: int) -> Concern | None:
    """Check that there are enough photographs: the shape of a class comes from many objects."""
    if count >= FEW_PHOTOGRAPHS:
        return None
    return Concern(
        "few photographs",
        f"{_photographs(count)} may be too few: what one of them hides, others have to show.",
        "Add photographs of further objects: some hundreds make a usable class, thousands a good one.",
    )


def nearly_all_frontal(yaw: Float[np.ndarray, " n"]) -> Concern | None:
    """Check the spread of yaw: depth is learned from objects seen from different sides.

    Args:
        yaw: degrees; ±180° are the same.
    """
    if len(yaw) == 0:
        return None
    middle = np.angle(np.exp(1j * np.radians(yaw)).mean(), deg=True)
    aside = np.abs((yaw - middle + 180) % 360 - 180)
    spread = float(np.quantile(aside, 0.68))
    if spread >= FRONTAL_SPREAD:
        return None
    return Concern(
        "nearly all from one side",
        f"Two thirds of the photographs are taken within ±{spread:.1f}° of yaw {round(float(middle))}°: "
        "the class would come out flat, since depth is learned from turned views.",
        "Add photographs in which the object is turned to the left and to the right by 10° to 40°.",
    )


def lying(turn: Float[np.ndarray, " n"]) -> Concern | None:
    """Check whether most objects are on their side, which is a sign of wrong coordinates.

    Args:
        turn: degrees by which each photograph had to be turned.
    """
    aside = np.abs(turn) > LYING
    if len(turn) == 0 or aside.mean() <= 0.5:
        return None
    return Concern(
        "lying on their side",
        f"{_photographs(aside.sum())} show the object lying on its side: what is given as its left and right "
        "is above each other.",
        "If the landmarks come from a file, see whether x and y are swapped; otherwise turn the photographs.",
        _places(aside),
    )


def many_rejected(accepted: int, reasons: Sequence[str]) -> Concern | None:
    """Check the share of rejected photographs: a large one points at one common fault."""
    if len(reasons) <= MANY_REJECTED * (accepted + len(reasons)):
        return None
    common = max(set(reasons), key=reasons.count)
    return Concern(
        "many rejected",
        f"{len(reasons)} of {accepted + len(reasons)} photographs were rejected, "
        f"{reasons.count(common)} of them for: {common}.",
        "See the list of the rejected below for what to do about each.",
    )


def large_error(error: Float[np.ndarray, " n"], median_of_extent: float | None) -> Concern | None:
    """Check the reprojection error: cameras that do not explain the landmarks are wrong.

    Args:
        error: reprojection error of each photograph, in any unit; NaN where there is none.
        median_of_extent: its median, as a part of the object's extent.
    """
    if median_of_extent is None or not np.isfinite(median_of_extent) or median_of_extent <= LARGE_ERROR:
        return None
    worst = np.argsort(-np.nan_to_num(error, nan=-1.0), kind="stable")[: len(error) // 10]
    return Concern(
        "large reprojection error",
        f"Half of the photographs are off by {median_of_extent:.1%} of the object's extent or more.",
        "Look at the landmarks of the worst photographs, and try another focal length.",
        tuple(worst.tolist()),
    )


def extreme_focal(focal: Float[np.ndarray, " n"]) -> Concern | None:
    """Find focal lengths, as multiples of the image's longer side, unlike those of lenses or the others."""
    if len(focal) == 0:
        return None
    middle = np.median(focal)
    odd = (focal < SHORTEST_FOCAL) | (focal > LONGEST_FOCAL)
    odd |= (focal * FOCAL_FACTOR < middle) | (focal > middle * FOCAL_FACTOR)
    if not odd.any():
        return None
    return Concern(
        "extreme focal length",
        f"{_photographs(odd.sum())} with a focal length between {focal[odd].min():.3g} and "
        f"{focal[odd].max():.3g} image sides; the median of all is {middle:.3g}.",
        "Give the focal length, or let all photographs share one.",
        _places(odd),
    )


def useless_mattes(mean: Float[np.ndarray, " n"], border: Float[np.ndarray, " n"]) -> list[Concern]:
    """Find mattes that hold nothing, and mattes that hold everything.

    Args:
        mean: of each whole matte; NaN where a photograph has none.
        border: of the outermost pixels.
    """
    empty = mean < EMPTY_MATTE
    full = ~empty & ((mean > FULL_MATTE) | (border > FULL_BORDER))
    mend = "Remove these photographs, or give mattes of your own."
    concerns = []
    if empty.any():
        text = f"{_photographs(empty.sum())} with a matte that holds nothing."
        concerns.append(Concern("empty matte", text, mend, _places(empty)))
    if full.any():
        text = f"{_photographs(full.sum())} with a matte that holds everything, or touches every side."
        concerns.append(Concern("full matte", text, mend, _places(full)))
    return concerns


def duplicates(
    same: Int[np.ndarray, " n"], mirrored: Int[np.ndarray, " n"], identity: Int[np.ndarray, " n"]
) -> list[Concern]:
    """Find photographs that are in the collection twice, or once more as their mirror image.

    Args:
        same, mirrored: for each photograph its near-duplicate; −1: none (see `same_photograph`).
        identity: photographs of one object may look the same.
    """
    twice = (same >= 0) & (identity != identity[same])
    flipped = ~twice & (mirrored >= 0) & (identity != identity[mirrored])
    concerns = []
    if twice.any():
        concerns.append(
            Concern(
                "near-duplicates",
                f"{_photographs(twice.sum())} look the same as another: they count double, "
                "and show no further object.",
                "Remove one of each pair.",
                _places(twice),
            )
        )
    if flipped.any():
        concerns.append(
            Concern(
                "mirrored duplicates",
                f"{_photographs(flipped.sum())} are the mirror image of another: used as a further object, "
                "it makes every object look symmetric.",
                "Remove the mirrored one of each pair.",
                _places(flipped),
            )
        )
    return concerns


def _places(which: Bool[np.ndarray, " n"]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(which).tolist())


def _photographs(count: int) -> str:
    return f"{count} photograph" if count == 1 else f"{count} photographs"
