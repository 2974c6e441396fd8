"""A trained run: its class model, ready to render."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.eval_utils import eval_setup
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nerfgen_ns.checkpoints import CODES_IN_CHECKPOINT, newest_checkpoint
from nerfgen_ns.codes_file import fingerprint_of_model
from nerfgen_ns.datamanagers.data_record import DataRecord
from nerfgen_ns.errors import UsageError
from nerfgen_ns.model import NerfgenModel
from nerfgen_ns.trainer import NerfgenTrainerConfig


@dataclass(frozen=True)
class Run:
    """A trained run, loaded by `load_run`."""

    config: TrainerConfig
    """What the run was trained with."""
    model: NerfgenModel
    """The class model, in evaluation mode."""
    cameras: Cameras
    """The camera of each photograph of the data, its row of the latent table under `metadata["cam_idx"]`."""
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

    @property
    def codes(self) -> Float[Tensor, "identities latent"]:
        """The latent table."""
        return self.model.latent_table.codes.weight.detach()

    @property
    def model_fingerprint(self) -> str:
        """What tells codes of this model from those of others, see `codes_file`."""
        return fingerprint_of_model(self.model.foreground_field)

    def render(self, code: Float[Tensor, "1 latent"] | int, camera: Cameras) -> dict[str, Tensor]:
        """All outputs of the model for one camera, each of shape (height, width, channels).

        Args:
            code: a latent code, or the row of an identity.
            camera: nerfstudio's cameras, of shape (1,).

        Raises:
            UsageError: the identity does not exist, or the code has another size than the model's.
        """
        model = self.model
        chosen = model.latent_table.row(code) if isinstance(code, int) else code.to(model.device)
        model.latent_table.check_code(chosen)
        return model.render_camera(camera, chosen)


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
    return Run(config, model, manager.train_dataset.cameras, step, manager.dataparser.record)


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


@contextmanager
def quiet_console() -> Iterator[None]:
    """Keep nerfstudio's remarks off the terminal."""
    before = CONSOLE.quiet
    CONSOLE.quiet = True
    try:
        yield
    finally:
        CONSOLE.quiet = before
