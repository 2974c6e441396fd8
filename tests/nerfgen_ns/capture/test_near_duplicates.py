"""Near-duplicates and mirrored duplicates among thumbnails, against a comparison of all with all."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy.spatial.distance import cdist

from nerfgen_ns.capture.near_duplicates import SAME_PHOTOGRAPH, THUMBNAIL, same_photograph, thumbnail


def smooth_thumbnails(count: int, seed: int = 0) -> np.ndarray:
    """Different smooth images."""
    small = np.random.default_rng(seed).integers(0, 255, (count, 4, 4, 3), dtype=np.uint8)
    return np.array(
        [thumbnail(Image.fromarray(image).resize((96, 96), Image.Resampling.BICUBIC)) for image in small]
    )


def by_all_pairs(thumbnails: np.ndarray, mirrored: bool) -> np.ndarray:
    """Whether each thumbnail has a near-duplicate, by comparing all with all."""

    def normalised(values):
        flat = values.reshape(len(values), -1).astype(np.float64)
        flat -= flat.mean(axis=1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    mine = normalised(thumbnails[:, :, ::-1] if mirrored else thumbnails)
    distance = cdist(mine, normalised(thumbnails))
    np.fill_diagonal(distance, np.inf)
    return distance.min(axis=1) < SAME_PHOTOGRAPH


def test_the_same_photograph_is_found_scaled_compressed_and_brightened():
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (5, 5, 3), dtype=np.uint8))
    image = image.resize((256, 256), Image.Resampling.BICUBIC)
    written = io.BytesIO()
    image.save(written, "JPEG", quality=25)
    copies = [image, Image.open(written), image.resize((90, 90)), ImageEnhance.Brightness(image).enhance(0.8)]
    thumbnails = np.concatenate([[thumbnail(copy) for copy in copies], smooth_thumbnails(50)])
    same = same_photograph(thumbnails)
    assert set(same[:4]) <= {0, 1, 2, 3} and (same[:4] != np.arange(4)).all()
    assert (same[4:] == -1).all()
    assert (same_photograph(thumbnails, mirrored=True) == -1).all()


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_tree_overlooks_nothing(mirrored):
    generator = np.random.default_rng(2)
    thumbnails = smooth_thumbnails(300)
    # Further copies, ever noisier, so that some lie on either side of the limit.
    noise = generator.normal(size=thumbnails[:60].shape) * np.linspace(0, 14, 60)[:, None, None, None]
    copies = np.clip(thumbnails[:60] + noise, 0, 255).astype(np.uint8)
    thumbnails = np.concatenate([thumbnails, copies[:, :, ::-1] if mirrored else copies])
    found = same_photograph(thumbnails, mirrored) >= 0
    expected = by_all_pairs(thumbnails, mirrored)
    assert 20 < expected.sum() < 120
    np.testing.assert_array_equal(found, expected)


def test_a_symmetric_photograph_is_not_its_own_mirrored_duplicate():
    thumbnails = smooth_thumbnails(20)
    thumbnails[3] = thumbnails[3] // 2 + thumbnails[3][:, ::-1] // 2
    assert (same_photograph(thumbnails, mirrored=True) == -1).all()
    thumbnails[8] = thumbnails[3]
    mirrored = same_photograph(thumbnails, mirrored=True)
    assert (mirrored[3], mirrored[8]) == (8, 3)


def test_very_many_identical_photographs_are_found_at_once():
    thumbnails = np.repeat(smooth_thumbnails(2), 3000, axis=0)
    same = same_photograph(thumbnails)
    assert (same // 3000 == np.arange(6000) // 3000).all() and (same != np.arange(6000)).all()


def test_photographs_of_one_colour_and_single_ones_are_compared_with_nothing():
    plain = np.full((5, THUMBNAIL, THUMBNAIL, 3), 200, np.uint8)
    assert (same_photograph(plain) == -1).all()
    assert (same_photograph(smooth_thumbnails(1)) == -1).all()
    assert len(same_photograph(plain[:0])) == 0
