"""Capturing one photograph with landmarks that are known already: crops, mattes, what is rejected."""

import pickle

import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.preprocessing.crops import Crop
from nerfgen_ns.preprocessing.mattes import MatteOptions
from nerfgen_ns.preprocessing.single_photograph import CapturePhotograph, write_given_landmarks
from nerfgen_ns.preprocessing.store import CaptureFiles

LANDMARKS = np.array([[20.0, 30], [60, 32], [40, 50], [28, 66], [np.nan, np.nan]])
KNOWN = np.array([1.0, 0.5, 1, 1, 0])
CROP = Crop(np.array([[0.5, 0, 3], [0, 0.5, -2]]), 48)


@pytest.fixture
def photographs(tmp_path):
    """Three photographs, of which only the first two have landmarks enough."""
    random = np.random.default_rng(0)
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in "abc":
        Image.fromarray(random.integers(0, 256, (90, 80, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def given(photographs, tmp_path):
    confidence = np.stack([KNOWN, KNOWN, [1, 1, 1, 0, 0]])
    write_given_landmarks(
        tmp_path / "given",
        [path.name for path in photographs],
        np.stack([LANDMARKS] * 3),
        confidence,
        [CROP, None, None],
    )
    return tmp_path / "given"


def captured(capture, photograph, tmp_path):
    files = CaptureFiles(
        tmp_path / f"out/{photograph.stem}.png", tmp_path / f"out/{photograph.stem}-matte.png"
    )
    return pickle.loads(pickle.dumps(capture))(photograph, files), files


def test_landmarks_and_crop_are_those_that_are_given(photographs, given, tmp_path):
    capture = CapturePhotograph(48, given=given, mattes=MatteOptions("none"))
    record, files = captured(capture, photographs[0], tmp_path)
    np.testing.assert_allclose(record["landmarks"], LANDMARKS * 0.5 + [3, -2])
    np.testing.assert_array_equal(record["confidence"], KNOWN)
    np.testing.assert_allclose(record["photograph_to_crop"], CROP.matrix)
    assert files.image.exists() and not files.matte.exists()
    with Image.open(files.image) as image:
        assert image.size == (48, 48)


def test_without_a_crop_the_whole_photograph_is_taken(photographs, given, tmp_path):
    capture = CapturePhotograph(90, given=given, mattes=MatteOptions("none"))
    record, files = captured(capture, photographs[1], tmp_path)
    np.testing.assert_allclose(record["landmarks"], LANDMARKS + np.array([5, 0]))
    assert record["principal_point"] == [45, 45]
    with Image.open(files.image) as image, Image.open(photographs[1]) as photograph:
        np.testing.assert_array_equal(np.asarray(image)[:, 5:85], photograph)


def test_a_photograph_with_too_few_landmarks_is_rejected(photographs, given, tmp_path):
    capture = CapturePhotograph(48, given=given, mattes=MatteOptions("none"))
    record, files = captured(capture, photographs[2], tmp_path)
    assert record["reason"] == "only 3 of its 5 landmarks are known" and record["mend"]
    assert not files.image.exists()


def test_the_stamp_changes_with_what_is_given_and_with_the_matte(photographs, given, tmp_path):
    (tmp_path / "mattes").mkdir()
    matte = Image.new("L", (80, 90), 200)
    matte.save(tmp_path / "mattes/a.png")
    capture = CapturePhotograph(48, given=given, mattes=MatteOptions("folder", tmp_path / "mattes"))
    before = capture.stamp(photographs[0])
    assert before == capture.stamp(photographs[0])
    matte.save(tmp_path / "mattes/a.png", compress_level=0)
    assert capture.stamp(photographs[0]) != before
    write_given_landmarks(
        tmp_path / "moved",
        [path.name for path in photographs],
        np.stack([LANDMARKS + 1] * 3),
        np.stack([KNOWN] * 3),
        [CROP] * 3,
    )
    plain, moved = (CapturePhotograph(48, given=folder) for folder in (given, tmp_path / "moved"))
    assert plain.stamp(photographs[0]) != moved.stamp(photographs[0])
    assert CapturePhotograph(48).stamp(photographs[0]) == ""


def test_the_matte_of_a_folder_is_cropped_with_the_photograph(photographs, given, tmp_path):
    (tmp_path / "mattes").mkdir()
    with Image.open(photographs[1]) as photograph:
        photograph.getchannel("G").save(tmp_path / "mattes/b.png")
    capture = CapturePhotograph(48, given=given, mattes=MatteOptions("folder", tmp_path / "mattes"))
    _, files = captured(capture, photographs[1], tmp_path)
    with Image.open(files.image) as image, Image.open(files.matte) as matte:
        np.testing.assert_array_equal(np.asarray(image)[..., 1], matte)
