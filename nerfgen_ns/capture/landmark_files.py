"""Landmarks that come from a file and not from a model: any class, any number of them, some missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from nerfgen_ns.capture.csv_files import check_names
from nerfgen_ns.capture.face_mesh import FIVE_CENTRE, FIVE_NAMES, FIVE_RADIUS
from nerfgen_ns.capture.landmark_entries import (
    LandmarkEntries,
    duplicates,
    read_csv_entries,
    read_json_entries,
)
from nerfgen_ns.capture.landmark_scheme import (
    DEFAULT_RADIUS,
    FEWEST_LANDMARKS,
    LandmarkScheme,
    pairs_of_names,
    partners_of_pairs,
)
from nerfgen_ns.capture.listing import names_in
from nerfgen_ns.capture.photographs import LONGEST_SIDE, upright_size
from nerfgen_ns.errors import UsageError

NEAR_EDGE = 1.0
"""Landmarks may lie this many pixels beyond the photograph: half a pixel is a matter of convention."""
SYSTEMATIC = 0.02
"""So large a part of the points outside their photographs is no slip of the pen."""
FEWEST_TO_TELL, NEARLY_ALL = 3, 0.9
"""So large a part of so many photographs, or more, whose objects lie on their side is none either."""


@dataclass
class FileLandmarks:
    """What a landmark file says about n photographs."""

    path: Path
    scheme: LandmarkScheme
    landmarks: Float[np.ndarray, "n m 2"]
    """Pixels of each photograph as `read_photograph` gives it; NaN where one is missing."""
    confidence: Float[np.ndarray, "n m"]
    """In [0, 1]; 0 where a landmark is missing."""

    sizes: Float[np.ndarray, "n 2"]
    """Width and height of each photograph as it is read; NaN where the file is no image."""

    @property
    def usable(self) -> Bool[np.ndarray, "n"]:
        """Which photographs have landmarks enough for a camera."""
        return (self.confidence > 0).sum(axis=1) >= FEWEST_LANDMARKS


def read_landmark_file(path: Path, photographs: Sequence[Path], folder: Path | None = None) -> FileLandmarks:
    """Landmarks of the photographs from a CSV or JSON file, whose forms `read_csv_entries` and
    `read_json_entries` describe.

    Coordinates are pixels of the upright photograph, (0, 0) being its upper left corner and pixel centres
    lying at +0.5. Left and right partners come from the names where the file gives no pairs: `eye_left` and
    `eye_right`. Five landmarks with the names `FIVE_NAMES` get the place of a face in the class frame.

    Args:
        folder: where the photographs are; None: the file calls them by their files' names alone.

    Raises:
        UsageError: the file is unreadable or wrong: counts that differ, NaN, x and y swapped, points outside
            the photograph, images that are no photographs, a landmark given twice.
    """
    path = Path(path)
    readers = {".csv": read_csv_entries, ".json": read_json_entries}
    if path.suffix.lower() not in readers:
        raise UsageError(f"{path}: landmarks come from a file that ends in {' or '.join(readers)}")
    entries = readers[path.suffix.lower()](path)
    names = names_in(folder, photographs)
    check_names(path, entries.rows, names)
    scheme = _scheme(entries)
    _check_values(entries)
    seen = {name: upright_size(photograph) for name, photograph in zip(names, photographs, strict=True)}
    _check_places(entries, seen)
    landmarks = np.full((len(entries.images), scheme.count, 2), np.nan)
    confidence = np.zeros((len(entries.images), scheme.count))
    landmarks[entries.image, entries.landmark] = entries.points
    confidence[entries.image, entries.landmark] = entries.confidence
    _check_upright(entries, scheme, landmarks)
    # One more row at the end, which nothing was written to, is that of photographs without landmarks.
    rows = {name: row for row, name in enumerate(entries.images)}
    chosen = [rows.get(name, -1) for name in names]
    landmarks = np.concatenate([landmarks, np.full((1, scheme.count, 2), np.nan)])[chosen]
    confidence = np.concatenate([confidence, np.zeros((1, scheme.count))])[chosen]
    sizes = np.array([size or (np.nan, np.nan) for size in seen.values()])
    shrunk = np.fmax(1.0, sizes.max(axis=1) / LONGEST_SIDE)[:, None]
    return FileLandmarks(path, scheme, landmarks / shrunk[:, None], confidence, sizes / shrunk)


def _scheme(entries: LandmarkEntries) -> LandmarkScheme:
    path, names, extras = entries.path, entries.names, entries.extras
    centre, radius = np.zeros(3), DEFAULT_RADIUS
    if names is not None and set(names) == set(FIVE_NAMES):
        centre, radius = FIVE_CENTRE, FIVE_RADIUS
    try:
        pairs: Sequence[Sequence[int]] = pairs_of_names(names) if names is not None else []
        if "pairs" in extras:
            pairs = [_pair(pair, names) for pair in extras["pairs"]]
        centre = np.asarray(extras.get("centre", centre), dtype=np.float64)
        radius = float(extras.get("radius", radius))
        return LandmarkScheme(
            entries.count, partners_of_pairs(pairs, entries.count), centre, radius, names=names
        )
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error


def _pair(pair: Any, names: tuple[str, ...] | None) -> list[int]:
    if not isinstance(pair, list):
        raise ValueError(f'{pair!r} in "pairs" is no pair; write [left, right]')
    places = []
    for landmark in pair:
        if isinstance(landmark, str):
            if names is None or landmark not in names:
                raise ValueError(f'"pairs" has {landmark!r}, which is not among "names"')
            landmark = names.index(landmark)
        if not isinstance(landmark, int) or isinstance(landmark, bool):
            raise ValueError(f'"pairs" has {landmark!r}, which is neither a name nor a number')
        places.append(landmark)
    return places


def _check_values(entries: LandmarkEntries) -> None:
    bad = np.flatnonzero(~np.isfinite(entries.points).all(axis=1))
    if len(bad) > 0:
        x, y = entries.points[bad[0]]
        raise UsageError(
            f"{entries.where(bad[0])}: ({x}, {y}) is not a point{_and_more(bad)}; "
            "leave the coordinates out where a landmark is missing"
        )
    bad = np.flatnonzero(~((entries.confidence >= 0) & (entries.confidence <= 1)))
    if len(bad) > 0:
        raise UsageError(
            f"{entries.where(bad[0])}: confidence {entries.confidence[bad[0]]} does not lie in [0, 1]"
            f"{_and_more(bad)}; give one that does"
        )
    for first, again in duplicates(entries):
        there = "" if entries.lines is None else f" in row {entries.lines[first]}"
        raise UsageError(f"{entries.where(again)}: is given{there} already; leave one out")


def _check_places(entries: LandmarkEntries, seen: Mapping[str, tuple[int, int] | None]) -> None:
    sizes = [seen[name] or (np.inf, np.inf) for name in entries.images]
    size = np.array(sizes, dtype=np.float64).reshape(-1, 2)[entries.image]
    outside = np.flatnonzero(_outside(entries.points, size))
    if len(outside) == 0:
        return
    first = outside[0]
    swapped = _outside(entries.points[:, ::-1], size)
    if len(outside) > SYSTEMATIC * len(size) and not swapped.any():
        raise UsageError(
            f"{entries.where(first)}: lies outside the photograph like {len(outside) - 1} more points, and "
            "none would if x and y changed places; swap the two"
        )
    (x, y), (width, height) = entries.points[first], size[first].astype(int)
    raise UsageError(
        f"{entries.where(first)}: ({x:g}, {y:g}) lies outside the photograph, which has {width}×{height} "
        f"pixels{_and_more(outside)}; leave out landmarks that are not seen, and count pixels of the upright "
        "photograph"
    )


def _check_upright(
    entries: LandmarkEntries, scheme: LandmarkScheme, landmarks: Float[np.ndarray, "images m 2"]
) -> None:
    """Refuse a collection in which left and right lie above each other nearly everywhere."""
    if scheme.mirror_partners is None:
        return
    apart = np.abs(landmarks - landmarks[:, scheme.mirror_partners])
    across, up = np.nansum(apart, axis=1).T
    paired = across + up > 0
    lying = np.flatnonzero(paired & (up > across))
    if paired.sum() < FEWEST_TO_TELL or len(lying) < NEARLY_ALL * paired.sum():
        return
    first = np.flatnonzero(entries.image == lying[0])[0]
    raise UsageError(
        f"{entries.where(first)}: left and right lie above each other, here and in {len(lying) - 1} more of "
        f"{paired.sum()} photographs; swap x and y if they changed places, or turn the photographs upright"
    )


def _outside(points: Float[np.ndarray, "e 2"], size: Float[np.ndarray, "e 2"]) -> Bool[np.ndarray, "e"]:
    return ((points < -NEAR_EDGE) | (points > size + NEAR_EDGE)).any(axis=1)


def _and_more(entries: np.ndarray) -> str:
    return f", and {len(entries) - 1} more like it" if len(entries) > 1 else ""
