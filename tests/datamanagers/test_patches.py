"""Square patches in batches: their places, their share of the rays, and batches without them."""

import numpy as np
import pytest
import torch

from nerfgen_ns.datamanagers.data_manager import NerfgenDataManagerConfig
from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.datamanagers.pixel_sampler import ImagewisePixelSamplerConfig, draw_patches
from nerfgen_ns.datamanagers.pixel_store import FilePixelStore, PixelStore

SIZES = [(12, 10), (5, 7), (40, 30)]


def dataset_of(folder) -> NerfgenDataset:
    parser = NerfgenDataParserConfig(data=folder).setup()
    return NerfgenDataset(parser.get_dataparser_outputs("train"))


@pytest.fixture
def store(make_prepared) -> PixelStore:
    return PixelStore(dataset_of(make_prepared(SIZES)), np.arange(3))


@pytest.mark.parametrize("stride", [1, 3])
def test_a_patch_is_a_square_of_one_photograph(store, stride):
    patches = draw_patches(store, 400, 4, stride).view(400, 4, 4, 3)
    image = patches[:, 0, 0, 0]
    assert (patches[..., 0] == image[:, None, None]).all() and image.unique().tolist() == [0, 1, 2]
    rows, columns = patches[:, :, :1, 1], patches[:, :1, :, 2]
    assert (patches[..., 1] == rows).all() and (patches[..., 2] == columns).all()
    # (4 − 1)·stride pixels fit into the larger photographs; all rays of a patch are as far apart.
    fits = image != 1
    apart = (rows[:, 1] - rows[:, 0])[fits]
    assert torch.equal(rows[fits].diff(dim=1).unique(dim=1), apart[:, None])
    assert torch.equal(columns[fits].diff(dim=2).unique(dim=2), apart[:, None])
    assert apart.unique().tolist() == list(range(1, stride + 1))
    for number, (width, height) in enumerate(SIZES):
        own = patches[image == number]
        assert (own[..., 1].min(), own[..., 1].max()) == (0, height - 1)
        assert (own[..., 2].min(), own[..., 2].max()) == (0, width - 1)


def test_a_photograph_smaller_than_a_patch_is_shown_at_its_shorter_side(store):
    store.images = torch.tensor([1])
    patches = draw_patches(store, 50, 9, 2).view(50, 9, 9, 3)
    assert torch.equal(patches[0, 0, :, 2], torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 4]))
    first = patches[:, 0, 0, 1]
    assert first.unique().tolist() == [0, 1, 2], "it is 5 pixels wide and 7 high"
    assert torch.equal(patches[:, :, 0, 1] - first[:, None], patches[:, 0, :, 2])


@pytest.mark.parametrize(
    ("rays", "fraction", "expected"),
    [(1000, 0.0, 0), (1000, 0.25, 16), (1000, 1.0, 62), (1000, 0.001, 1), (10, 1.0, 0)],
)
def test_patches_have_their_share_of_the_rays_which_are_as_many_as_ever(store, rays, fraction, expected):
    sampler = ImagewisePixelSamplerConfig(patch_fraction=fraction, patch_size=4).setup(
        num_rays_per_batch=rays
    )
    batch = sampler.sample(store)
    assert {name: len(batch[name]) for name in ("image", "matte", "indices")} == dict.fromkeys(
        ("image", "matte", "indices"), rays
    )
    assert ("patches" in batch) == (expected > 0)
    if expected:
        assert torch.equal(batch["patches"].flatten(), torch.arange(16 * expected))
        assert batch["patches"].shape == (expected, 4, 4)


class EveryRay:
    """Landmarks that are all at one pixel."""

    def draw(self, image, generator=None):
        from nerfgen_ns.datamanagers.landmark_points import Seen

        here = torch.zeros(len(image), 2, dtype=torch.long)
        return Seen(here, torch.full((len(image), 1), 2.5), torch.full((len(image), 1), 0.1))


