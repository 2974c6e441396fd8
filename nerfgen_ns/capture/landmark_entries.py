"""The two forms of a landmark file, CSV and JSON, read into one: points, and where each was found."""

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from nerfgen_ns.capture.csv_files import read_csv
from nerfgen_ns.errors import UsageError


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
    image: Int[np.ndarray, "e"]
    """Place among `images`."""
    landmark: Int[np.ndarray, "e"]
    points: Float[np.ndarray, "e 2"]
    confidence: Float[np.ndarray, "e"]
    names: tuple[str, ...] | None
    lines: Int[np.ndarray, "e"] | None = None
    """Line of each point in a CSV file."""
    extras: dict[str, Any] = field(default_factory=dict)
    """What a JSON file says of the class: `pairs`, `centre`, `radius`."""

    def where(self, entry: int) -> str:
        """The entry's place in the file, for messages."""
        landmark = int(self.landmark[entry])
        name = self.names[landmark] if self.names else f"landmark {landmark}"
        row = "" if self.lines is None else f"row {self.lines[entry]}: "
        return f"{self.path}: {row}{self.images[self.image[entry]]!r}, {name}"


def read_csv_entries(path: Path) -> LandmarkEntries:
    """Entries of a CSV file with the columns image, landmark, x, y and perhaps confidence.

    A landmark is a number, counted from 0 or from 1, or a name. Where x and y are empty it is missing, as it
    is where it has no row.

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


def _order(path: Path, labels: dict[str, int]) -> tuple[tuple[str, ...] | None, Int[np.ndarray, "m"]]:
    """Names of the landmarks, None where they are numbers, and the place of each label among all.

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
    """Entries of a JSON file, an object with `images`: to each image name its M points, or an object.

    A point is [x, y], or null where it is missing. The object has `landmarks`, the points, and may have
    `confidence`, M numbers. Beside `images` there may be `names` (M of them), `pairs` (left-right pairs of
    names or of numbers from 0), `centre` and `radius` (see `LandmarkScheme`).

    Raises:
        UsageError: the file is unreadable, or something in it cannot be understood.
    """
    value = _load(path)
    if not isinstance(value, dict) or not isinstance(value.get("images"), dict) or not value["images"]:
        raise UsageError(f'{path}: has no "images"; write {{"images": {{"0001.jpg": [[x, y], null, …], …}}}}')
    unknown = sorted(set(value) - {"images", "names", "pairs", "centre", "radius"})
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
        extras={key: value[key] for key in ("pairs", "centre", "radius") if key in value},
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
        raise UsageError(f"{path}: not a readable JSON file ({error}); mend what it names") from error


def duplicates(entries: LandmarkEntries) -> Iterator[tuple[int, int]]:
    """Pairs of entries for one landmark of one image: the first and the one after it."""
    key = entries.image * max(1, entries.count) + entries.landmark
    order = np.argsort(key, kind="stable")
    for place in np.flatnonzero(np.diff(key[order]) == 0):
        yield int(order[place]), int(order[place + 1])
