"""The methods of `ns-train`: nerfgen-tiny, nerfgen-small, nerfgen and nerfgen-hq."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from nerfstudio.configs.base_config import LoggingConfig, MachineConfig
from nerfstudio.engine.optimizers import OptimizerConfig
from nerfstudio.plugins.types import MethodSpecification

from nerfgen_ns.datamanagers.data_manager import NerfgenDataManagerConfig
from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
from nerfgen_ns.datamanagers.pixel_sampler import ImagewisePixelSamplerConfig
from nerfgen_ns.fields.background import BackgroundFieldConfig
from nerfgen_ns.fields.foreground import ForegroundFieldConfig
from nerfgen_ns.model.config import NerfgenModelConfig
from nerfgen_ns.model.losses import LossConfig
from nerfgen_ns.rendering.ray_renderers import SamplerConfig
from nerfgen_ns.training.optimizers import (
    BudgetDecayConfig,
    DiscriminatorAdamConfig,
    FusedAdamConfig,
    MuonConfig,
    RowAdamConfig,
)
from nerfgen_ns.training.pipeline import NerfgenPipelineConfig
from nerfgen_ns.training.trainer import NerfgenTrainerConfig

CAMERA_LR = 4e-4
"""Learning rate of the camera optimizer, in radians; Adam rotates by about as much a step."""


def optimizers(
    fields: OptimizerConfig, latent_lr: float, final_ratio: float, cooldown: float = 0.0
) -> dict[str, Any]:
    """Return the networks' optimizer and, for the tables, Adam that changes only the rows of the batch.

    The camera optimizer, where it is switched on, starts only when the shapes have formed, and adversarial
    training when most is learned.
    """
    decay = BudgetDecayConfig(final_ratio=final_ratio, cooldown=cooldown)
    return {
        "fields": {
            "optimizer": fields,
            "scheduler": replace(decay),
        },
        "latent_table": {
            "optimizer": RowAdamConfig(lr=latent_lr),
            "scheduler": replace(decay),
        },
        "camera_opt": {
            "optimizer": RowAdamConfig(lr=CAMERA_LR),
            "scheduler": replace(decay, start=0.3),
        },
        "discriminator": {
            "optimizer": DiscriminatorAdamConfig(),
            "scheduler": BudgetDecayConfig(final_ratio=1.0, start=0.7),
        },
    }


def machine() -> MachineConfig:
    """Choose the GPU where there is one, and the processor elsewhere."""
    return MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu")


GPU_SAMPLES = 48
"""Samples a ray of the methods for a GPU. `benchmarks.samples` compares numbers of samples."""
RENDER_MEMORY = 2.0
"""Gigabytes of a GPU that a chunk of rendered rays takes; on a processor, in fp32, it takes twice as much."""


def rays_per_chunk(hidden_dim: int, num_samples: int) -> int:
    """Return how many rays a GPU renders at a time: the largest power of two that fits `RENDER_MEMORY`.

    What a sample takes is mainly the inputs and the outputs of one layer, in bf16.
    """
    return int(2 ** math.floor(math.log2(1e9 * RENDER_MEMORY / (2 * 2 * hidden_dim * num_samples))))


def gpu_method(
    name: str,
    description: str,
    steps: int,
    steps_per_eval: int,
    latent_dim: int,
    latent_lr: float,
    foreground: ForegroundFieldConfig,
) -> MethodSpecification:
    """Return a method that trains on a GPU.

    Args:
        name: of the method.
        description: one line for `ns-train --help`.
        steps: of training.
        steps_per_eval: steps between two evaluations; it is saved a tenth as often.
        latent_dim: D, the size of a latent code.
        latent_lr: learning rate of the latent table.
        foreground: the foreground field.
    """
    return MethodSpecification(
        config=NerfgenTrainerConfig(
            method_name=name,
            project_name="nerfgen",
            machine=machine(),
            max_num_iterations=steps,
            steps_per_save=10 * steps_per_eval,
            steps_per_eval_batch=steps_per_eval,
            steps_per_eval_image=steps_per_eval,
            steps_per_eval_all_images=1_000_000,
            pipeline=NerfgenPipelineConfig(
                datamanager=NerfgenDataManagerConfig(
                    dataparser=NerfgenDataParserConfig(training_size=256),
                    train_num_rays_per_batch=16_384,
                    eval_num_rays_per_batch=4_096,
                ),
                model=NerfgenModelConfig(
                    latent_dim=latent_dim,
                    foreground=foreground,
                    sampler=SamplerConfig(num_samples=GPU_SAMPLES),
                    eval_num_rays_per_chunk=rays_per_chunk(foreground.hidden_dim, GPU_SAMPLES),
                ),
            ),
            optimizers=optimizers(FusedAdamConfig(lr=5e-4, eps=1e-15), latent_lr=latent_lr, final_ratio=0.2),
            vis="viewer",
        ),
        description=description,
    )


nerfgen = gpu_method(
    "nerfgen",
    "A class of objects from single photographs: 8×256 networks, for a GPU.",
    steps=100_000,
    steps_per_eval=500,
    latent_dim=256,
    latent_lr=2e-3,
    foreground=ForegroundFieldConfig(),
)
nerfgen_hq = gpu_method(
    "nerfgen-hq",
    "The paper's largest networks, 8×1024 with codes of 2048, for a GPU with 24 GB.",
    steps=500_000,
    steps_per_eval=1_000,
    latent_dim=2048,
    latent_lr=5e-4,
    # Of the 13 GB of a step's activations; the others are computed twice, so that any more rays fit too.
    foreground=ForegroundFieldConfig(hidden_dim=1024, activation_memory=12.0),
)


def processor_method(
    name: str,
    description: str,
    minutes: float,
    training_size: int,
    latent_dim: int,
    hidden_dim: int,
    num_frequencies: int,
    density_frequencies: int | None,
    landmark_fraction: float,
    sampler: SamplerConfig,
) -> MethodSpecification:
    """Return a method that trains in minutes on two processor cores: small networks, few samples.

    Args:
        name: of the method.
        description: one line for `ns-train --help`.
        minutes: of training.
        training_size: pixels of the longer side of the images.
        latent_dim: D, the size of a latent code.
        hidden_dim: units of each hidden layer of the foreground field.
        num_frequencies: of its positional encoding.
        density_frequencies: how many of them decide the density; None: all.
        landmark_fraction: share of the rays through landmarks.
        sampler: where samples fall, and how many.
    """
    return MethodSpecification(
        config=NerfgenTrainerConfig(
            method_name=name,
            project_name="nerfgen",
            machine=machine(),
            max_num_iterations=round(15_000 * minutes),
            training_minutes=minutes,
            steps_per_save=5_000,
            steps_per_eval_batch=1_000,
            steps_per_eval_image=2_500,
            steps_per_eval_all_images=1_000_000,
            logging=LoggingConfig(steps_per_log=100),
            pipeline=NerfgenPipelineConfig(
                datamanager=NerfgenDataManagerConfig(
                    dataparser=NerfgenDataParserConfig(training_size=training_size),
                    train_num_rays_per_batch=768,
                    eval_num_rays_per_batch=768,
                    pixel_sampler=ImagewisePixelSamplerConfig(
                        pixels_per_image=4,
                        background_redraw_fraction=0.8,
                        landmark_fraction=landmark_fraction,
                    ),
                ),
                model=NerfgenModelConfig(
                    latent_dim=latent_dim,
                    foreground=ForegroundFieldConfig(
                        hidden_dim=hidden_dim,
                        num_layers=4,
                        skip_connection=2,
                        num_frequencies=num_frequencies,
                        density_frequencies=density_frequencies,
                        code_in_every_layer=True,
                    ),
                    background=BackgroundFieldConfig(hidden_dim=64, num_layers=4, num_frequencies=4),
                    sampler=sampler,
                    # Measured by benchmarks.ablate: heavier losses of the shape take steps from the colors.
                    losses=LossConfig(background_weight=0.3, mask_loss_mult=0.1, hard_surface_loss_mult=0.03),
                    eval_num_rays_per_chunk=4096,
                ),
            ),
            # Codes whose rate ends at zero settle: without it, those that trained are worse than fitted ones.
            optimizers=optimizers(MuonConfig(lr=1.2e-2), latent_lr=6e-3, final_ratio=0.3, cooldown=0.3),
            vis="viewer",
        ),
        description=description,
    )


nerfgen_tiny = processor_method(
    "nerfgen-tiny",
    "Minutes on two processor cores, 64 pixels: small networks, samples only where the class is.",
    minutes=4.0,
    training_size=64,
    latent_dim=96,
    hidden_dim=64,
    num_frequencies=4,
    density_frequencies=None,
    landmark_fraction=0.0,
    sampler=SamplerConfig(num_samples=16, num_eval_samples=16, grid_resolution=48),
)
nerfgen_small = processor_method(
    "nerfgen-small",
    "An hour on two processor cores, 128 pixels: networks of twice the width.",
    minutes=60.0,
    training_size=128,
    latent_dim=192,
    hidden_dim=128,
    num_frequencies=6,
    # With all six, normals have ridges as wide as the highest one, and the colors are 0.2 dB worse.
    density_frequencies=4,
    # Without it faces that are seen from the front alone have no nose.
    landmark_fraction=0.1,
    sampler=SamplerConfig(num_samples=8, num_eval_samples=24, grid_resolution=48, depth_memory=True),
)
METHODS = {
    str(method.config.method_name): method for method in (nerfgen_tiny, nerfgen_small, nerfgen, nerfgen_hq)
}
"""All methods by name, the smallest first."""
