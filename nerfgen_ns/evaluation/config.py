"""What an evaluation is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import tyro

from nerfgen_ns.errors import UsageError
from nerfgen_ns.evaluation.protocol import MetricWeights
from nerfgen_ns.fitting.config import FitConfig

ProtocolName = Literal[
    "novel-views",
    "held-out",
    "depth",
    "keypoint-depth",
    "geometry",
    "training-reconstruction",
    "samples",
    "latent-space",
]


@dataclass
class FittingConfig(FitConfig):
    """How new objects are fitted: their codes, each object's own, at the size at which they are judged."""

    one_object: tyro.conf.Suppress[bool] = False
    tune_steps: tyro.conf.Suppress[int] = 0
    downscale_factor: tyro.conf.Suppress[int | None] = None
    seed: tyro.conf.Suppress[int] = 0


@dataclass(kw_only=True)
class EvaluationConfig:
    """How a run is evaluated."""

    protocol: tuple[ProtocolName, ...] = ()
    """Which protocols; if not given, all that the data allows."""
    downscale_factor: int | None = None
    """How many times smaller than stored photographs and test views are rendered and judged; if not set, as
    in training."""
    max_views: int = 256
    """Most views of a test folder that are judged, of each kind, evenly spread. A judged view is kept in
    memory, 30 bytes a pixel."""
    training_views: int = 64
    """How many training photographs are reconstructed, evenly spread."""
    samples: int = 256
    """How many objects the protocol `samples` draws."""
    truncation: float = 1.0
    """Their truncation: standard deviations are multiplied by it."""
    seed: int = 0
    """For everything that is drawn at random."""
    fit: FittingConfig = field(default_factory=FittingConfig)
    """How new objects are fitted."""
    weights: MetricWeights = field(default_factory=MetricWeights)
    """Files with the weights of metrics' networks, for machines that cannot fetch them."""

    def check(self) -> None:
        """Raise a UsageError for values that make no sense."""
        for name in ("downscale_factor", "max_views", "training_views", "samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} {value}: take at least 1")
        if not 0 <= self.truncation < float("inf"):
            raise UsageError(f"--truncation {self.truncation}: take at least 0")
        self.fit.check()
