"""The data set."""

import numpy as np
import pytest
import torch
from PIL import Image

from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.errors import NerfgenError


def dataset_of(folder, **options) -> NerfgenDataset:
    parser = NerfgenDataParserConfig(data=folder, **options).setup()
    return NerfgenDataset(parser.get_dataparser_outputs("train"))


def pixels_of(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_images_and_mattes_are_those_of_the_files(make_prepared):
    folder = make_prepared([(12, 10), (8, 16)])
    dataset = dataset_of(folder)
    for place in range(2):
        item = dataset[place]
        image = pixels_of(folder / f"images/000{place}.png")
        matte = pixels_of(folder / f"mattes/000{place}.png")
        np.testing.assert_array_equal(dataset.get_numpy_image(place), image)
        torch.testing.assert_close(item["image"], torch.from_numpy(image / np.float32(255)))
        torch.testing.assert_close(item["matte"], torch.from_numpy(matte / np.float32(255))[..., None])
        assert "mask" not in item


def test_without_mattes_there_is_no_matte(make_prepared):
    assert "matte" not in dataset_of(make_prepared(mattes=False))[0]


def test_the_alpha_channel_is_the_matte_where_there_is_no_file(make_prepared):
    folder = make_prepared(mattes=False, alpha=True)
    item = dataset_of(folder)[0]
    pixels = pixels_of(folder / "images/0000.png") / np.float32(255)
    torch.testing.assert_close(item["image"], torch.from_numpy(pixels[..., :3]))
    torch.testing.assert_close(item["matte"], torch.from_numpy(pixels[..., 3:]))


def test_downscaled_pixels_are_means_over_areas(make_prepared):
    folder = make_prepared()
    small = dataset_of(folder, downscale_factor=2.0)
    for read, name in ((small.get_numpy_image(0), "images"), (small.get_numpy_matte(0), "mattes")):
        full = pixels_of(folder / f"{name}/0000.png").astype(float)
        means = full.reshape(6, 2, 6, 2, -1).mean(axis=(1, 3))
        # Pillow rounds after rows and again after columns.
        assert np.abs(read.reshape(means.shape) - means).max() <= 1.0


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "CMYK"])
def test_images_of_every_mode_become_rgb(make_prepared, mode):
    folder = make_prepared(mattes=False)
    path = folder / "images/0000.png"
    image = Image.open(path).convert(mode)
    image.save(path, "TIFF" if mode == "CMYK" else "PNG")
    dataset = dataset_of(folder)
    assert dataset.get_numpy_image(0).shape == (12, 12, 3)
    assert (dataset.get_numpy_matte(0) is None) == (mode != "LA")


def test_a_bitmap_matte_becomes_soft_when_made_smaller(make_prepared):
    folder = make_prepared()
    path = folder / "mattes/0000.png"
    Image.fromarray(np.indices((12, 12)).sum(axis=0) % 2 == 0).save(path)
    assert Image.open(path).mode == "1"
    matte = dataset_of(folder, downscale_factor=2.0).get_numpy_matte(0)
    assert matte is not None and set(np.unique(matte)) <= {127, 128}


@pytest.mark.parametrize("content", [b"", b"no image at all", None])
def test_a_file_that_is_no_image_is_named(make_prepared, content):
    folder = make_prepared()
    path = folder / "images/0001.png"
    path.write_bytes(path.read_bytes()[:200] if content is None else content)
    with pytest.raises(NerfgenError, match=r"images/0001\.png: "):
        dataset_of(folder).get_numpy_image(1)


def test_a_missing_image_is_named(make_prepared):
    folder = make_prepared()
    (folder / "images/0001.png").unlink()
    with pytest.raises(NerfgenError, match=r"images/0001\.png: "):
        dataset_of(folder).get_numpy_image(1)


@pytest.mark.parametrize("folder_name", ["images", "mattes"])
def test_an_image_of_another_shape_than_its_camera_is_named_and_one_of_another_size_is_not(
    make_prepared, folder_name
):
    folder = make_prepared()
    path = folder / f"{folder_name}/0001.png"
    image = Image.open(path)
    image.resize((36, 36)).save(path)
    assert dataset_of(folder)[1]["image"].shape == (12, 12, 3)
    image.resize((20, 12)).save(path)
    with pytest.raises(NerfgenError, match=r"0001\.png: 20×12.*12×12"):
        dataset_of(folder)[1]
