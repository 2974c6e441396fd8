"""One case of `benchmarks.scale`: a training of a given size on synthetic pixels, step by step."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.scene_box import SceneBox

from benchmarks.products import synchronize
from benchmarks.trainings import take_step
from nerfgen_ns.configs import nerfgen_tiny
from nerfgen_ns.datamanagers.data_manager import NerfgenDataManager, NerfgenDataManagerConfig
from nerfgen_ns.datamanagers.data_parser import NerfgenDataParser, NerfgenDataParserConfig
from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.datamanagers.pixel_store import PixelStore, read_pixels
from nerfgen_ns.training.trainer import NerfgenTrainer

DISTINCT = 2
"""Different images, which the photographs of a case repeat."""


@dataclass(frozen=True)
class Case:
    """What a training is made of; all else is as in `nerfgen-tiny`."""

    rows: int = 1_000
    """Rows of the latent table, with a photograph each."""
    image_size: int = 16
    """Width and height of the photographs."""
    width: int = 64
    """Width of the foreground network."""
    rays: int = 768
    """Rays a step."""
    latent_dim: int = 256
    """Size of a latent code."""
    pixels_in_file: bool = False
    """Whether the pixels are in a file, each photograph with its own, or in memory, shared by photographs."""


class SyntheticImages(NerfgenDataset):
    """Squares of noise in front of noise, made rather than read."""

    def get_numpy_image(self, image_idx: int) -> UInt8[np.ndarray, "height width 3"]:
        """Return the colors of one image, 0–255."""
        return self._pictured(image_idx)[..., :3]

    def get_numpy_matte(self, image_idx: int) -> UInt8[np.ndarray, "height width"]:
        """Return the matte of one image, 0–255."""
        return self._pictured(image_idx)[..., 3]

    def _pictured(self, image_idx: int) -> UInt8[np.ndarray, "height width 4"]:
        size, kind = int(self.cameras.width[0]), image_idx % DISTINCT
        made = self.metadata["made"]
        if kind not in made:
            pixels = np.random.default_rng(kind).integers(0, 256, (size, size, 4), dtype=np.uint8)
            pixels[..., 3] = 0
            pixels[size // 4 : 3 * size // 4, size // 4 : 3 * size // 4, 3] = 255
            made[kind] = pixels
        return made[kind]


@dataclass
class SyntheticParserConfig(NerfgenDataParserConfig):
    """Photographs of a case."""

    _target: type = field(default_factory=lambda: SyntheticParser)
    case: Case = field(default_factory=Case)


class SyntheticParser(NerfgenDataParser):
    """A camera for each photograph, around the class; no file is read."""

    config: SyntheticParserConfig  # type: ignore[assignment]

    def _generate_dataparser_outputs(self, split: str = "train") -> DataparserOutputs:  # type: ignore[override]
        count, size = self.config.case.rows, self.config.case.image_size
        yaw = 0.4 * torch.sin(torch.arange(count, dtype=torch.float32))
        poses = torch.zeros(count, 3, 4)
        poses[:, 0, 0] = poses[:, 2, 2] = torch.cos(yaw)
        poses[:, 0, 2], poses[:, 2, 0] = torch.sin(yaw), -torch.sin(yaw)
        poses[:, 1, 1] = 1.0
        poses[:, :, 3] = 2.7 * poses[:, :, 2]
        cameras = Cameras(poses, 2.1 * size, 2.1 * size, size / 2, size / 2, size, size)
        cameras.metadata = {"cam_idx": torch.arange(count)[:, None]}
        # The names of the images are the program's own: a file of pixels is named after files that exist.
        return DataparserOutputs(
            image_filenames=[Path(__file__)] * count,
            cameras=cameras,
            scene_box=SceneBox(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3])),
            metadata={
                "matte_filenames": None,
                "num_identities": count,
                "training_images": np.arange(count),
                "made": {},
            },
        )


class SharedPixels(PixelStore):
    """Pixels in memory that photographs share: more photographs take no more memory."""

    def _hold(self, dataset: NerfgenDataset) -> None:
        kinds = [read_pixels(dataset, kind)[0] for kind in range(min(DISTINCT, len(dataset)))]
        self.values = torch.from_numpy(np.concatenate(kinds))
        self.offsets = torch.arange(len(dataset)) % len(kinds) * len(kinds[0])
        self.has_mattes = True


class SyntheticDataManager(NerfgenDataManager):
    """The product's data manager, with images that are made."""

    def make_store(self, dataset: NerfgenDataset, images: Int[np.ndarray, " chosen"]) -> PixelStore:
        """Make the product's own store for a file, or a shared one in memory."""
        in_file = self.config.pixel_memory == 0
        return super().make_store(dataset, images) if in_file else SharedPixels(dataset, images)

    @property
    def dataset_type(self) -> type[SyntheticImages]:  # type: ignore[override]
        """The class of images that are made."""
        return SyntheticImages

    def get_datapath(self) -> Path:
        """Return an empty path: there is no folder."""
        return Path()


@dataclass
class SyntheticDataManagerConfig(NerfgenDataManagerConfig):
    """The product's configuration, with images that are made."""

    _target: type = field(default_factory=lambda: SyntheticDataManager)


class CaseTrainer(NerfgenTrainer):
    """The product's trainer, but it keeps no record of photographs: the run of a case is never opened."""

    def _keep_record(self) -> None:
        """Keep nothing."""


class Training:
    """The trainer of `nerfgen-tiny` on a case, ready to take steps.

    Args:
        case: its sizes.
        folder: for what it writes.
    """

    def __init__(self, case: Case, folder: Path) -> None:
        config: Any = copy.deepcopy(nerfgen_tiny.config)
        of_product = config.pipeline.datamanager
        parser = SyntheticParserConfig(case=case)
        given = {f.name: getattr(of_product, f.name) for f in dataclasses.fields(of_product) if f.init}
        config.pipeline.datamanager = SyntheticDataManagerConfig(
            **{
                **given,
                "_target": SyntheticDataManager,
                "dataparser": parser,
                "train_num_rays_per_batch": case.rays,
                "pixel_memory": 0.0 if case.pixels_in_file else 1e9,
                "pixel_folder": folder / "pixels",
            }
        )
        model = config.pipeline.model
        model.latent_dim, model.foreground.hidden_dim = case.latent_dim, case.width
        config.output_dir, config.timestamp, config.experiment_name = folder, "run", f"{id(self)}"
        config.machine.device_type = "cuda" if torch.cuda.is_available() else "cpu"
        config.max_num_iterations, config.training_minutes = 1_000_000, None
        config.vis = "tensorboard"
        config.logging.local_writer.enable = False
        config._target = CaseTrainer
        self.trainer = config.setup(local_rank=0, world_size=1)
        self.trainer.setup()
        self.trainer.pipeline.train()
        self.taken = 0

    def step(self) -> None:
        """Take one step with everything that the trainer does in it, except logging and saving."""
        take_step(self.trainer, self.taken)
        synchronize(self.trainer.pipeline.device)
        self.taken += 1


def peak_bytes(case: Case, steps: int) -> int:
    """Build a case, take steps, and return the largest resident memory of this process in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        training = Training(case, Path(folder))
        for _ in range(steps):
            training.step()
    status = Path("/proc/self/status")
    if status.exists():
        # A child's ru_maxrss begins at what its parent had; this does not.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
