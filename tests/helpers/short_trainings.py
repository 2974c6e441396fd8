"""Trainings of `nerfgen-tiny` that are over after a few steps."""

import copy
import random
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerfgen_ns.configs import nerfgen_tiny
from nerfgen_ns.training.trainer import NerfgenTrainer, NerfgenTrainerConfig


def short_config(
    data: Path, output_dir: Path, steps: int, *, small: bool = False, vis: str = "tensorboard"
) -> NerfgenTrainerConfig:
    """A training of so many steps on a processor, which the clock has no part in.

    Args:
        small: 32 rays a step and a grid of 8 cells a side, for tests in which nothing has to be learned.
        vis: as `ns-train` takes it; a viewer gets a port that is free and does not outlive the training.
    """
    config: Any = copy.deepcopy(nerfgen_tiny.config)
    config.data = config.pipeline.datamanager.data = data
    config.output_dir, config.experiment_name, config.timestamp = output_dir, "test", "run"
    config.max_num_iterations, config.training_minutes = steps, None
    config.machine.device_type, config.vis = "cpu", vis
    config.logging.local_writer.enable = False
    config.viewer.quit_on_train_completion = True
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        config.viewer.websocket_port = free.getsockname()[1]
    if small:
        config.pipeline.datamanager.train_num_rays_per_batch = 32
        config.pipeline.model.sampler.grid_resolution = 8
    return config


def set_up(config: NerfgenTrainerConfig, **changes: Any) -> NerfgenTrainer:
    """The trainer, ready to train; `changes` are of options of the configuration, which stays as it is."""
    config = replace(copy.deepcopy(config), **changes)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


def train(config: NerfgenTrainerConfig) -> Path:
    """Train to the end; the run's config.yml."""
    config.save_config()
    set_up(config).train()
    return config.get_base_dir() / "config.yml"


def seed_everything() -> None:
    """Begin all sources of random numbers anew."""
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
