"""The configuration of the model."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

import tyro
from nerfstudio.models.base_model import ModelConfig

from nerfgen_ns.errors import UsageError, check_options, exit_with_one_line
from nerfgen_ns.fields.background import BackgroundFieldConfig
from nerfgen_ns.fields.foreground import ForegroundFieldConfig
from nerfgen_ns.fields.heads import FeatureHeadConfig, LabelHeadConfig
from nerfgen_ns.fields.regions import RegionConfig
from nerfgen_ns.model.camera_optimizer import CameraOptimizerConfig
from nerfgen_ns.model.losses import LossConfig
from nerfgen_ns.model.symmetry import SymmetryConfig
from nerfgen_ns.rendering.ray_renderers import SamplerConfig

NO_OPTIONS = {"_target", "enable_collider", "collider_params", "loss_coefficients", "prompt"}
"""Fields of nerfstudio's configs that no option of this model sets."""


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
    label_head: tyro.conf.Suppress[LabelHeadConfig | None] = None
    """The labels of the class, which `nerfgen label` teaches a trained run; None without labels."""
    region: tyro.conf.Suppress[RegionConfig | None] = None
    """What `nerfgen region` does to parts of every object, wherever the run is shown; None without effect."""
    feature_head: tyro.conf.Suppress[FeatureHeadConfig | None] = None
    """The features of the class, which `nerfgen distill` teaches a trained run; None without features."""
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
        """Check for values that make no model.

        Raises:
            UsageError: there is one; the line names its option and the smallest value that works.
        """
        option = "--pipeline.model"
        check_options(
            self,
            option,
            {"latent_dim": 1, "latent_init_std": 0.0, "eval_num_rays_per_chunk": 1},
            {"latent_dim": 1 << 16},
        )
        self.foreground.check(f"{option}.foreground")
        self.background.check(f"{option}.background")
        self.sampler.check(f"{option}.sampler")
        self.losses.check(f"{option}.losses")
        self.symmetry.check(f"{option}.symmetry")
        self.camera_optimizer.check(f"{option}.camera-optimizer")
        if self.label_head is not None:
            self.label_head.check(f"{option}.label-head")
        if self.region is not None:
            names = () if self.label_head is None else self.label_head.names
            has_query = self.feature_head is not None and self.feature_head.query is not None
            self.region.check(f"{option}.region.", names, has_query)
        if self.feature_head is not None:
            self.feature_head.check(f"{option}.feature-head")

    @property
    def sdf_field(self) -> NoReturn:
        """End `ns-export marching-cubes` with one line: it asks for a field of signed distances."""
        with exit_with_one_line():
            raise UsageError(
                "ns-export marching-cubes: needs a field of signed distances, and this model has densities; "
                "use nerfgen mesh"
            )
        raise AssertionError


def options_of(config: Any) -> dict[str, Any]:
    """Return the options of a config and of nested configs as plain values, without classes to set up."""
    options: dict[str, Any] = {}
    for name in _option_names(config):
        value = getattr(config, name)
        options[name] = options_of(value) if is_dataclass(value) else value
    return options


def set_options(config: Any, options: Mapping[str, Any]) -> None:
    """Set the options of a config and of nested configs to the values of `options_of`, checking each.

    Raises:
        ValueError: there is no such option, or its value is of another type.
    """
    hints, names = get_type_hints(type(config)), _option_names(config)
    for name, value in options.items():
        if name in NO_OPTIONS:
            continue
        if name not in names:
            raise ValueError(f"there is no option {name}")
        own = getattr(config, name)
        if own is None and isinstance(value, Mapping):
            # A part that a config may have or not have.
            parts = [kind for kind in get_args(hints[name]) if isinstance(kind, type) and is_dataclass(kind)]
            own = parts[0]() if parts else None
            setattr(config, name, own)
        if is_dataclass(own):
            if not isinstance(value, Mapping):
                raise ValueError(f"{name} holds no options")
            set_options(own, value)
            continue
        value = _with_tuples(value, hints[name])
        if not _fits(value, hints[name]):
            raise ValueError(f"{name} is {reprlib.repr(value)}")
        setattr(config, name, value)


def _with_tuples(value: Any, hint: Any) -> Any:
    """Return lists, which JSON has in the place of tuples, as tuples where the type of an option has them.

    Lists within lists stay where the type has none: a file may unfold to gigabytes of them.
    """
    kind, arguments = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        hint = next((argument for argument in arguments if get_origin(argument) is tuple), None)
        return value if hint is None else _with_tuples(value, hint)
    if kind is not tuple or not isinstance(value, list | tuple):
        return value
    return tuple(_with_tuples(part, arguments[0]) for part in value)


def _option_names(config: Any) -> list[str]:
    return [part.name for part in fields(config) if part.name not in NO_OPTIONS]


def _fits(value: Any, hint: Any) -> bool:
    kind, arguments = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if kind is Literal:
        return value in arguments
    if kind is tuple and arguments[-1] is Ellipsis:
        return isinstance(value, tuple) and all(_fits(part, arguments[0]) for part in value)
    if kind is tuple:
        return isinstance(value, tuple) and len(value) == len(arguments) and all(map(_fits, value, arguments))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _model_class() -> type:
    from nerfgen_ns.model.model import NerfgenModel

    return NerfgenModel
