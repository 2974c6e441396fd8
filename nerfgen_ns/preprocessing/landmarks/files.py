"""Landmarks that a file gives: any class, any number of them, some missing."""

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.landmarks.models import (
    DEFAULT_RADIUS,
    FEWEST_LANDMARKS,
    FIVE_CENTER,
    FIVE_NAMES,
    FIVE_RADIUS,
    LandmarkScheme,
    pairs_of_names,
    partners_of_pairs,
)
from nerfgen_ns.preprocessing.listing import check_names, names_in, read_csv
from nerfgen_ns.preprocessing.photographs import LONGEST_SIDE, upright_size


@dataclass
class LandmarkEntries:
    """The e points of a landmark file, in its order, and what else it says."""

    path: Path
    images: list[str]
    """Names of the images, each once."""
    rows: dict[str, str]
    """Where in the file each image comes first, for messages."""
    count: int
    """Number of landmarks M."""
    image: Int[np.ndarray, " e"]
    """Place among `images`."""
    landmark: Int[np.ndarray, " e"]
    points: Float[np.ndarray, "e 2"]
    confidence: Float[np.ndarray, " e"]
    names: tuple[str, ...] | None
    lines: Int[np.ndarray, " e"] | None = None
    """Line of each point in a CSV file."""
    extras: dict[str, Any] = field(default_factory=dict)
    """What a JSON file says of the class: `pairs`, `center`, `radius`."""

    def where(self, entry: int) -> str:
        """Return the entry's place in the file, for messages."""
        landmark = int(self.landmark[entry])
        name = self.names[landmark] if self.names else f"landmark {landmark}"
        row = "" if self.lines is None else f"row {self.lines[entry]}: "
        return f"{self.path}: {row}{self.images[self.image[entry]]!r}, {name}"


def read_csv_entries(path: Path) -> LandmarkEntries:
    """Read the entries of a CSV file with the columns image, landmark, x, y and perhaps confidence.

    A landmark is a number, counted from 0 or from 1, or a name. It is missing if x and y are empty, or if it
    has no row.

    Raises:
        UsageError: the file is unreadable, or a row cannot be understood.
    """
    labels: dict[str, int] = {}
    first_rows: dict[str, int] = {}
    places: dict[str, int] = {}
    rows: dict[str, str] = {}
    # Arrays of the standard library hold numbers without an object for each.
    image, landmark, lines = array("q"), array("q"), array("q")
    values = array("d")
    for number, row in read_csv(path, ("image", "landmark", "x", "y"), ("confidence",)):
        if not row["image"] or not row["landmark"]:
            raise UsageError(f"{path}: row {number} names no image or no landmark; fill both in")
        rows.setdefault(row["image"], f"row {number}")
        place = places.setdefault(row["image"], len(places))
        label = labels.setdefault(row["landmark"], len(labels))
        first_rows.setdefault(row["landmark"], number)
        if not row["x"] and not row["y"]:
            continue
        try:
            values.extend((float(row["x"]), float(row["y"]), float(row.get("confidence") or 1.0)))
        except ValueError as error:
            raise UsageError(
                f"{path}: row {number} ({row['image']}, landmark {row['landmark']}): {error}; "
                "leave x and y empty where a landmark is missing"
            ) from error
        image.append(place)
        landmark.append(label)
        lines.append(number)
    names, order = _order(path, first_rows)
    table = np.array(values).reshape(-1, 3)
    return LandmarkEntries(
        path=path,
        images=list(places),
        rows=rows,
        count=len(labels),
        image=np.array(image),
        landmark=order[np.array(landmark, dtype=np.int64)],
        points=table[:, :2],
        confidence=table[:, 2],
        names=names,
        lines=np.array(lines),
    )


def _order(path: Path, labels: dict[str, int]) -> tuple[tuple[str, ...] | None, Int[np.ndarray, " m"]]:
    """Return the landmarks' names, None if they are numbers, and the place of each label among all.

    Args:
        labels: the row in which each comes first.
    """
    names = [label for label in labels if not label.isdecimal()]
    if names and len(names) < len(labels):
        raise UsageError(
            f"{path}: row {labels[names[0]]}: landmark {names[0]!r} is no number from 0, as others are; "
            "give numbers to all landmarks, or names to all"
        )
    if names:
        return tuple(labels), np.arange(len(labels))
    numbers = np.array([int(label) for label in labels], dtype=np.int64)
    first = int(numbers.min(initial=0)) if 0 in numbers else 1
    missing = np.setdiff1d(np.arange(first, first + len(numbers)), numbers)
    if len(missing) > 0:
        raise UsageError(
            f"{path}: there are landmarks up to {numbers.max()} but landmark {missing[0]} is in no row; "
            "number them 0, 1, 2 … without a gap, the same way for every image"
        )
    return None, numbers - first


