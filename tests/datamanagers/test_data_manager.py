"""The data manager."""

import re

import pytest
import torch
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager

from nerfgen_ns.datamanagers.data_manager import NerfgenDataManager, NerfgenDataManagerConfig
from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.datamanagers.pixel_sampler import ImagewisePixelSamplerConfig
from nerfgen_ns.errors import NerfgenError, UsageError


def manager_of(folder, test_mode="val", **parser_options) -> NerfgenDataManager:
    config = NerfgenDataManagerConfig(
        data=folder,
        dataparser=NerfgenDataParserConfig(**parser_options),
        train_num_rays_per_batch=24,
        eval_num_rays_per_batch=16,
        pixel_sampler=ImagewisePixelSamplerConfig(pixels_per_image=4),
    )
    return config.setup(test_mode=test_mode)


def test_it_passes_for_nerfstudio_s_own(make_prepared):
    manager = manager_of(make_prepared())
    assert isinstance(manager, VanillaDataManager)
    assert isinstance(manager.train_dataset, NerfgenDataset)
    assert isinstance(manager.eval_dataset, NerfgenDataset)
    assert manager.get_train_rays_per_batch() == 24


def test_a_step_has_rays_pixels_mattes_and_rows_that_belong_together(make_prepared):
    manager = manager_of(make_prepared([(12, 10), (5, 7), (16, 9)], identities=[3, 9, 9]))
    rays, batch = manager.next_train(0)
    assert len(rays) == 24
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "image": (24, 3), "matte": (24, 1), "indices": (24, 3)
    }  # fmt: skip
    row_of_image = torch.tensor([0, 1, 1])
    for (image, row, column), pixel, matte, cam_idx, origin in zip(
        batch["indices"], batch["image"], batch["matte"], rays.metadata["cam_idx"], rays.origins, strict=True
    ):
        item = manager.train_dataset[int(image)]
        torch.testing.assert_close(pixel, item["image"][row, column])
        torch.testing.assert_close(matte, item["matte"][row, column])
        assert cam_idx.item() == row_of_image[image]
        camera = manager.train_dataset.cameras.camera_to_worlds[image]
        torch.testing.assert_close(origin, camera[:, 3])


def test_without_mattes_a_batch_has_none(make_prepared):
    _, batch = manager_of(make_prepared(mattes=False)).next_train(0)
    assert batch.keys() == {"image", "indices"}


def test_rays_for_an_exporter_carry_no_identity(make_prepared):
    manager = manager_of(make_prepared()).eval()
    rays, _ = manager.next_train(0)
    assert "cam_idx" not in rays.metadata
    rays, _ = manager.train().next_train(0)
    assert "cam_idx" in rays.metadata


def test_photographs_set_aside_never_train_and_alone_are_evaluated(make_prepared):
    manager = manager_of(make_prepared([(8, 8)] * 6), eval_fraction=0.34)
    trained = {int(i) for _ in range(40) for i in manager.next_train(0)[1]["indices"][:, 0].unique()}
    evaluated = {int(row) for _ in range(20) for row in manager.next_eval(0)[0].metadata["cam_idx"].unique()}
    assert trained == {0, 2, 3, 5} and evaluated == {1, 4}
    assert len(manager.train_dataset) == 6 and len(manager.eval_dataset) == 2
    cameras = [camera for camera, _ in manager.fixed_indices_eval_dataloader]
    assert [camera.metadata["cam_idx"].item() for camera in cameras] == [1, 4]


def test_evaluation_images_are_photographs_with_their_cameras_and_rows(make_prepared):
    manager = manager_of(make_prepared())
    cameras = list(manager.fixed_indices_eval_dataloader)
    assert len(cameras) == 4
    for place, (camera, batch) in enumerate(cameras):
        assert camera.metadata["cam_idx"].tolist() == [[place]]
        assert batch["image"].shape == (12, 12, 3) and batch["matte"].shape == (12, 12, 1)
    camera, batch = manager.next_eval_image(0)
    assert camera.shape == (1,) and batch["image_idx"] == camera.metadata["cam_idx"].item()


def test_pixels_are_read_once_where_evaluation_sees_what_trains(make_prepared):
    manager = manager_of(make_prepared())
    assert manager.eval_pixels is manager.train_pixels


def test_inference_reads_no_image(make_prepared):
    folder = make_prepared()
    for image in (folder / "images").iterdir():
        image.unlink()
    manager = manager_of(folder, test_mode="inference")
    assert manager.train_dataset.metadata["num_identities"] == 4


@pytest.mark.parametrize(
    ("spoil", "kind", "named"),
    [
        (lambda folder: (folder / "transforms.json").write_text("{"), UsageError, "transforms.json"),
        (lambda folder: (folder / "images/0002.png").write_bytes(b"x"), NerfgenError, "images/0002.png"),
        (lambda folder: (folder / "mattes/0002.png").unlink(), NerfgenError, "mattes/0002.png"),
    ],
)
def test_bad_data_is_named(make_prepared, spoil, kind, named):
    folder = make_prepared()
    spoil(folder)
    with pytest.raises(NerfgenError, match=re.escape(named)) as error:
        manager_of(folder)
    assert type(error.value) is kind
