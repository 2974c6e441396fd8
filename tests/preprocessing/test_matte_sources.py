import pickle

import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.crops import Crop, square_crop
from nerfgen_ns.preprocessing.mattes import MatteOptions, background_matte
from nerfgen_ns.preprocessing.photographs import RejectedError, read_photograph

GREEN = (30, 160, 60)


@pytest.fixture
def disc():
    """Coverage of a disc, its colors over green, and over nothing."""
    rows, columns = np.mgrid[:60, :80] + 0.5
    coverage = np.clip(20.5 - np.hypot(columns - 45, rows - 28), 0, 1)
    colors = coverage[..., None] * [200, 20, 90] + (1 - coverage[..., None]) * GREEN
    return coverage, colors.round().astype(np.uint8)


def matte_of(options, path, crop=None, size=80):
    photograph = read_photograph(path)
    height, width = photograph.shape[:2]
    source = pickle.loads(pickle.dumps(options)).open()
    return source(path, photograph, crop or square_crop(width, height, size), photograph)


def test_a_solid_background_gives_a_soft_matte(tmp_path, disc):
    coverage, colors = disc
    matte = background_matte(colors, np.array(GREEN)) / 255
    assert matte[coverage == 1].min() == 1 and matte[coverage == 0].max() == 0
    assert ((matte > 0) & (matte < 1)).any(), "soft"
    assert (np.abs(matte - coverage) > 0.7).mean() < 0.01
    Image.fromarray(colors).save(tmp_path / "a.png")
    for color in (None, GREEN):
        np.testing.assert_array_equal(
            matte_of(MatteOptions("background", color=color), tmp_path / "a.png")[10:70],
            (matte * 255).round(),
        )