def read_json_entries(path: Path) -> LandmarkEntries:
    """Read the entries of a JSON file: its `images` map each image name to its M points, or to an object.

    A point is [x, y], or null where it is missing. The object has `landmarks`, the points, and may have
    `confidence`, M numbers. Beside `images` there may be `names` (M of them), `pairs` (left-right pairs of
    names or of numbers from 0), `center` and `radius` (see `LandmarkScheme`).

    Raises:
        UsageError: the file is unreadable, or something in it cannot be understood.
    """
    value = _load(path)
    if not isinstance(value, dict) or not isinstance(value.get("images"), dict) or not value["images"]:
        raise UsageError(f'{path}: has no "images"; write {{"images": {{"0001.jpg": [[x, y], null, …], …}}}}')
    unknown = sorted(set(value) - {"images", "names", "pairs", "center", "radius"})
    if unknown:
        raise UsageError(f'{path}: "{unknown[0]}" means nothing here; leave it out')
    names = value.get("names")
    if names is not None:
        if not isinstance(names, list) or len(set(map(str, names))) != len(names):
            raise UsageError(f'{path}: "names" is not a list of different names')
        names = tuple(map(str, names))
    image, landmark, values = array("q"), array("q"), array("d")
    count, counted_in = (len(names), '"names"') if names else (0, "")
    for place, (name, entry) in enumerate(value["images"].items()):
        points, confidence = _image_entry(path, name, entry)
        if not count:
            count, counted_in = len(points), repr(name)
        if len(points) != count:
            raise UsageError(
                f"{path}: {name!r} has {len(points)} landmarks and {counted_in} {count}; "
                "write null for one that is missing"
            )
        for number, (point, weight) in enumerate(zip(points, confidence, strict=True)):
            if point is None or point == [None, None]:
                continue
            numbers = [*point, weight] if isinstance(point, list) else []
            if len(numbers) != 3 or not all(
                isinstance(one, (int, float)) and not isinstance(one, bool) for one in numbers
            ):
                raise UsageError(
                    f"{path}: {name!r}, landmark {number}: {point!r} is neither [x, y] nor null; write one"
                )
            values.extend(numbers)
            image.append(place)
            landmark.append(number)
    table = np.array(values).reshape(-1, 3)
    return LandmarkEntries(
        path=path,
        images=list(value["images"]),
        rows={name: '"images"' for name in value["images"]},
        count=count,
        image=np.array(image, dtype=np.int64),
        landmark=np.array(landmark, dtype=np.int64),
        points=table[:, :2],
        confidence=table[:, 2],
        names=names,
        extras={key: value[key] for key in ("pairs", "center", "radius") if key in value},
    )


def _image_entry(path: Path, name: str, entry: Any) -> tuple[list[Any], list[Any]]:
    points, confidence = entry, None
    if isinstance(entry, dict):
        unknown = sorted(set(entry) - {"landmarks", "confidence"})
        if unknown:
            raise UsageError(f'{path}: {name!r}: "{unknown[0]}" means nothing here; leave it out')
        points, confidence = entry.get("landmarks"), entry.get("confidence")
    if not isinstance(points, list):
        raise UsageError(f"{path}: {name!r} has no list of landmarks; write [[x, y], null, …]")
    if confidence is None:
        confidence = [1.0] * len(points)
    if not isinstance(confidence, list) or len(confidence) != len(points):
        raise UsageError(f"{path}: {name!r} has not one confidence for each of its {len(points)} landmarks")
    return points, [0.0 if weight is None else weight for weight in confidence]


def _load(path: Path) -> Any:
    def no_duplicates(items: list[tuple[str, Any]]) -> dict[str, Any]:
        keys: set[str] = set()
        for key, _ in items:
            if key in keys:
                raise UsageError(f"{path}: {key!r} is in it twice; leave one out")
            keys.add(key)
        return dict(items)

    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        return json.loads(text, object_pairs_hook=no_duplicates)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not a readable JSON file ({error}); fix what it names") from error


