"""Label maps: their files, their legend, and the photographs that they belong to."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.dataset_format.label_maps import (
    UNLABELED,
    Legend,
    MappedPhotograph,
    list_label_maps,
    match_label_maps,
    read_label_map,
    read_legend,
    shrink_label_map,
)
from nerfgen_ns.errors import UsageError

LEGEND = Legend.of_names(["background", "skin", "hair"])
NUMBERS = np.array([[0, 1, 2, UNLABELED]] * 4, dtype=np.uint8)


def save(path: Path, image: Image.Image | np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path)
    return path


def test_gray_palette_and_sixteen_bits_hold_the_same_numbers(tmp_path: Path) -> None:
    LEGEND.write_map(tmp_path / "palette.png", NUMBERS)
    save(tmp_path / "gray.png", NUMBERS)
    save(tmp_path / "deep.png", Image.fromarray(NUMBERS.astype(np.uint16)))
    with Image.open(tmp_path / "palette.png") as picture:
        assert picture.mode == "P"
        colors = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(colors, LEGEND.picture(NUMBERS))
    for name in ("palette", "gray", "deep"):
        np.testing.assert_array_equal(read_label_map(tmp_path / f"{name}.png", LEGEND), NUMBERS)


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((4, 4), 3, dtype=np.uint8),
        np.full((4, 4), 300, dtype=np.uint16),
        np.full((4, 4), UNLABELED, dtype=np.uint8),
        np.zeros((4, 4, 3), dtype=np.uint8),
    ],
)
def test_an_unknown_number_nothing_labeled_and_colors_are_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    path = save(tmp_path / "a.png", pixels)
    with pytest.raises(UsageError, match=r"a\.png: "):
        read_label_map(path, LEGEND)
    (tmp_path / "torn.png").write_bytes(path.read_bytes()[:40])
    with pytest.raises(UsageError, match=r"torn\.png: "):
        read_label_map(tmp_path / "torn.png", LEGEND)


def test_a_legend_is_read_as_it_was_written_and_gets_colors_and_a_background(tmp_path: Path) -> None:
    LEGEND.write(tmp_path)
    assert read_legend(tmp_path) == LEGEND
    (tmp_path / "labels.json").write_text('{"names": ["hair", "eyes"]}')
    legend = read_legend(tmp_path)
    assert legend.names == ("hair", "eyes", "background") and legend.background == 2
    assert legend.colors[2] == (0, 0, 0) and len(set(legend.colors)) == 3


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"names": []},
        {"names": ["a", 1]},
        {"names": ["a", "b", "a"]},
        {"names": [str(number) for number in range(256)]},
        {"names": ["a"], "colors": []},
        {"names": ["a"], "colors": [[0, 0, 256]]},
    ],
)
def test_a_legend_that_names_nothing_or_something_twice_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UsageError, match=r"labels\.json: "):
        read_legend(tmp_path)
    (tmp_path / "labels.json").write_text(json.dumps(value))
    with pytest.raises(UsageError, match=r"labels\.json: "):
        read_legend(tmp_path)


def test_numbers_of_another_legend_are_found_by_name(tmp_path: Path) -> None:
    others = Legend.of_names(["hair", "background", "ears"])
    labels = np.array([[0, 1, UNLABELED]], dtype=np.uint8)
    np.testing.assert_array_equal(LEGEND.renumbered(labels, others, tmp_path), [[2, 0, UNLABELED]])
    with pytest.raises(UsageError, match="ears"):
        LEGEND.renumbered(np.array([[2]], dtype=np.uint8), others, tmp_path)
    with pytest.raises(UsageError, match=r"--part ears"):
        LEGEND.number("ears", "--part")


CROP = np.array([[0.5, 0.0, -2.0], [0.0, 0.5, -1.0]])
"""Half as large; the crop begins at column 4 and row 2 of the photograph."""
PHOTOGRAPHS = [
    MappedPhotograph("000000", "anna.jpg", 4, 4, CROP),
    MappedPhotograph("000001", "000000.jpg", 4, 4, CROP),
    MappedPhotograph("000002", "carl.jpg", 4, 4),
]


def match(folder: Path) -> dict[int, np.ndarray]:
    return match_label_maps(list_label_maps(folder, "--masks"), PHOTOGRAPHS, LEGEND)


def test_a_map_of_a_photograph_is_mapped_to_its_crop(tmp_path: Path) -> None:
    whole = np.zeros((12, 14), dtype=np.uint8)
    whole[2:6, 4:8] = 1  # the crop's upper left quarter
    whole[11] = 2
    save(tmp_path / "anna.png", whole)
    (crop,) = match(tmp_path).values()
    expected = np.zeros((4, 4), dtype=np.uint8)
    expected[:2, :2] = 1
    np.testing.assert_array_equal(crop, expected)
    save(tmp_path / "anna.png", whole[:8, :10])
    (crop,) = match(tmp_path).values()
    assert (crop[3] == UNLABELED).all() and (crop[:, 3] == UNLABELED).all()
    np.testing.assert_array_equal(crop[:2, :2], 1)


def test_a_name_of_a_crop_and_of_a_photograph_means_the_one_that_the_size_fits(tmp_path: Path) -> None:
    save(tmp_path / "000000.png", NUMBERS)
    assert list(match(tmp_path)) == [0]
    save(tmp_path / "000000.png", np.ones((12, 14), dtype=np.uint8))
    assert list(match(tmp_path)) == [1]


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"dora.png": (4, 4)}, "dora.png"),
        ({"carl.png": (5, 4)}, "carl.png"),
        ({"000001.png": (3, 3)}, "000001.png"),
        ({"anna.png": (4, 4), "000000.png": (4, 4)}, "anna.png"),
        ({"anna.png": (4, 4), "anna.PNG": (4, 4)}, "anna.png"),
        ({"anna.txt": None}, "--masks"),
    ],
)
def test_maps_of_another_name_or_size_and_two_of_one_photograph_are_refused(
    tmp_path: Path, files: dict[str, tuple[int, int] | None], named: str
) -> None:
    for name, shape in files.items():
        if shape is None:
            (tmp_path / name).write_text("")
        else:
            with (tmp_path / name).open("wb") as file:
                Image.fromarray(np.ones(shape, dtype=np.uint8)).save(file, "PNG")
    with pytest.raises(UsageError, match=named):
        match(tmp_path)


def test_a_smaller_map_has_the_labels_at_the_middles_as_pillow_has_them() -> None:
    labels = np.random.default_rng(0).integers(0, 200, (12, 16), dtype=np.uint8)
    for width, height in ((8, 6), (4, 3), (16, 12), (5, 7)):
        expected = Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST)
        np.testing.assert_array_equal(shrink_label_map(labels, width, height), np.asarray(expected))
