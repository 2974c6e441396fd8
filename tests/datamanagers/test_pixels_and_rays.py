"""The pixel store, the pixel sampler and the rays of pixels."""

import json

import numpy as np
import pytest
import torch
from nerfstudio.model_components.ray_generators import RayGenerator
from PIL import Image

from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.datamanagers.pixel_sampler import ImagewisePixelSamplerConfig
from nerfgen_ns.datamanagers.pixel_store import PixelStore
from nerfgen_ns.datamanagers.ray_generator import PixelRays

SIZES = [(12, 10), (5, 7), (16, 9)]


def dataset_of(folder, **options) -> NerfgenDataset:
    parser = NerfgenDataParserConfig(data=folder, **options).setup()
    return NerfgenDataset(parser.get_dataparser_outputs("train"))


def every_pixel(images: list[int]) -> torch.Tensor:
    """(image, row, column) of all pixels of images with sizes `SIZES`."""
    parts = []
    for image in images:
        width, height = SIZES[image]
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        parts.append(torch.stack([torch.full_like(rows, image), rows, columns], dim=-1).reshape(-1, 3))
    return torch.cat(parts)


def test_the_store_gives_back_every_pixel_of_images_of_different_sizes(make_prepared):
    folder = make_prepared(SIZES)
    batch = PixelStore(dataset_of(folder), np.arange(3)).gather(every_pixel([0, 1, 2]))
    for name, folder_name, channels in (("image", "images", 3), ("matte", "mattes", 1)):
        expected = np.concatenate(
            [
                np.asarray(Image.open(folder / f"{folder_name}/000{image}.png")).reshape(-1, channels)
                for image in range(3)
            ]
        )
        np.testing.assert_array_equal((batch[name] * 255).round().byte().numpy(), expected)
        assert batch[name].dtype == torch.float32


def test_the_store_holds_the_chosen_images_alone_four_bytes_a_pixel(make_prepared):
    folder = make_prepared(SIZES)
    store = PixelStore(dataset_of(folder), np.array([0, 2]))
    assert len(store) == 2
    assert store.values.nbytes == 4 * (12 * 10 + 16 * 9)
    batch = store.gather(every_pixel([2]))
    expected = np.asarray(Image.open(folder / "images/0002.png")).reshape(-1, 3)
    np.testing.assert_array_equal((batch["image"] * 255).round().byte().numpy(), expected)


def test_the_store_has_no_mattes_where_the_data_has_none(make_prepared):
    store = PixelStore(dataset_of(make_prepared(SIZES, mattes=False)), np.arange(3))
    assert store.gather(every_pixel([1])).keys() == {"image"}


def test_a_step_takes_as_many_pixels_from_each_of_its_images_all_within(make_prepared):
    store = PixelStore(dataset_of(make_prepared(SIZES)), np.array([0, 2]))
    sampler = ImagewisePixelSamplerConfig(pixels_per_image=8).setup(num_rays_per_batch=8 * 200)
    indices = sampler.sample_indices(store).reshape(200, 8, 3)
    assert (indices[..., 0] == indices[:, :1, 0]).all()
    drawn = indices[:, 0, 0]
    assert drawn.unique().tolist() == [0, 2]
    assert 60 < (drawn == 0).sum() < 140
    for image in (0, 2):
        width, height = SIZES[image]
        rows, columns = indices[drawn == image][..., 1], indices[drawn == image][..., 2]
        assert (rows.min(), rows.max()) == (0, height - 1)
        assert (columns.min(), columns.max()) == (0, width - 1)


def test_a_batch_has_the_asked_number_of_rays_even_if_images_do_not_divide_it(make_prepared):
    store = PixelStore(dataset_of(make_prepared(SIZES)), np.arange(3))
    sampler = ImagewisePixelSamplerConfig(pixels_per_image=8).setup(num_rays_per_batch=21)
    batch = sampler.sample(store)
    assert batch["indices"].shape == (21, 3)
    assert batch["image"].shape == (21, 3) and batch["matte"].shape == (21, 1)
    # nerfstudio's exporter sets this attribute to the size of batch it wants.
    sampler.num_rays_per_batch = 5
    assert len(sampler.sample(store)["image"]) == 5


@pytest.mark.parametrize("distorted", [False, True])
def test_rays_equal_those_of_nerfstudio(make_prepared, distorted):
    folder = make_prepared(SIZES, identities=[2, 4, 4])
    if distorted:
        path = folder / "transforms.json"
        transforms = json.loads(path.read_text())
        for frame in transforms["frames"]:
            frame["k1"] = 0.1
        path.write_text(json.dumps(transforms))
    cameras = dataset_of(folder).cameras
    indices = every_pixel([0, 1, 2])

    rays, expected = PixelRays(cameras)(indices), RayGenerator(cameras)(indices)

    for name in ("origins", "directions", "camera_indices"):
        torch.testing.assert_close(getattr(rays, name), getattr(expected, name), atol=1e-5, rtol=0)
    torch.testing.assert_close(rays.pixel_area, expected.pixel_area, rtol=0.2, atol=0)
    for name in ("cam_idx", "directions_norm"):
        torch.testing.assert_close(rays.metadata[name], expected.metadata[name])
    assert rays.metadata["cam_idx"].unique().tolist() == [0, 1]
    assert (PixelRays(cameras).generator is not None) == distorted
