"""The data manager: from photographs with cameras to rays, pixels, mattes and identities."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch
import tyro
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.dataparser_configs import AnnotatedDataParserUnion, all_dataparsers
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader, RandIndicesEvalDataloader
from nerfstudio.data.utils.nerfstudio_collate import nerfstudio_collate
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nerfgen_ns.datamanagers.data_parser import NerfgenDataParser, NerfgenDataParserConfig, number_photographs
from nerfgen_ns.datamanagers.data_record import Fingerprint, check_files, fingerprint_of
from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.datamanagers.landmark_points import LandmarkPoints
from nerfgen_ns.datamanagers.pixel_sampler import (
    ImagewisePixelSampler,
    ImagewisePixelSamplerConfig,
    draw_patches,
)
from nerfgen_ns.datamanagers.pixel_store import BYTES_OF_PIXEL, FilePixelStore, PixelStore
from nerfgen_ns.datamanagers.ray_generator import PixelRays
from nerfgen_ns.dataset_format.transforms import transforms_path
from nerfgen_ns.errors import UsageError
from nerfgen_ns.utils.files import writable_cache_folder

Item = TypeVar("Item")


class Prefetched(Generic[Item]):
    """Makes the next items in a thread of its own, one after another, while the last is in use.

    Args:
        make: makes an item; called in that thread alone.
        ahead: how many items are made or being made before they are asked for. The first call begins.
    """

    def __init__(self, make: Callable[[], Item], ahead: int) -> None:
        self._make = make
        self._ahead = ahead
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._coming: deque[Future[Item]] = deque()

    def next(self) -> Item:
        """Return the next item; what `make` raised is raised here."""
        while len(self._coming) <= self._ahead:
            self._coming.append(self._thread.submit(self._make))
        return self._coming.popleft().result()


if TYPE_CHECKING:
    DataParserSubcommand = Any
else:
    # nerfstudio's choice of data parsers, or none.
    DataParserSubcommand = AnnotatedDataParserUnion | None


BATCHES_AHEAD = 4
"""Batches that are read from a file before they are asked for."""


@dataclass
class NerfgenDataManagerConfig(VanillaDataManagerConfig):
    """N images × P pixels a step, drawn from bytes in memory or, where they are too many, in a file."""

    _target: type = field(default_factory=lambda: NerfgenDataManager)
    """Target class to instantiate."""
    dataparser: NerfgenDataParserConfig = field(default_factory=NerfgenDataParserConfig)
    """Where the photographs and their cameras come from."""
    dataparser_subcommand: DataParserSubcommand = None
    """The data parser as nerfstudio's commands take it, behind the other options:
    `nerfgen-data --downscale-factor 2`. Its options override `dataparser`."""
    pixel_sampler: ImagewisePixelSamplerConfig = field(default_factory=ImagewisePixelSamplerConfig)
    """Which pixels a step trains on."""
    pixel_memory: float = 1.0
    """Gigabytes of pixels, at four bytes each, that are held in memory, that of the GPU where one trains. The
    pixels of a larger data set are written once to a file, from which each step reads what it needs, ahead of
    time. Other runs on the same data use the same file.
    """
    pixel_folder: Path | None = None
    """Where such a file goes; the user's cache folder unless set. It is as large as all pixels together."""
    train_num_images_to_sample_from: tyro.conf.Suppress[int] = -1
    train_num_times_to_repeat_images: tyro.conf.Suppress[int] = -1
    eval_num_images_to_sample_from: tyro.conf.Suppress[int] = -1
    eval_num_times_to_repeat_images: tyro.conf.Suppress[int] = -1
    eval_image_indices: tyro.conf.Suppress[tuple[int, ...] | None] = None
    collate_fn: tyro.conf.Suppress[Any] = field(default_factory=lambda: nerfstudio_collate)
    patch_size: tyro.conf.Suppress[int] = 1

    def __post_init__(self) -> None:
        """Let the subcommand's options override `dataparser`."""
        super().__post_init__()
        given = self.dataparser_subcommand
        if isinstance(given, NerfgenDataParserConfig):
            usual = NerfgenDataParserConfig()
            said = {name: value for name, value in vars(given).items() if value != getattr(usual, name)}
            self.dataparser = replace(self.dataparser, **said)
            self.dataparser_subcommand = None

    def check(self) -> None:
        """Check that the data parser is nerfgen's.

        Raises:
            UsageError: another was asked for.
        """
        if self.dataparser_subcommand is not None:
            kind = type(self.dataparser_subcommand)
            name = next(name for name, parser in all_dataparsers.items() if type(parser) is kind)
            raise UsageError(
                f"{name}: nerfgen reads nerfstudio's data sets and folders of photographs with a data parser "
                f"of its own; write nerfgen-data in the place of {name}, or leave it out"
            )


