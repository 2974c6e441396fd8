"""The data manager: from photographs with cameras to rays, pixels, mattes and identities."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.pixel_samplers import PixelSampler
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader, RandIndicesEvalDataloader
from nerfstudio.data.utils.nerfstudio_collate import nerfstudio_collate
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig, number_photographs
from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.datamanagers.pixel_sampler import ImagewisePixelSamplerConfig
from nerfgen_ns.datamanagers.pixel_store import PixelStore
from nerfgen_ns.datamanagers.rays import PixelRays
from nerfgen_ns.datamanagers.transforms import transforms_path
from nerfgen_ns.errors import exit_with_one_line


@dataclass
class NerfgenDataManagerConfig(VanillaDataManagerConfig):
    """N images × P pixels a step, drawn from bytes in memory."""

    _target: type = field(default_factory=lambda: NerfgenDataManager)
    """Target class to instantiate."""
    dataparser: NerfgenDataParserConfig = field(default_factory=NerfgenDataParserConfig)
    """Where the photographs and their cameras come from."""
    pixel_sampler: ImagewisePixelSamplerConfig = field(default_factory=ImagewisePixelSamplerConfig)
    """Which pixels a step trains on."""
    train_num_images_to_sample_from: tyro.conf.Suppress[int] = -1
    train_num_times_to_repeat_images: tyro.conf.Suppress[int] = -1
    eval_num_images_to_sample_from: tyro.conf.Suppress[int] = -1
    eval_num_times_to_repeat_images: tyro.conf.Suppress[int] = -1
    eval_image_indices: tyro.conf.Suppress[tuple[int, ...] | None] = None
    collate_fn: tyro.conf.Suppress[Any] = field(default_factory=lambda: nerfstudio_collate)
    patch_size: tyro.conf.Suppress[int] = 1


class NerfgenDataManager(VanillaDataManager[NerfgenDataset]):
    """Serves rays with the row of their identity, pixels and mattes.

    Batches hold "image" (rays, 3), "matte" (rays, 1) where the data has mattes, and "indices" (rays, 3) of
    image, row and column. The ray bundle's `metadata["cam_idx"]` (rays, 1) is the row of the latent table,
    and `metadata["photograph"]` (rays, 1) the number of the photograph, where it is one of those that train.
    """

    config: NerfgenDataManagerConfig
    train_pixel_sampler: PixelSampler
    eval_pixel_sampler: PixelSampler

    def __init__(self, config: NerfgenDataManagerConfig, *args: Any, **kwargs: Any) -> None:
        with exit_with_one_line():
            super().__init__(config, *args, **kwargs)

    def create_train_dataset(self) -> NerfgenDataset:
        """All photographs, each camera with its photograph's number."""
        dataset = super().create_train_dataset()
        number_photographs(dataset.cameras)
        return dataset

    def create_eval_dataset(self) -> NerfgenDataset:
        """What evaluation looks at; photographs that train keep their numbers."""
        dataset = super().create_eval_dataset()
        if dataset.image_filenames == self.train_dataset.image_filenames:
            number_photographs(dataset.cameras)
        return dataset

    def setup_train(self) -> None:
        """Read the photographs that train, as bytes."""
        training_images = self.train_dataset.metadata["training_images"]
        CONSOLE.print(f"Reading {len(training_images)} photographs.")
        self.train_pixels, self.train_pixel_sampler, self.train_rays = self._pixels(
            self.train_dataset, training_images, self.config.train_num_rays_per_batch
        )

    def setup_eval(self) -> None:
        """Prepare evaluation: on the photographs set aside or, if there are none, on those that train."""
        if self.eval_dataset.image_filenames == self.train_dataset.image_filenames:
            self.eval_pixels = self.train_pixels
            self.eval_pixel_sampler = self._get_pixel_sampler(
                self.eval_dataset, self.config.eval_num_rays_per_batch
            )
            self.eval_rays = self.train_rays
        else:
            self.eval_pixels, self.eval_pixel_sampler, self.eval_rays = self._pixels(
                self.eval_dataset, np.arange(len(self.eval_dataset)), self.config.eval_num_rays_per_batch
            )
        self.fixed_indices_eval_dataloader = FixedIndicesEvalDataloader(self.eval_dataset, device=self.device)
        self.eval_dataloader = RandIndicesEvalDataloader(self.eval_dataset, device=self.device)

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """A step's rays and pixels.

        An exporter asks for rays in evaluation mode, to gather one object from all around. Its rays carry no
        identity, so that the model shows the same one on all of them.
        """
        self.train_count += 1
        batch = self.train_pixel_sampler.sample(self.train_pixels)
        ray_bundle = self.train_rays(batch["indices"])
        if not self.training:
            ray_bundle.metadata.pop("cam_idx")
            ray_bundle.metadata.pop("photograph", None)
        return ray_bundle, self._on_device(batch)

    def next_eval(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """The same from the photographs that evaluation looks at."""
        self.eval_count += 1
        batch = self.eval_pixel_sampler.sample(self.eval_pixels)
        return self.eval_rays(batch["indices"]), self._on_device(batch)

    def get_datapath(self) -> Path:
        """The prepared folder: where the viewer keeps camera paths, and never the user's photographs."""
        return transforms_path(self.dataparser.config.data).parent

    def _pixels(self, dataset: NerfgenDataset, images: np.ndarray, rays: int) -> tuple[Any, Any, PixelRays]:
        with exit_with_one_line():
            store = PixelStore(dataset, images)
        return store, self._get_pixel_sampler(dataset, rays), PixelRays(dataset.cameras.to(self.device))

    def _on_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(self.device) for name, value in batch.items()}
