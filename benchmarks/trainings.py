"""Two trainings on the same data that can be stopped after any step: the literal method's, and ours."""

from __future__ import annotations

import copy
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.engine.trainer import Trainer, TrainerConfig
from torch import Tensor

from benchmarks.pace import Pace
from benchmarks.products import Operations, own_operations, reference_operations
from benchmarks.reference import Reference, ReferenceSettings, even_bounds
from nerfgen_ns import configs
from nerfgen_ns.datamanagers.data_manager import NerfgenDataManager, NerfgenDataManagerConfig
from nerfgen_ns.training.optimizers import decay_factor
from nerfgen_ns.training.trainer import NerfgenTrainer, NerfgenTrainerConfig
from nerfgen_ns.utils.console import quiet_console
from nerfgen_ns.utils.machine import keep_freed_memory

NEVER = 10**9
RAYS_A_CHUNK = 1024
"""Rays that the reference renders at a time."""


@dataclass
class TrainingSettings:
    """What both trainings are given."""

    data: Path
    """Folder to train on."""
    downscale_factor: int = 1
    """How many times smaller than the files the images are, in training and in judging."""
    seconds: float = 240.0
    """Seconds of training of each; learning rates decay over them."""
    method: Literal["nerfgen-tiny", "nerfgen-small", "nerfgen", "nerfgen-hq"] = "nerfgen-tiny"
    """Our method of `ns-train`."""
    rays: int | None = None
    """Rays a step of ours; if not set, the method's."""
    reference: ReferenceSettings = field(default_factory=ReferenceSettings)
    """Sizes and rates of the literal method."""
    reference_rays: int = 128
    """Rays a step of the literal method. Of 128, 256 and 512, all about as fast on a processor, 128 learned
    most in the same time."""


class Training(ABC):
    """A training in progress."""

    device: torch.device
    operations: Operations
    """Of the matrix products of its steps."""
    product_format: str
    """Number format of its matrix products: fp32 or bf16."""
    cameras: Cameras
    """Of the training photographs."""

    @abstractmethod
    def train(self, pace: Pace) -> None:
        """Take steps until the pace says that it is over."""

    @abstractmethod
    def render(self, row: int, camera: Cameras) -> Float[Tensor, "height width 3"]:
        """Render the identity of a row as one camera, of shape (1,), sees it, as the viewer would."""


def method_config(settings: TrainingSettings) -> NerfgenTrainerConfig:
    """Make our method's configuration for the data, without evaluation and saving during training."""
    name = settings.method.replace("-", "_")
    config: Any = copy.deepcopy(getattr(configs, name).config)
    config.pipeline.datamanager.data = settings.data
    config.pipeline.datamanager.dataparser.downscale_factor = settings.downscale_factor
    if settings.rays is not None:
        config.pipeline.datamanager.train_num_rays_per_batch = settings.rays
    config.training_minutes, config.max_num_iterations = settings.seconds / 60.0, NEVER
    config.steps_per_save = config.steps_per_eval_batch = config.steps_per_eval_image = NEVER
    config.steps_per_eval_all_images = NEVER
    config.experiment_name, config.timestamp, config.vis = "throughput", "run", "tensorboard"
    config.logging.local_writer.enable = False
    return config


