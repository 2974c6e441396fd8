"""A trained run: its class model, ready to render."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.eval_utils import eval_setup

from nerfgen_ns.datamanagers.data_parser import number_photographs
from nerfgen_ns.datamanagers.data_record import DataRecord
from nerfgen_ns.datamanagers.dataset import NerfgenDataset, open_dataset
from nerfgen_ns.errors import UsageError
from nerfgen_ns.latents.code_files import fingerprint_of_model
from nerfgen_ns.model.class_view import ClassView
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.training.checkpoints import CODES_IN_CHECKPOINT, newest_checkpoint
from nerfgen_ns.training.trainer import NerfgenTrainerConfig
from nerfgen_ns.utils.console import quiet_console


@dataclass(frozen=True)
class Run(ClassView):
    """A trained run, loaded by `load_run`."""

    config: TrainerConfig
    """What the run was trained with."""
    step: int
    """The training step of the checkpoint."""
    record: DataRecord
    """What the run has kept of its data."""

    @property
    def data(self) -> Path:
        """The prepared folder that the run was trained on."""
        return self.record.data

    @property
    def photographs(self) -> Path:
        """The prepared folder, whose photographs are those that the run was trained on.

        Raises:
            UsageError: some are gone, or have changed.
        """
        self.record.check_photographs()
        return self.data

    def open_photographs(self) -> NerfgenDataset:
        """Open the run's photographs, each with its place in the data.

        Raises:
            UsageError: some are gone, or have changed.
        """
        photographs = open_dataset(self.photographs)
        number_photographs(photographs.cameras)
        return photographs

    @property
    def model_fingerprint(self) -> str:
        """What tells codes of this model from those of others, see `codes_file`."""
        return fingerprint_of_model(self.model.foreground_field)


def load_run(load_config: Path) -> Run:
    """Load a run from its `config.yml`, with its newest checkpoint.

    Raises:
        UsageError: it is not a run of nerfgen, or it has no checkpoint.
        NerfgenError: the checkpoint is damaged.
    """
    newest_checkpoint(read_config(load_config).get_checkpoint_dir())
    with quiet_console():
        config, pipeline, _, step = eval_setup(load_config, test_mode="inference")
    manager: Any = pipeline.datamanager
    model = pipeline.model
    assert isinstance(model, NerfgenModel)
    return Run(model, manager.train_dataset.cameras, config, step, manager.dataparser.record)


def read_config(load_config: Path) -> NerfgenTrainerConfig:
    """The configuration of a run of nerfgen, which is where its config.yml is.

    Raises:
        UsageError: the file is missing or is not the `config.yml` of such a run.
    """
    expected = "--load-config takes the config.yml of a trained nerfgen run"
    try:
        # A configuration names Python classes: like every command of nerfstudio's, this trusts the file.
        config = yaml.load(load_config.read_text(encoding="utf-8"), Loader=yaml.Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or "not a readable configuration"
        raise UsageError(f"{load_config}: {reason}; {expected}") from error
    if not isinstance(config, NerfgenTrainerConfig):
        raise UsageError(f"{load_config}: not a run of nerfgen; {expected}")
    config.open_in(load_config.parent)
    return config


def read_checkpoint(config: TrainerConfig) -> dict[str, Any]:
    """The contents of a run's newest checkpoint; see `newest_checkpoint` for what it raises."""
    # Mapped: of the latent table, which may be large, only what is looked at is read.
    path = newest_checkpoint(config.get_checkpoint_dir())
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def count_identities(config: TrainerConfig) -> int:
    """The rows of the latent table in a run's newest checkpoint."""
    return len(read_checkpoint(config)["pipeline"][CODES_IN_CHECKPOINT])
