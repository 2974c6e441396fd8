"""Pixels in a file: the same as in memory, uniform over each image, and few places a step."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfgen_ns.datamanagers import pixel_store as file_pixel_store
from nerfgen_ns.datamanagers import pixel_store as pixel_file
from nerfgen_ns.datamanagers.data_manager import NerfgenDataManagerConfig
from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.datamanagers.pixel_sampler import ImagewisePixelSamplerConfig
from nerfgen_ns.datamanagers.pixel_store import WINDOW, FilePixelStore, PixelStore, stride_of
from nerfgen_ns.errors import NerfgenError

SIZES = [(12, 10), (5, 7), (40, 30), (1, 1)]


def dataset_of(folder: Path) -> NerfgenDataset:
    parser = NerfgenDataParserConfig(data=folder).setup()
    return NerfgenDataset(parser.get_dataparser_outputs("train"))


def every_pixel(store: PixelStore) -> torch.Tensor:
    parts = []
    for image in store.images.tolist():
        rows, columns = torch.meshgrid(
            torch.arange(int(store.heights[image])), torch.arange(int(store.widths[image])), indexing="ij"
        )
        parts.append(torch.stack([torch.full_like(rows, image), rows, columns], dim=-1).reshape(-1, 3))
    return torch.cat(parts)


@pytest.mark.parametrize("mattes", [True, False])
def test_pixels_from_the_file_equal_those_in_memory(make_prepared, tmp_path, mattes):
    dataset = dataset_of(make_prepared(SIZES, mattes=mattes))
    chosen = np.array([0, 2, 3])
    memory, file = PixelStore(dataset, chosen), FilePixelStore(dataset, chosen, tmp_path / "pixels")
    indices = every_pixel(memory)
    expected, found = memory.gather(indices), file.gather(indices)
    assert found.keys() == expected.keys() == ({"image", "matte"} if mattes else {"image"})
    for name, values in expected.items():
        assert torch.equal(found[name], values)


def test_the_file_is_written_once_and_anew_where_an_image_has_changed(make_prepared, tmp_path, monkeypatch):
    folder, pixels = make_prepared(SIZES), tmp_path / "pixels"
    first = FilePixelStore(dataset_of(folder), np.arange(4), pixels)
    (path,) = pixels.glob("*.pixels")
    assert path.stat().st_size == 4 * (int(first.sizes.sum()) + 1)
    monkeypatch.setattr(PixelStore, "_decoded", lambda *_: pytest.fail("an image was read again"))
    FilePixelStore(dataset_of(folder), np.arange(4), pixels)
    monkeypatch.undo()
    os.utime(folder / "images/0001.png", (1, 1))
    FilePixelStore(dataset_of(folder), np.arange(4), pixels)
    assert len(list(pixels.glob("*.pixels"))) == 2


def test_a_disk_without_room_is_named_before_anything_is_written(make_prepared, tmp_path, monkeypatch):
    class Full:
        free = 100

    monkeypatch.setattr(pixel_file.shutil, "disk_usage", lambda _: Full)
    with pytest.raises(NerfgenError, match="pixel-folder"):
        FilePixelStore(dataset_of(make_prepared(SIZES)), np.arange(4), tmp_path / "pixels")
    assert not list((tmp_path / "pixels").glob("*.pixels"))


@pytest.mark.parametrize("count", [1, 2, 3, 12, 120, 4096, 65536, 256 * 192])
def test_scattering_is_a_permutation_that_spreads_each_window_over_the_image(count):
    places = torch.arange(count) * stride_of(count) % count
    assert torch.equal(places.sort().values, torch.arange(count))
    window = places[: max(count // 16, 1)].sort().values
    gaps = torch.diff(window, append=window[:1] + count)
    assert gaps.max() <= 4 * count / len(window)


def test_each_pixel_is_drawn_equally_often_and_a_step_reads_one_run_of_places_an_image(
    make_prepared, tmp_path
):
    store = FilePixelStore(dataset_of(make_prepared([(40, 30)] * 2)), np.arange(2), tmp_path / "pixels")
    drawn = torch.zeros(2, 30, 40)
    for _ in range(4000):
        step = store.for_a_step()
        image = torch.tensor([0, 1]).repeat_interleave(32)
        row, column = step.draw(image).unbind(-1)
        drawn.index_put_((image, row, column), torch.ones(64), accumulate=True)
        place = (row * 40 + column) * step.inverses[image] % 1200
        for own in (place[:32], place[32:]):
            distance = (own - own[0] + WINDOW) % 1200
            assert distance.max() < 2 * WINDOW
    expected = 4000 * 32 / 1200
    assert drawn.sum() == 2 * 4000 * 32
    assert drawn.min() > 0.6 * expected and drawn.max() < 1.5 * expected


def test_training_batches_from_a_file_hold_the_photographs_pixels_and_follow_the_seed(
    make_prepared, tmp_path
):
    folder = make_prepared([(16, 16)] * 6, identities=[5, 4, 3, 2, 1, 0])

    def manager():
        torch.manual_seed(3)
        config = NerfgenDataManagerConfig(
            data=folder,
            train_num_rays_per_batch=24,
            pixel_sampler=ImagewisePixelSamplerConfig(pixels_per_image=4, background_redraw_fraction=0.5),
            pixel_memory=0.0,
            pixel_folder=tmp_path / "pixels",
        )
        return config.setup(test_mode="val")

    first, second = manager(), manager()
    assert isinstance(first.train_pixels, file_pixel_store.FilePixelStore)
    seen = set()
    for _ in range(8):
        rays, batch = first.next_train(0)
        torch.rand(3)  # what else draws random numbers has no part in it
        assert torch.equal(batch["indices"], second.next_train(0)[1]["indices"])
        image, row, column = batch["indices"].unbind(-1)
        for place in range(24):
            item = first.train_dataset[int(image[place])]
            torch.testing.assert_close(batch["image"][place], item["image"][row[place], column[place]])
        assert torch.equal(rays.metadata["photograph"][:, 0], image)
        seen |= set(image.tolist())
    assert seen == set(range(6))


def test_what_fails_in_the_thread_fails_in_training(make_prepared, tmp_path, monkeypatch):
    config = NerfgenDataManagerConfig(
        data=make_prepared(), pixel_memory=0.0, pixel_folder=tmp_path / "pixels"
    )
    manager = config.setup(test_mode="val")
    monkeypatch.setattr(pixel_file.PixelFile, "take", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        manager.next_train(0)


def test_a_read_that_gives_less_than_asked_for_is_taken_up_again(make_prepared, tmp_path, monkeypatch):
    dataset = dataset_of(make_prepared(SIZES))
    memory, file = PixelStore(dataset, np.arange(4)), FilePixelStore(dataset, np.arange(4), tmp_path)
    read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda handle, views, place: read(handle, [views[0][:501]], place))
    indices = every_pixel(memory)
    assert torch.equal(file.gather(indices)["image"], memory.gather(indices)["image"])


def test_a_file_that_has_become_shorter_is_named_and_written_again(make_prepared, tmp_path):
    dataset = dataset_of(make_prepared(SIZES))
    memory, file = PixelStore(dataset, np.arange(4)), FilePixelStore(dataset, np.arange(4), tmp_path)
    (path,) = tmp_path.glob("*.pixels")
    os.truncate(path, 1000)
    indices = every_pixel(memory)
    with pytest.raises(NerfgenError, match=f"{path.name}: "):
        file.gather(indices)
    again = FilePixelStore(dataset, np.arange(4), tmp_path)
    assert torch.equal(again.gather(indices)["image"], memory.gather(indices)["image"])


def test_a_disk_that_fails_is_named(make_prepared, tmp_path, monkeypatch):
    file = FilePixelStore(dataset_of(make_prepared(SIZES)), np.arange(4), tmp_path)

    def fail(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(NerfgenError, match=r"\.pixels: "):
        file.gather(torch.zeros(1, 3, dtype=torch.long))