class RecordedImages(FixedIndicesEvalDataloader):
    """All images, one after another, for comparison with renders: none may be missing."""

    def __iter__(self) -> RecordedImages:  # type: ignore[override]
        digests = self.input_dataset.metadata["digests"]
        if digests is not None:
            check_files(self.input_dataset.image_filenames, digests)
        return super().__iter__()


class NerfgenDataManager(VanillaDataManager[NerfgenDataset]):
    """Serves rays with the row of their identity, pixels and mattes.

    Batches hold "image" (rays, 3), "matte" (rays, 1) where the data has mattes, and "indices" (rays, 3) of
    image, row and column; what else may be in them is in `ImagewisePixelSampler.sample`. The ray bundle's
    `metadata["cam_idx"]` (rays, 1) is the row of the latent table, and `metadata["photograph"]` (rays, 1) the
    number of the photograph, where it is one of those that train.
    """

    config: NerfgenDataManagerConfig
    dataparser: NerfgenDataParser
    train_pixel_sampler: ImagewisePixelSampler
    eval_pixel_sampler: ImagewisePixelSampler

    def __init__(self, config: NerfgenDataManagerConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.train_dataparser_outputs = self.train_dataset._dataparser_outputs

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of the photographs; if a run is opened, of those that it was trained on."""
        return self.dataparser.record.fingerprint or fingerprint_of(self.train_dataset)

    def create_train_dataset(self) -> NerfgenDataset:
        """Return all photographs, each camera with its photograph's number."""
        dataset = super().create_train_dataset()
        number_photographs(dataset.cameras)
        if self.test_mode != "inference" and (gone := sum(map(dataset.is_gone, range(len(dataset))))):
            CONSOLE.print(
                f"{gone} of the {len(dataset)} photographs of this run are gone or have changed since: "
                "gray is shown in their place."
            )
        return dataset

    def create_eval_dataset(self) -> NerfgenDataset:
        """Return the photographs that evaluation looks at; those that train keep their numbers."""
        dataset = super().create_eval_dataset()
        if dataset.image_filenames == self.train_dataset.image_filenames:
            number_photographs(dataset.cameras)
        # nerfstudio compares the cameras one by one to choose how to batch whole images, which are not
        # batched here; with many photographs that takes minutes.
        outputs = self.train_dataparser_outputs
        self.train_dataparser_outputs = replace(outputs, cameras=outputs.cameras[:1])
        return dataset

    def setup_train(self) -> None:
        """Read the photographs that train, as bytes, or find them in their file."""
        training_images = self.train_dataset.metadata["training_images"]
        CONSOLE.print(f"Reading {len(training_images)} photographs{self._smaller()}.")
        self.train_pixels, self.train_rays = self._pixels(self.train_dataset, training_images)
        self.train_pixel_sampler = self._training_sampler()
        self.train_batches = self._read_ahead() if isinstance(self.train_pixels, FilePixelStore) else None

    def setup_eval(self) -> None:
        """Prepare evaluation: on the photographs set aside or, if there are none, on those that train."""
        if self.eval_dataset.image_filenames == self.train_dataset.image_filenames:
            self.eval_pixels, self.eval_rays = self.train_pixels, self.train_rays
        else:
            self.eval_pixels, self.eval_rays = self._pixels(
                self.eval_dataset, np.arange(len(self.eval_dataset))
            )
        self.eval_pixel_sampler = self._sampler(self.eval_dataset, self.config.eval_num_rays_per_batch)
        self.fixed_indices_eval_dataloader = RecordedImages(self.eval_dataset, device=self.device)
        self.eval_dataloader = RandIndicesEvalDataloader(self.eval_dataset, device=self.device)

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """Return a step's rays and pixels.

        An exporter asks for rays in evaluation mode, to gather one object from all around. Its rays carry no
        identity, so that the model shows the same one on all of them.
        """
        self.train_count += 1
        if self.train_batches is not None and self.training:
            batch = self.train_batches.next()
        else:
            batch = self.train_pixel_sampler.sample(self.train_pixels)
        batch = self._on_device(batch)
        ray_bundle = self.train_rays(batch["indices"])
        if not self.training:
            ray_bundle.metadata.pop("cam_idx")
            ray_bundle.metadata.pop("photograph", None)
        return ray_bundle, batch

    def next_eval(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """Return rays and pixels of the photographs that evaluation looks at."""
        self.eval_count += 1
        batch = self.eval_pixel_sampler.sample(self.eval_pixels)
        return self.eval_rays(batch["indices"]), self._on_device(batch)

    def next_patches(self, count: int, size: int, stride: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """Return the rays and pixels of random patches of photographs that train; see `draw_patches`."""
        indices = draw_patches(self.train_pixels, count, size, stride)
        return self.train_rays(indices), self._on_device(self.train_pixels.gather(indices))

    def get_datapath(self) -> Path:
        """Return the folder of the transforms.json, where the viewer keeps camera paths."""
        return transforms_path(self.dataparser.record.data).parent

    def make_store(self, dataset: NerfgenDataset, images: np.ndarray) -> PixelStore:
        """Hold the pixels of images: in memory, or in a file if they are more than `pixel_memory`."""
        cameras = dataset.cameras
        pixels = (cameras.height.flatten().long() * cameras.width.flatten().long())[images].sum()
        if BYTES_OF_PIXEL * int(pixels) <= 1e9 * self.config.pixel_memory:
            return PixelStore(dataset, images, self.device)
        return FilePixelStore(dataset, images, self.config.pixel_folder or writable_cache_folder() / "pixels")

    def _smaller(self) -> str:
        """Say at what size the photographs are read, where it is not that of their files."""
        factor = self.train_dataset.metadata.get("downscale_factor", 1)
        if factor == 1:
            return ""
        camera = self.train_dataset.cameras[0]
        return (
            f" at {int(camera.width)} × {int(camera.height)} pixels, {factor:g} times smaller than stored; "
            "another size: --pipeline.datamanager.dataparser.downscale-factor"
        )

    def _pixels(self, dataset: NerfgenDataset, images: np.ndarray) -> tuple[PixelStore, PixelRays]:
        rays = PixelRays(dataset.cameras.to(self.device)).to(self.device)
        return self.make_store(dataset, images), rays

    def _sampler(self, dataset: NerfgenDataset, rays: int) -> ImagewisePixelSampler:
        sampler = self._get_pixel_sampler(dataset, rays)
        assert isinstance(sampler, ImagewisePixelSampler)
        return sampler

    def _training_sampler(self) -> ImagewisePixelSampler:
        sampler = self._sampler(self.train_dataset, self.config.train_num_rays_per_batch)
        if sampler.config.landmark_fraction > 0 and self.dataparser.record.canonical_landmarks is not None:
            device = self.train_pixels.device
            sampler.landmarks = LandmarkPoints(self.dataparser.record, self.train_dataset.cameras, device)
        return sampler

    def _read_ahead(self) -> Prefetched[dict[str, Tensor]]:
        """Make training batches in a thread with random numbers of its own."""
        sampler = self._training_sampler()
        sampler.generator = torch.Generator().manual_seed(torch.initial_seed())
        store, pin = self.train_pixels, torch.device(self.device).type == "cuda"

        def make() -> dict[str, Tensor]:
            batch = sampler.sample(store)
            # A copy from pinned memory to the GPU goes on beside the steps.
            return {name: value.pin_memory() for name, value in batch.items()} if pin else batch

        return Prefetched(make, BATCHES_AHEAD)

    def _on_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