class ReferenceTraining(Training):
    """The literal method. It shares the data manager with ours, and draws pixels evenly."""

    def __init__(self, settings: TrainingSettings) -> None:
        config: Any = method_config(settings)
        manager: NerfgenDataManagerConfig = config.pipeline.datamanager
        manager.dataparser.data = settings.data
        manager.train_num_rays_per_batch = settings.reference_rays
        manager.pixel_sampler.background_redraw_fraction = 0.0
        self.device = torch.device(config.machine.device_type)
        if self.device.type == "cpu":
            keep_freed_memory()
        with quiet_console():
            self.manager: NerfgenDataManager = manager.setup(
                device=self.device, test_mode="val", world_size=1, local_rank=0
            )
        self.cameras = self.manager.train_dataset.cameras
        identities = self.manager.train_dataparser_outputs.metadata["num_identities"]
        self.model = Reference(identities, settings.reference).to(self.device)
        self.operations = reference_operations(settings.reference)
        self.product_format = "fp32"

    def train(self, pace: Pace) -> None:
        """Take steps of its optimizer; learning rates decay exponentially."""
        settings, optimizer = self.model.settings, self.model.optimizer()
        rates = [group["lr"] for group in optimizer.param_groups]
        goes_on, step = True, 0
        while goes_on:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * decay_factor(step, pace.spent, 0, settings.final_ratio)
            bundle, batch = self.manager.next_train(step)
            bounds = even_bounds(bundle.origins, bundle.directions, settings.samples, stratified=True)
            pixels = self.model(bundle.origins, bundle.directions, bundle.metadata["cam_idx"][:, 0], bounds)
            losses = self.model.loss(pixels, batch["image"], batch.get("matte"))
            optimizer.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            optimizer.step()
            step += 1
            goes_on = pace.after_step(len(bounds), pixels.weights.numel())

    @torch.no_grad()
    def render(self, row: int, camera: Cameras) -> Float[Tensor, "height width 3"]:
        """Render the identity of a row as one camera, of shape (1,), sees it."""
        rays = camera.to(self.device).generate_rays(camera_indices=0, keep_shape=True)
        parts = []
        for origins, directions in zip(
            rays.origins.reshape(-1, 3).split(RAYS_A_CHUNK),
            rays.directions.reshape(-1, 3).split(RAYS_A_CHUNK),
            strict=True,
        ):
            bounds = even_bounds(origins, directions, self.model.settings.samples, stratified=False)
            rows = torch.full((len(origins),), row, device=self.device)
            parts.append(self.model(origins, directions, rows, bounds).rgb)
        return torch.cat(parts).reshape(rays.origins.shape)


class OwnTraining(Training):
    """Ours: a method of `ns-train` in nerfstudio's trainer.

    Args:
        settings: what both trainings are given.
        output_dir: where the run goes.
        width: units of each hidden layer; if not set, the method's.
    """

    def __init__(self, settings: TrainingSettings, output_dir: Path, width: int | None = None) -> None:
        config: Any = method_config(settings)
        config.output_dir = output_dir
        if width is not None:
            config.pipeline.model.foreground.hidden_dim = width
        shutil.rmtree(config.get_base_dir(), ignore_errors=True)
        with quiet_console():
            config.save_config()
            self.trainer = PacedTrainer(config)
            self.trainer.setup()
        self.model: Any = self.trainer.pipeline.model
        self.device = torch.device(self.trainer.device)
        self.cameras = self.trainer.pipeline.datamanager.train_dataset.cameras  # type: ignore[union-attr]
        self.operations = own_operations(config.pipeline.model)
        self.product_format = "bf16" if self.model.foreground_field.use_bf16 else "fp32"

    def train(self, pace: Pace) -> None:
        """Train as `ns-train` does, but without evaluation; the run is saved at the end."""
        self.trainer.pace = pace
        with quiet_console():
            self.trainer.train()

    def render(self, row: int, camera: Cameras) -> Float[Tensor, "height width 3"]:
        """Render the identity of a row as one camera, of shape (1,), sees it, as the viewer does."""
        training = self.model.training
        camera = camera.to(self.device)
        camera.metadata = {"cam_idx": row}
        try:
            return self.model.eval().get_outputs_for_camera(camera)["rgb"]
        finally:
            self.model.train(training)


def take_step(trainer: Trainer, step: int) -> None:
    """Take one step with everything that the trainer does in it, except logging and saving."""
    before, after = (
        TrainingCallbackLocation.BEFORE_TRAIN_ITERATION,
        TrainingCallbackLocation.AFTER_TRAIN_ITERATION,
    )
    for callback in trainer.callbacks:
        callback.run_callback_at_location(step, location=before)
    trainer.train_iteration(step)
    for callback in trainer.callbacks:
        callback.run_callback_at_location(step, location=after)


class PacedTrainer(NerfgenTrainer):
    """Our trainer, which after each step asks a pace whether to continue."""

    pace: Pace

    def __init__(self, config: TrainerConfig) -> None:
        super().__init__(config, local_rank=0, world_size=1)

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """Set up, and count the samples of each step from now on."""
        super().setup(test_mode)
        self.samples = 0
        self.pipeline.model.register_forward_hook(self._count)

    def train_iteration(self, step: int) -> Any:
        """Take one iteration; if the pace ends, make it the last."""
        result = super().train_iteration(step)
        rays = self.pipeline.datamanager.get_train_rays_per_batch()
        if not self.pace.after_step(rays, self.samples):
            self.stop_training = True
        return result

    def _count(self, module: torch.nn.Module, inputs: Any, outputs: dict[str, Tensor]) -> None:
        if "weights" in outputs:
            self.samples = outputs["weights"].numel()
