"""A trained run: its class model, ready to render."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nerfgen_ns.datamanagers.data_parser import number_photographs
from nerfgen_ns.datamanagers.data_record import DataRecord
from nerfgen_ns.datamanagers.dataset import NerfgenDataset, open_dataset
from nerfgen_ns.errors import UsageError
from nerfgen_ns.latents.code_files import fingerprint_of_model
from nerfgen_ns.model.class_view import ClassView
from nerfgen_ns.model.config import NerfgenModelConfig
from nerfgen_ns.model.model import NerfgenModel


@dataclass(frozen=True)
class Run(ClassView):
    """A trained run, from `nerfgen_ns.runs.loading.load_run`.

    Its `cameras` have the size of the photographs' files. Training looks at them `downscale_factor` times
    smaller.
    """

    method_name: str
    """The method of `ns-train` that trained it."""
    step: int
    """The training step of the checkpoint."""
    downscale_factor: float
    """How many times smaller than their files training looks at the photographs."""
    eval_fraction: float
    """The share of the photographs that was set aside from training."""
    record: DataRecord
    """What the run has kept of its data."""
    folder: Path | None = None
    """The run folder; None of a packed run, and of one that is not on disk."""

    @property
    def data(self) -> Path:
        """Return the prepared folder that the run was trained on."""
        return self.record.data

    @property
    def photographs(self) -> Path:
        """Return the prepared folder, after checking that its photographs are those of the training.

        Raises:
            UsageError: some are missing, or have changed.
        """
        self.record.check_photographs()
        return self.data

    def open_photographs(self) -> NerfgenDataset:
        """Open the run's photographs, each with its place in the data.

        Raises:
            UsageError: some are missing, or have changed.
        """
        photographs = open_dataset(self.photographs)
        number_photographs(photographs.cameras)
        return photographs

    @property
    def model_fingerprint(self) -> str:
        """Return the model's fingerprint, which marks its codes; see `nerfgen_ns.latents.code_files`."""
        return fingerprint_of_model(self.model.foreground_field)


def check_sizes(config: NerfgenModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """Check, before anything of its size is made, that a model has the sizes of the tensors of its file.

    Raises:
        UsageError: a size makes no model.
        ValueError: the model is of another size.
        KeyError: a tensor is missing.
    """
    config.check()
    hidden = sum(bool(re.fullmatch(r"foreground_field\.hidden\.\d+\.weight", name)) for name in tensors)
    expected = {
        "latent_dim": (config.latent_dim, tensors["latent_table.codes.weight"].shape[1]),
        "foreground.hidden_dim": (
            config.foreground.hidden_dim,
            tensors["foreground_field.density_head.weight"].shape[1],
        ),
        "foreground.num_layers": (config.foreground.num_layers, hidden + 1),
    }
    if config.background.learned:
        width = tensors["background_field.rgb_head.weight"].shape[1]
        expected["background.hidden_dim"] = (config.background.hidden_dim, width)
    for name, (said, found) in expected.items():
        if said != found:
            raise ValueError(
                f"made with another configuration: {name} is {said}, and its tensors have {found}"
            )


def make_run(
    config: NerfgenModelConfig,
    method_name: str,
    step: int,
    record: DataRecord,
    downscale_factor: float = 1.0,
    eval_fraction: float = 0.0,
) -> Run:
    """Make a run whose model does not have its tensors yet, on the GPU where there is one.

    For the arguments see `Run`.

    Raises:
        UsageError: the configuration makes no model.
    """
    if not 0 < downscale_factor < math.inf or not bool(torch.isfinite(record.cameras.camera_to_worlds).all()):
        raise UsageError("its cameras or their downscale factor are no numbers")
    outputs = record.outputs()
    number_photographs(outputs.cameras)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model: NerfgenModel = config.setup(
        scene_box=outputs.scene_box,
        num_train_data=len(outputs.image_filenames),
        metadata=outputs.metadata,
        device=device,
    )
    model = model.to(device).eval()
    return Run(model, outputs.cameras, method_name, step, downscale_factor, eval_fraction, record)
