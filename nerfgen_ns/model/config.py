"""The configuration of the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

import tyro
from nerfstudio.models.base_model import ModelConfig

from nerfgen_ns.errors import UsageError, check_options, exit_with_one_line
from nerfgen_ns.fields.background import BackgroundFieldConfig
from nerfgen_ns.fields.foreground import ForegroundFieldConfig
from nerfgen_ns.model.camera_optimizer import CameraOptimizerConfig
from nerfgen_ns.model.losses import LossConfig
from nerfgen_ns.model.symmetry import SymmetryConfig
from nerfgen_ns.rendering.ray_renderers import SamplerConfig


@dataclass
class NerfgenModelConfig(ModelConfig):
    """A conditional radiance field for a class, a background field and a latent table."""

    _target: type = field(default_factory=lambda: _model_class())
    """Target class to instantiate."""
    latent_dim: int = 256
    """D, the size of a latent code."""
    latent_init_std: float = 0.01
    """Standard deviation of the zero-mean normal values that the rows of the latent table start at."""
    foreground: ForegroundFieldConfig = field(default_factory=ForegroundFieldConfig)
    """The foreground field."""
    background: BackgroundFieldConfig = field(default_factory=BackgroundFieldConfig)
    """The background field."""
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    """Where samples fall, and how many."""
    losses: LossConfig = field(default_factory=LossConfig)
    """The weights of the losses."""
    symmetry: SymmetryConfig = field(default_factory=SymmetryConfig)
    """Training on mirrored rays."""
    camera_optimizer: CameraOptimizerConfig = field(default_factory=CameraOptimizerConfig)
    """The refinement of camera poses in training."""
    use_bf16: bool = True
    """Compute the fields' matrix products in bf16 where the device has it in hardware."""
    identity: int | None = None
    """The identity shown where nothing else names one; if not set, the mean of the latent table."""
    eval_num_rays_per_chunk: int = 4096
    """Rays rendered at a time."""
    enable_collider: tyro.conf.Suppress[bool] = False
    collider_params: tyro.conf.Suppress[dict[str, float] | None] = None
    loss_coefficients: tyro.conf.Suppress[dict[str, float]] = field(default_factory=dict)
    prompt: tyro.conf.Suppress[str | None] = None

    def check(self) -> None:
        """Look for values that make no model.

        Raises:
            UsageError: there is one; the line names its option and the smallest value that works.
        """
        option = "--pipeline.model"
        check_options(self, option, {"latent_dim": 1, "latent_init_std": 0.0, "eval_num_rays_per_chunk": 1})
        self.foreground.check(f"{option}.foreground")
        self.background.check(f"{option}.background")
        self.sampler.check(f"{option}.sampler")
        self.losses.check(f"{option}.losses")
        self.symmetry.check(f"{option}.symmetry")
        self.camera_optimizer.check(f"{option}.camera-optimizer")

    @property
    def sdf_field(self) -> NoReturn:
        """End `ns-export marching-cubes` with one line: it asks for a field of signed distances."""
        with exit_with_one_line():
            raise UsageError(
                "ns-export marching-cubes: needs a field of signed distances, and this model has densities; "
                "use nerfgen mesh"
            )
        raise AssertionError


def _model_class() -> type:
    from nerfgen_ns.model.model import NerfgenModel

    return NerfgenModel
