"""Near-duplicates and mirrored duplicates among thumbnails, against a comparison of all with all."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from scipy.spatial.distance import cdist

from nerfgen_ns.preprocessing.report import preflight as near_duplicates
from nerfgen_ns.preprocessing.report.preflight import (
    SAME_PHOTOGRAPH,
    THUMBNAIL,
    same_photograph,
    thumbnail,
)


def scene(seed: int) -> Image.Image:
    """A picture of its own, with structure everywhere."""
    cells = np.random.default_rng(seed).integers(20, 235, (14, 14, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((256, 256), Image.Resampling.BICUBIC)


def thumbnails_of(count: int, seed: int = 0) -> np.ndarray:
    """Thumbnails of different pictures."""
    return np.array([thumbnail(scene(1000 * seed + number)) for number in range(count)])


def by_all_pairs(thumbnails: np.ndarray, mirrored: bool) -> np.ndarray:
    """Whether each thumbnail has a near-duplicate, by comparing all with all."""

    def normalized(values):
        flat = values.reshape(len(values), -1).astype(np.float64)
        flat -= flat.mean(axis=1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    mine = normalized(thumbnails[:, :, ::-1] if mirrored else thumbnails)
    distance = cdist(mine, normalized(thumbnails))
    np.fill_diagonal(distance, np.inf)
    return distance.min(axis=1) < SAME_PHOTOGRAPH


def compressed(image: Image.Image) -> Image.Image:
    written = io.BytesIO()
    image.save(written, "JPEG", quality=25)
    return Image.open(written)


def framed(image: Image.Image, color: str) -> Image.Image:
    """The crop of a photograph that was cut on all sides and framed: its edges are another's."""
    return ImageOps.expand(image.crop((40, 40, 216, 216)), 40, color)


CHANGES = {
    "compressed": compressed,
    "smaller": lambda image: image.resize((90, 90)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.5),
    "gamma": lambda image: image.point(lambda value: 255 * (value / 255) ** 0.6),
    "gray": lambda image: image.convert("L"),
    "sepia": lambda image: ImageOps.colorize(image.convert("L"), (40, 20, 0), (255, 240, 200)),
    "saturated": lambda image: ImageEnhance.Color(image).enhance(1.8),
    "sharpened": lambda image: image.filter(ImageFilter.UnsharpMask(2, 120)),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
    "framed white": lambda image: framed(image, "white"),
    "framed black": lambda image: framed(image, "black"),
    "a little beside": lambda image: image.transform((256, 256), Image.Transform.AFFINE, (1, 0, 2, 0, 1, -2)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_photograph_is_found_whatever_was_done_to_it(change):
    others = thumbnails_of(50)
    copy = thumbnail(CHANGES[change](scene(77777)).convert("RGB"))
    thumbnails = np.concatenate([[thumbnail(scene(77777)), copy], others])
    same = same_photograph(thumbnails)
    assert same[:2].tolist() == [1, 0] and (same[2:] == -1).all()
    assert (same_photograph(thumbnails, mirrored=True) == -1).all()


@pytest.mark.parametrize("mirrored", [False, True])
def test_principal_components_and_blocks_overlook_nothing(mirrored, monkeypatch):
    monkeypatch.setattr(near_duplicates, "ROWS", 37)
    monkeypatch.setattr(near_duplicates, "COLUMNS", 101)
    generator = np.random.default_rng(2)
    thumbnails = thumbnails_of(300)
    # Further copies, ever noisier, so that some lie on either side of the limit.
    noise = generator.normal(size=thumbnails[:60].shape) * np.linspace(0, 30, 60)[:, None, None]
    copies = np.clip(thumbnails[:60] + noise, 0, 255).astype(np.uint8)
    thumbnails = np.concatenate([thumbnails, copies[:, :, ::-1] if mirrored else copies])
    found = same_photograph(thumbnails, mirrored) >= 0
    expected = by_all_pairs(thumbnails, mirrored)
    assert 20 < expected.sum() < 118
    np.testing.assert_array_equal(found, expected)


def test_a_symmetric_photograph_is_not_its_own_mirrored_duplicate():
    thumbnails = thumbnails_of(20)
    thumbnails[3] = thumbnails[3] // 2 + thumbnails[3][:, ::-1] // 2
    assert (same_photograph(thumbnails, mirrored=True) == -1).all()
    thumbnails[8] = thumbnails[3]
    mirrored = same_photograph(thumbnails, mirrored=True)
    assert (mirrored[3], mirrored[8]) == (8, 3)


def test_very_many_identical_photographs_are_found_at_once():
    thumbnails = np.repeat(thumbnails_of(2), 1500, axis=0)
    same = same_photograph(thumbnails)
    assert (same // 1500 == np.arange(3000) // 1500).all() and (same != np.arange(3000)).all()


def test_photographs_of_one_color_and_single_ones_are_compared_with_nothing():
    plain = np.array([thumbnail(Image.new("RGB", (64, 64), color)) for color in ("red", "gray", "gray")])
    assert plain.shape == (3, THUMBNAIL, THUMBNAIL) and (same_photograph(plain) == -1).all()
    assert (same_photograph(thumbnails_of(1)) == -1).all()
    assert len(same_photograph(plain[:0])) == 0