def test_a_background_of_many_colors_is_not_taken_for_a_solid_one(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    with pytest.raises(RejectedError, match="--background-color"):
        matte_of(MatteOptions("background"), tmp_path / "a.png")
    Image.new("RGB", (80, 60), GREEN).save(tmp_path / "empty.png")
    with pytest.raises(RejectedError):
        matte_of(MatteOptions("background"), tmp_path / "empty.png")


def test_alpha_becomes_the_matte_and_is_cropped_like_the_photograph(tmp_path, disc):
    coverage, colors = disc
    alpha = (coverage * 255).round().astype(np.uint8)
    Image.fromarray(np.dstack([colors, alpha])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(matte_of(MatteOptions("alpha"), tmp_path / "a.png")[10:70], alpha)
    half = matte_of(
        MatteOptions("alpha"), tmp_path / "a.png", Crop(np.array([[1.0, 0, -20], [0, 1.0, -5]]), 50)
    )
    np.testing.assert_array_equal(half, alpha[5:55, 20:70])
    Image.fromarray(colors).save(tmp_path / "opaque.png")
    with pytest.raises(RejectedError, match="--mattes"):
        matte_of(MatteOptions("alpha"), tmp_path / "opaque.png")
    Image.fromarray(np.dstack([colors, 0 * alpha])).save(tmp_path / "clear.png")
    with pytest.raises(RejectedError):
        matte_of(MatteOptions("alpha"), tmp_path / "clear.png")


@pytest.fixture
def folders(tmp_path, disc):
    coverage, colors = disc
    (tmp_path / "photographs").mkdir()
    (tmp_path / "mattes").mkdir()
    Image.fromarray(colors).save(tmp_path / "photographs/a.jpg")
    return tmp_path / "photographs/a.jpg", tmp_path / "mattes", (coverage * 255).round().astype(np.uint8)


@pytest.mark.parametrize("form", ["gray", "black and white", "0 and 1", "16 bits", "alpha", "palette"])
def test_mattes_from_a_folder_may_have_any_form(folders, form):
    photograph, folder, matte = folders
    hard = np.where(matte > 127, 255, 0).astype(np.uint8)
    picture, expected = {
        "gray": lambda: (Image.fromarray(matte), matte),
        "black and white": lambda: (Image.fromarray(hard).convert("1"), hard),
        "0 and 1": lambda: (Image.fromarray(hard // 255), hard),
        "16 bits": lambda: (Image.fromarray(matte.astype(np.uint16) * 257), matte),
        "alpha": lambda: (Image.fromarray(np.dstack([np.zeros((60, 80, 3), np.uint8), matte])), matte),
        "palette": lambda: (Image.fromarray(matte).convert("P"), matte),
    }[form]()
    picture.save(folder / "a.png")
    options = MatteOptions("folder", folder)
    options.check([photograph])
    np.testing.assert_array_equal(matte_of(options, photograph)[10:70], expected)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_tiff_that_lies_on_its_side_is_turned_once_with_its_matte_and_its_alpha(tmp_path, disc, depth):
    import tifffile

    coverage, colors = disc
    matte = (coverage * 255).round().astype(np.uint8)
    (tmp_path / "mattes").mkdir()
    for name, values in (("a.tif", np.dstack([colors, matte])), ("mattes/a.tif", matte)):
        on_its_side = np.rot90(values)  # which orientation 6 turns back
        if depth == 8:
            Image.fromarray(np.ascontiguousarray(on_its_side)).save(tmp_path / name, tiffinfo={274: 6})
        else:
            kind = {"photometric": "rgb", "extrasamples": ["unassalpha"]} if values.ndim == 3 else {}
            deep = on_its_side.astype(np.uint16) * 257
            tifffile.imwrite(tmp_path / name, deep, extratags=[(274, 3, 1, 6, True)], **kind)
    for options in (MatteOptions("alpha"), MatteOptions("folder", tmp_path / "mattes")):
        options.check([tmp_path / "a.tif"])
        np.testing.assert_array_equal(matte_of(options, tmp_path / "a.tif")[10:70], matte)


def test_mattes_of_photographs_in_folders_below_are_in_folders_of_the_same_names(folders, tmp_path):
    photograph, folder, matte = folders
    below = tmp_path / "photographs" / "alice" / "a.jpg"
    below.parent.mkdir()
    below.write_bytes(photograph.read_bytes())
    (folder / "alice").mkdir()
    Image.fromarray(255 - matte).save(folder / "a.png")
    options = MatteOptions("folder", folder, data=tmp_path / "photographs")
    with pytest.raises(UsageError, match=r"/mattes: .* alice/a\.jpg; .* alice/a\.png"):
        options.check([below])
    Image.fromarray(matte).save(folder / "alice" / "a.png")
    options.check([photograph, below])
    np.testing.assert_array_equal(matte_of(options, below)[10:70], matte)


def test_wrong_mattes_in_a_folder_are_named(folders):
    photograph, folder, matte = folders
    options = MatteOptions("folder", folder)
    with pytest.raises(UsageError, match=r"/mattes: .* a\.jpg"):
        options.check([photograph])
    Image.fromarray(matte[:, :70]).save(folder / "a.png")
    with pytest.raises(UsageError, match=r"/a\.png: .*70×60 .*a\.jpg 80×60"):
        options.check([photograph])
    Image.fromarray(0 * matte).save(folder / "a.png")
    options.check([photograph])
    with pytest.raises(UsageError, match=r"/a\.png: .*a\.jpg"):
        matte_of(options, photograph)
    (folder / "a.png").write_text("no image")
    with pytest.raises(UsageError, match=r"/a\.png: "):
        options.check([photograph])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (MatteOptions("nonsense"), "--mattes nonsense: .* folder, alpha, .*mediapipe"),
        (MatteOptions("folder"), "--mattes folder .*--matte-folder"),
        (MatteOptions("alpha", color=GREEN), "--background-color"),
        (MatteOptions("background", color=(0, 300, 0)), "--background-color"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, named):
    with pytest.raises(UsageError, match=named):
        options.check([])


def test_no_mattes_are_no_source():
    assert MatteOptions("none").open() is None
