"""The configuration of the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NoReturn

import tyro
from nerfstudio.models.base_model import ModelConfig

from nerfgen_ns.errors import UsageError, check_at_least, exit_with_one_line

LOWEST = {
    "latent_dim": 1, "latent_init_std": 0.0, "width": 1, "layers": 2, "octaves": 0, "background_width": 1,
    "background_layers": 2, "background_octaves": 0, "num_samples": 1, "num_eval_samples": 1,
    "grid_resolution": 4, "occupancy_decay": 0.0, "unoccupied_density": 0.0, "rgb_loss_mult": 0.0,
    "background_weight": 0.0, "mask_loss_mult": 0.0, "hard_surface_loss_mult": 0.0,
    "pose_correction_mult": 0.0, "mirrored_share": 0.0, "lopsided_share": 0.0, "eval_num_rays_per_chunk": 1,
}  # fmt: skip
"""The smallest values with which there is a model."""


@dataclass
class NerfgenModelConfig(ModelConfig):
    """A conditional radiance field for a class, a background field and a latent table."""

    _target: type = field(default_factory=lambda: _model_class())
    """Target class to instantiate."""
    latent_dim: int = 256
    """D, the size of a latent code."""
    latent_init_std: float = 0.01
    """Standard deviation of the zero-mean normal values that the rows of the latent table start at."""
    width: int = 256
    """Units of each hidden layer of the foreground field."""
    layers: int = 8
    """Hidden layers of the foreground field."""
    skip_layer: int = 4
    """The hidden layer, counted from 0, that the encoded position and the latent code enter again."""
    octaves: int = 10
    """Octaves of the positional encoding."""
    background_width: int = 256
    """Units of each hidden layer of the background field."""
    background_layers: int = 5
    """Layers of the background field, the output layer included."""
    background_octaves: int = 4
    """Octaves of the encoding of the ray direction in the background field."""
    sampler: Literal["auto", "importance", "volumetric", "pdf", "uniform"] = "auto"
    """Where samples fall. importance: in the cells of an occupancy grid where rays of any identity found
    surfaces, on any device; volumetric: nerfstudio's volumetric sampler over nerfacc's grid of the class's
    density, on CUDA, where nvcc compiles its kernels at their first use; pdf: a uniform pass, then
    nerfstudio's PDF sampler over its weights; uniform: evenly; auto: importance."""
    num_samples: int = 128
    """Samples a ray in training; with pdf, of each of the two passes; with volumetric, at most."""
    num_eval_samples: int | None = None
    """Samples a ray in rendering; if not set, as in training."""
    grid_resolution: int = 64
    """Cells along each side of the grid of the importance and volumetric samplers."""
    occupancy_decay: float = 0.98
    """What a cell of the importance sampler's grid keeps of its rendering weight at each update."""
    occupancy_threshold: float = 0.05
    """Rendering weight from which a cell of the importance sampler's grid counts as occupied."""
    unoccupied_density: float = 0.02
    """How densely the importance sampler samples outside the occupied cells, where it is 1 inside."""
    rgb_loss_mult: float = 1.0
    """Weight of the mean squared error of the color."""
    background_weight: float = 1.0
    """Weight of the colors outside the matte, where those inside have 1. Object and background share one
    code, and what it says of the one is lost to the other."""
    mask_loss_mult: float = 1.0
    """Weight of the mean squared error of the accumulation against the matte, where there are mattes."""
    hard_surface_loss_mult: float = 0.1
    """Weight of the hard-surface loss, a mean over the samples."""
    use_background_field: bool = True
    """Whether the background is learned. Without it, the background is `solid_background`."""
    solid_background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Color behind the foreground where no background is learned, red, green, blue in [0, 1]."""
    pose_correction: bool = False
    """Whether the camera of each photograph is corrected while the class is learned. The optimizer of the
    group pose_correction says when it begins and how fast it goes."""
    pose_correction_degrees: float = 3.0
    """The error that the cameras are expected to have, in degrees of turning; shifts count by their angle at
    the distance of one unit. Corrections are drawn to zero as by a normal distribution of this width."""
    pose_correction_mult: float = 1e-5
    """Weight of the mean squared correction in units of the expected error. As one photograph's share of the
    evidence it is about the color's mean squared error divided by the pixels that show the object."""
    mirrored_share: float = 0.0
    """Share of the training rays that are mirrored in the class's plane of symmetry, x = 0, and their codes
    with them: for classes of nearly symmetric objects, whose photographs then show both sides."""
    lopsided_share: float = 0.125
    """Share of a latent code's entries that change their sign in the mirror. They say how left and right
    differ; 0 makes every object symmetric."""
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
        for name, lowest in LOWEST.items():
            value = getattr(self, name)
            if value is not None:
                check_at_least(f"--pipeline.model.{name.replace('_', '-')}", value, lowest)
        if not 1 <= self.skip_layer < self.layers:
            raise UsageError(
                f"--pipeline.model.skip-layer {self.skip_layer}: give 1 to {self.layers - 1}, for "
                f"{self.layers} layers"
            )

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