@pytest.mark.parametrize("in_file", [False, True])
def test_rays_of_patches_are_neither_drawn_again_nor_through_landmarks(make_prepared, tmp_path, in_file):
    dataset = dataset_of(make_prepared(SIZES))
    memory = PixelStore(dataset, np.arange(3))
    store = FilePixelStore(dataset, np.arange(3), tmp_path / "pixels") if in_file else memory
    sampler = ImagewisePixelSamplerConfig(
        patch_fraction=0.5, patch_size=4, background_redraw_fraction=1.0, landmark_fraction=1.0
    ).setup(num_rays_per_batch=160)
    sampler.landmarks = EveryRay()
    batch = sampler.sample(store)
    indices = batch["indices"]
    inside, rest = indices[:80].view(5, 4, 4, 3), indices[80:]
    assert (inside[:, 1:, :, 1] - inside[:, :-1, :, 1] == 1).all()
    assert (inside[:, :, 1:, 2] - inside[:, :, :-1, 2] == 1).all()
    assert (rest[:, 1:] == 0).all()
    assert batch["distance_std"][:80].isinf().all() and (batch["distance_std"][80:] == 0.1).all()
    assert (batch["distance"][80:] == 2.5).all() and len(batch["distance"]) == 160
    again = memory.gather(indices)
    assert torch.equal(batch["image"], again["image"]) and torch.equal(batch["matte"], again["matte"])


def test_without_patches_a_batch_takes_the_random_numbers_that_it_always_took(store):
    sampler = ImagewisePixelSamplerConfig(pixels_per_image=4, background_redraw_fraction=0.5).setup(
        num_rays_per_batch=30
    )
    sampler.generator, same = (torch.Generator().manual_seed(5) for _ in range(2))
    batch = sampler.sample(store)
    image = torch.randint(3, (8,), generator=same).repeat_interleave(4)[:30]
    sizes = torch.tensor(SIZES).flip(1)[image]
    first = (torch.rand(30, 2, generator=same) * sizes).long()
    chosen = torch.rand(30, 1, generator=same) < 0.5
    second = (torch.rand(30, 2, generator=same) * sizes).long()
    outside = store.gather(torch.cat([image[:, None], first], dim=1))["matte"] == 0
    expected = torch.where(chosen & outside, second, first)
    assert torch.equal(batch["indices"], torch.cat([image[:, None], expected], dim=1))
    assert batch.keys() == {"image", "matte", "indices"}
    assert torch.equal(torch.rand(3, generator=sampler.generator), torch.rand(3, generator=same))


@pytest.mark.parametrize("memory", [0.0, 1.0])
def test_a_data_manager_serves_patches_with_rays_that_follow_their_pixels(make_prepared, tmp_path, memory):
    config = NerfgenDataManagerConfig(
        data=make_prepared(SIZES),
        train_num_rays_per_batch=64,
        pixel_sampler=ImagewisePixelSamplerConfig(patch_fraction=0.5, patch_size=4),
        pixel_memory=memory,
        pixel_folder=tmp_path / "pixels",
    )
    manager = config.setup(device="cpu", test_mode="val")
    rays, batch = manager.next_train(0)
    assert batch["patches"].shape == (2, 4, 4)
    drawn, colors = manager.next_patches(3, 4, 2)
    assert len(drawn) == len(colors["image"]) == 48
    for bundle, pixels, count in ((rays, batch["image"], 32), (drawn, colors["image"], 48)):
        photograph = bundle.metadata["photograph"][:count, 0]
        size = torch.tensor(SIZES).flip(1)[photograph]
        place = (bundle.metadata["pixel"][:count] * size).long()
        for ray in range(0, count, 5):
            item = manager.train_dataset[int(photograph[ray])]["image"]
            torch.testing.assert_close(pixels[ray], item[place[ray, 0], place[ray, 1]])
