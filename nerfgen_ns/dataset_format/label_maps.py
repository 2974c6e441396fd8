"""Label maps: pictures of class numbers, and the file labels.json, which names the numbers."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from nerfgen_ns.errors import UsageError
from nerfgen_ns.utils.files import read_json, replace_file, write_json

UNLABELED = 255
"""What a pixel is that nobody has labeled."""
MOST_LABELS = 255
"""A label map has one byte a pixel, and its last value means unlabeled."""
BACKGROUND = "background"
"""What is behind the object."""
LEGEND = "labels.json"
"""The file beside label maps that names their numbers."""
MAPS = "label_maps"
"""The folder of the label maps that a run was labeled with, in its run folder."""
SUFFIX = ".png"
MODES = ("1", "L", "P", "I", "I;16")
"""Kinds of pictures whose pixels are numbers, as Pillow calls them."""
Color = tuple[int, int, int]
LabelMap = UInt8[np.ndarray, "height width"]


@dataclass(frozen=True)
class Legend:
    """The labels of a class: the number of a label is its place."""

    names: tuple[str, ...]
    """Their names; one is `background`."""
    colors: tuple[Color, ...]
    """Their colors: red, green, blue, 0 to 255."""

    @classmethod
    def of_names(cls, names: Sequence[str], colors: Sequence[Color] | None = None) -> Legend:
        """Make a legend; without colors each label gets its own, and a class without background gets one."""
        own = list(names) if BACKGROUND in names else [*names, BACKGROUND]
        given = list(colors or [])
        hues = (0.618 * place % 1.0 for place in range(len(own)))
        made = [tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.65, 0.95)) for hue in hues]
        made[own.index(BACKGROUND)] = (0, 0, 0)
        return cls(tuple(own), (*given, *made[len(given) :]))  # type: ignore[arg-type]

    @property
    def background(self) -> int:
        """Return the number of the background."""
        return self.names.index(BACKGROUND)

    def renumbered(self, labels: LabelMap, others: Legend, path: Path) -> LabelMap:
        """Return a label map of another legend with the numbers of this one.

        Raises:
            UsageError: it shows a label that this legend does not have; the line names the file.
        """
        numbers = np.full(256, UNLABELED, dtype=np.uint8)
        for number in np.unique(labels[labels != UNLABELED]).tolist():
            name = others.names[number]
            if name not in self.names:
                raise UsageError(
                    f"{path}: shows {name!r}, which the run does not know; it knows {', '.join(self.names)}"
                )
            numbers[number] = self.names.index(name)
        return numbers[labels]

    def number(self, name: str, option: str) -> int:
        """Return the number of a label.

        Raises:
            UsageError: there is no such label; the line begins with the option that named it.
        """
        if name not in self.names:
            raise UsageError(f"{option} {name}: no such label; choose one of {', '.join(self.names)}")
        return self.names.index(name)

    def picture(self, labels: LabelMap) -> UInt8[np.ndarray, "height width 3"]:
        """Draw a label map in the colors of the labels; white where it is unlabeled."""
        colors = np.full((256, 3), 255, dtype=np.uint8)
        colors[: len(self.colors)] = self.colors
        return colors[labels]

    def write_map(self, path: Path, labels: LabelMap) -> None:
        """Write a label map as a PNG with the colors of the labels as its palette."""
        image = Image.fromarray(labels)
        image.putpalette(self.picture(np.arange(256, dtype=np.uint8)[None]).tobytes())
        with replace_file(path) as temporary:
            image.save(temporary, "PNG")

    def write(self, folder: Path) -> None:
        """Write labels.json into a folder."""
        write_json(folder / LEGEND, {"names": list(self.names), "colors": [list(one) for one in self.colors]})


EXAMPLE = '{"names": ["background", "skin", "hair"], "colors": [[0, 0, 0], [224, 172, 105], [60, 40, 30]]}'


def read_legend(folder: Path) -> Legend:
    """Read the labels.json of a folder of label maps.

    It has `names`, a list whose places are the numbers, and may have `colors`, as many.

    Raises:
        UsageError: it is missing, names too many labels, or one of them twice.
    """
    path = folder / LEGEND
    if not path.is_file():
        raise UsageError(f"{path}: not there; write one that names the numbers, such as {EXAMPLE}")
    value = read_json(path)
    names = value.get("names") if isinstance(value, Mapping) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise UsageError(f'{path}: has no "names", a list of texts; write it as {EXAMPLE}')
    if len(names) > MOST_LABELS:
        raise UsageError(f"{path}: {len(names)} labels, and a label map holds {MOST_LABELS}; join some")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f'{path}: "names" has {twice[0]!r} more than once; give each label its own name')
    if BACKGROUND not in names and len(names) == MOST_LABELS:
        raise UsageError(f'{path}: {len(names)} labels and no "{BACKGROUND}" among them; join some')
    colors = value.get("colors")
    if colors is not None and not _are_colors(colors, len(names)):
        raise UsageError(f'{path}: "colors" is not three numbers from 0 to 255 for each name; correct it')
    return Legend.of_names(names, colors and [(red, green, blue) for red, green, blue in colors])


def _are_colors(value: object, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(one, list) and len(one) == 3 for one in value)
        and all(type(part) is int and 0 <= part <= 255 for one in value for part in one)
    )


def read_label_map(path: Path, legend: Legend) -> LabelMap:
    """Read a label map: a palette or gray PNG whose pixels are numbers of labels, or 255 for unlabeled.

    Raises:
        UsageError: it is no such picture, has a number without a label, or no labeled pixel.
    """
    try:
        with Image.open(path) as file:
            mode, values = file.mode, np.array(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: not a readable picture ({error}); save it again as PNG") from error
    if mode not in MODES:
        raise UsageError(
            f"{path}: a picture of kind {mode}, whose pixels are no numbers; save it as a PNG with a palette "
            "or in gray, where the value of a pixel is its label"
        )
    values = values.astype(np.int64)
    unknown = np.unique(values[(values != UNLABELED) & ((values < 0) | (values >= len(legend.names)))])
    if len(unknown) > 0:
        shown = ", ".join(map(str, unknown[:5].tolist()))
        raise UsageError(
            f"{path}: has the numbers {shown}{', …' if len(unknown) > 5 else ''}, and {LEGEND} names 0 to "
            f"{len(legend.names) - 1}; name them there, or use {UNLABELED} for unlabeled"
        )
    if (values == UNLABELED).all():
        raise UsageError(f"{path}: no pixel is labeled; label some, or remove the file")
    return values.astype(np.uint8)


def list_label_maps(folder: Path, option: str) -> dict[str, Path]:
    """Return the label maps of a folder by their names without suffix, sorted.

    Raises:
        UsageError: there is no such folder, no label map in it, or two of one name.
    """
    if not folder.is_dir():
        raise UsageError(f"{option} {folder}: no such folder; give a folder of label maps")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() == SUFFIX and not path.name.startswith("."):
            if path.stem in found:
                raise UsageError(f"{path}: {found[path.stem].name} has the same name; remove one of them")
            found[path.stem] = path
    if not found:
        raise UsageError(f"{option} {folder}: holds no label map; put PNGs there, named as the photographs")
    return found


@dataclass(frozen=True)
class MappedPhotograph:
    """What a label map has to fit: one photograph of a run, or one that is fitted."""

    crop_name: str
    """The name of its crop, without suffix."""
    source: str
    """What it was called before it was prepared."""
    width: int
    height: int
    """The size of the crop."""
    photograph_to_crop: Float[np.ndarray, "2 3"] | None = None
    """From pixels of the photograph as it was to those of the crop."""


def match_label_maps(
    maps: Mapping[str, Path], photographs: Sequence[MappedPhotograph], legend: Legend
) -> dict[int, LabelMap]:
    """Find the photograph of each label map, and return the maps as their crops show them.

    A map is named after the crop, or after the photograph as it was before. One as large as the crop belongs
    to the crop; a larger or a smaller one to the photograph, whose pixels `photograph_to_crop` maps.

    Args:
        maps: files by their names without suffix; see `list_label_maps`.
        photographs: the photographs.
        legend: what the numbers mean.

    Returns:
        The label map of each photograph that has one, by its place.

    Raises:
        UsageError: a map cannot be read, fits no photograph, has another size, or two are of one photograph.
    """
    by_name: dict[str, list[int]] = {}
    for place, photograph in enumerate(photographs):
        names = (photograph.crop_name, photograph.source, Path(photograph.source).stem)
        for name in dict.fromkeys(names):
            by_name.setdefault(name, []).append(place)
    found: dict[int, LabelMap] = {}
    file_of: dict[int, Path] = {}
    for name, path in maps.items():
        labels = read_label_map(path, legend)
        place = _place_of(path, labels, by_name.get(name, []), photographs)
        if place in found:
            raise UsageError(
                f"{path}: {file_of[place].name} is a label map of the same photograph; remove one of them"
            )
        found[place], file_of[place] = label_map_of_crop(path, labels, photographs[place]), path
    return found


def _place_of(
    path: Path, labels: LabelMap, places: Sequence[int], photographs: Sequence[MappedPhotograph]
) -> int:
    """Return the photograph that a label map is of, among those that its name may mean."""
    if not places:
        some = photographs[0]
        names = " or ".join(
            dict.fromkeys(f"{name}{SUFFIX}" for name in (some.crop_name, Path(some.source).stem))
        )
        raise UsageError(f"{path}: no photograph has this name; name label maps as {names}")
    crops = [place for place in places if photographs[place].crop_name == path.stem]
    sized = [
        place for place in crops if labels.shape == (photographs[place].height, photographs[place].width)
    ]
    others = [place for place in places if place not in crops]
    (chosen, *more) = sized or others or crops
    if more:
        one, two = (photographs[place].source for place in (chosen, more[0]))
        raise UsageError(
            f"{path}: {one} and {two} both have this name; name it after the crop, "
            f"{photographs[chosen].crop_name}{SUFFIX}"
        )
    return chosen


def label_map_of_crop(path: Path, labels: LabelMap, photograph: MappedPhotograph) -> LabelMap:
    """Return a label map as a photograph's crop shows it: each pixel has the label at its middle.

    Raises:
        UsageError: it has neither the crop's size nor that of a photograph with this crop.
    """
    height, width, matrix = photograph.height, photograph.width, photograph.photograph_to_crop
    if labels.shape == (height, width):
        return labels
    rows, columns = np.mgrid[:height, :width] + 0.5
    middles = np.stack([columns, rows], axis=-1)
    size = f"{labels.shape[1]}×{labels.shape[0]}"
    if matrix is None:
        raise UsageError(f"{path}: {size} pixels where its photograph has {width}×{height}; give that size")
    places = np.floor((middles - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T).astype(np.int64)
    inside = ((places >= 0) & (places < labels.shape[::-1])).all(axis=-1)
    if not inside[height // 2, width // 2]:
        raise UsageError(
            f"{path}: {size} pixels, neither the {width}×{height} of the crop nor as many as its photograph "
            "has; give one of the two sizes"
        )
    mapped = np.full((height, width), UNLABELED, dtype=np.uint8)
    mapped[inside] = labels[places[inside][:, 1], places[inside][:, 0]]
    if (mapped == UNLABELED).all():
        raise UsageError(f"{path}: no pixel within the crop of its photograph is labeled; label some there")
    return mapped


def shrink_label_map(labels: LabelMap, width: int, height: int) -> LabelMap:
    """Make a label map smaller: each pixel has the label at its middle."""
    rows = np.floor((np.arange(height) + 0.5) * labels.shape[0] / height).astype(int)
    columns = np.floor((np.arange(width) + 0.5) * labels.shape[1] / width).astype(int)
    return labels[np.ix_(rows, columns)]