def duplicates(entries: LandmarkEntries) -> Iterator[tuple[int, int]]:
    """Yield pairs of entries for one landmark of one image: the first and the one after it."""
    key = entries.image * max(1, entries.count) + entries.landmark
    order = np.argsort(key, kind="stable")
    for place in np.flatnonzero(np.diff(key[order]) == 0):
        yield int(order[place]), int(order[place + 1])


NEAR_EDGE = 1.0
"""Landmarks may be this many pixels beyond the photograph: half a pixel is a matter of convention."""
SYSTEMATIC = 0.02
"""If more than this part of the points is outside the photographs, it is no single slip."""
FEWEST_TO_TELL, NEARLY_ALL = 3, 0.9
"""If objects are on their side in this part of this many photographs or more, it is no single slip."""


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
    def usable(self) -> Bool[np.ndarray, " n"]:
        """Return which photographs have enough landmarks for a camera."""
        return (self.confidence > 0).sum(axis=1) >= FEWEST_LANDMARKS


def read_landmark_file(path: Path, photographs: Sequence[Path], folder: Path | None = None) -> FileLandmarks:
    """Read the landmarks of the photographs from a CSV or JSON file.

    `read_csv_entries` and `read_json_entries` describe its form. Coordinates are pixels of the upright
    photograph: (0, 0) is its upper left corner, and pixel centers are at +0.5. Left and right partners come
    from the names if the file gives no pairs: `eye_left` and `eye_right`. Five landmarks with the names
    `FIVE_NAMES` get the place of a face in the class frame.

    Args:
        folder: where the photographs are; None: the file names them by their files' names alone.

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
    # One more row at the end, which has no landmarks, is for photographs that the file does not name.
    rows = {name: row for row, name in enumerate(entries.images)}
    chosen = [rows.get(name, -1) for name in names]
    landmarks = np.concatenate([landmarks, np.full((1, scheme.count, 2), np.nan)])[chosen]
    confidence = np.concatenate([confidence, np.zeros((1, scheme.count))])[chosen]
    sizes = np.array([size or (np.nan, np.nan) for size in seen.values()])
    shrunk = np.fmax(1.0, sizes.max(axis=1) / LONGEST_SIDE)[:, None]
    return FileLandmarks(path, scheme, landmarks / shrunk[:, None], confidence, sizes / shrunk)


def _scheme(entries: LandmarkEntries) -> LandmarkScheme:
    path, names, extras = entries.path, entries.names, entries.extras
    center, radius = np.zeros(3), DEFAULT_RADIUS
    if names is not None and set(names) == set(FIVE_NAMES):
        center, radius = FIVE_CENTER, FIVE_RADIUS
    try:
        pairs: Sequence[Sequence[int]] = pairs_of_names(names) if names is not None else []
        if "pairs" in extras:
            pairs = [_pair(pair, names) for pair in extras["pairs"]]
        center = np.asarray(extras.get("center", center), dtype=np.float64)
        radius = float(extras.get("radius", radius))
        return LandmarkScheme(
            entries.count, partners_of_pairs(pairs, entries.count), center, radius, names=names
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
            f"{entries.where(bad[0])}: confidence {entries.confidence[bad[0]]} is not in [0, 1]"
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
            f"{entries.where(first)}: is outside the photograph like {len(outside) - 1} more points, and "
            "none would be if x and y changed places; swap the two"
        )
    (x, y), (width, height) = entries.points[first], size[first].astype(int)
    raise UsageError(
        f"{entries.where(first)}: ({x:g}, {y:g}) is outside the photograph, which has {width}×{height} "
        f"pixels{_and_more(outside)}; leave out landmarks that are not seen, and count pixels of the upright "
        "photograph"
    )


def _check_upright(
    entries: LandmarkEntries, scheme: LandmarkScheme, landmarks: Float[np.ndarray, "images m 2"]
) -> None:
    """Refuse a collection in which left and right are above each other nearly everywhere."""
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
        f"{entries.where(first)}: left and right are above each other, here and in {len(lying) - 1} more of "
        f"{paired.sum()} photographs; swap x and y if they changed places, or turn the photographs upright"
    )


def _outside(points: Float[np.ndarray, "e 2"], size: Float[np.ndarray, "e 2"]) -> Bool[np.ndarray, " e"]:
    return ((points < -NEAR_EDGE) | (points > size + NEAR_EDGE)).any(axis=1)


def _and_more(entries: np.ndarray) -> str:
    return f", and {len(entries) - 1} more like it" if len(entries) > 1 else ""
