"""The options of an evaluation, the input of a protocol, and its result."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import tyro
from jaxtyping import UInt8

from nerfgen_ns.errors import UsageError
from nerfgen_ns.inversion.config import FitConfig

if TYPE_CHECKING:
    from nerfgen_ns.evaluation.folders import TestFolder
    from nerfgen_ns.evaluation.renders import FolderRenders
    from nerfgen_ns.runs.run import Run


Progress = Callable[[int, int], None]
"""Called with the number of steps done and their total."""


@dataclass(frozen=True)
class Figure:
    """One number of a table."""

    name: str
    """What was measured: "PSNR inside the matte"."""
    value: float | None
    """None: not available, and `note` says why."""
    unit: str
    """"dB", "°", or nothing."""
    better: Literal["higher", "lower", "neither"]
    """Which way is better."""
    count: int
    """The number of views, samples, … that it is the mean of."""
    note: str = ""
    """Chance level, N, resolution, truncation; or why there is no value and which file to give."""


@dataclass(frozen=True)
class Picture:
    """A picture for the page."""

    caption: str
    """What it shows, one line."""
    image: UInt8[np.ndarray, "height width 3"]
    """Its colors, 0–255."""


@dataclass(frozen=True)
class ProtocolResult:
    """The result of one protocol."""

    protocol: str
    """Its name, as `--protocol` takes it."""
    source: str
    """Where the protocol comes from: paper and section."""
    settings: dict[str, Any]
    """What was run, as JSON can hold it."""
    figures: list[Figure]
    """The numbers, the most important first."""
    views: list[dict[str, Any]] = field(default_factory=list)
    """File name, identity and values of each scored render, as JSON can hold them."""
    pictures: list[Picture] = field(default_factory=list)
    """For the page."""
    seconds: float = 0.0
    """How long it took; set by the caller."""


@dataclass(frozen=True)
class MetricWeights:
    """Files with the weights of metrics' networks, for machines that cannot fetch them."""

    lpips: Path | None = None
    """The backbone of LPIPS, AlexNet as torchvision publishes it: `alexnet-owt-7be5be79.pth`."""
    inception: Path | None = None
    """The Inception network of FID, KID and Inception Score as torch-fidelity publishes it:
    `weights-inception-2015-12-05-6726825d.pth`."""


@dataclass(frozen=True)
class Evaluation:
    """The input of a protocol."""

    run: Run
    """The trained run."""
    test_folder: TestFolder | None = None
    """What it is judged on; None for protocols that need nothing but the run."""
    renders: FolderRenders | None = None
    """The test folder's photographs beside their renders; without a test folder, the training photographs."""
    downscale_factor: int = 1
    """How many times smaller than stored photographs and test views are judged."""
    samples: int = 256
    """How many objects the protocol of samples draws."""
    truncation: float = 1.0
    """Their truncation."""
    seed: int = 0
    """Seed of everything that is drawn at random."""
    weights: MetricWeights = field(default_factory=MetricWeights)
    """Files with the weights of metrics' networks."""


class EvaluationProtocol(typing.Protocol):
    """One way to judge a run."""

    name: ClassVar[str]
    """As `--protocol` takes it: lower case, with hyphens."""
    needs_test_folder: ClassVar[bool]
    """Whether it is run on each test folder, or once for the run."""

    def missing(self, setting: Evaluation) -> str | None:
        """Return None if it can run on this data; otherwise one line that names what is missing."""

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Judge the run.

        Raises:
            NerfgenError: the data turns out to be unusable; one line says why.
        """


def mean_figure(
    name: str,
    values: Iterable[float],
    unit: str,
    better: Literal["higher", "lower", "neither"],
    note: str = "",
    reason: str = "it is not defined for any view",
) -> Figure:
    """Compute the mean of the values that are defined.

    Args:
        values: NaN where one is not defined.
        note: said of the figure, whether or not it has a value.
        reason: why there is no value, where none is defined.
    """
    every = np.array(list(values), dtype=np.float64)
    defined = every[~np.isnan(every)]
    notes = [note] if note else []
    if len(defined) == 0:
        return Figure(name, None, unit, better, 0, "; ".join([*notes, reason]))
    if len(defined) < len(every):
        notes.append(f"not defined for {len(every) - len(defined)} of {len(every)}")
    mean = float(defined.mean())
    if math.isinf(mean):
        notes.append("infinite: a render equals its photograph")
    return Figure(name, mean if math.isfinite(mean) else None, unit, better, len(defined), "; ".join(notes))


def without_value(figures: Iterable[Figure]) -> dict[str, list[str]]:
    """Return the names of the figures that have no value, by the note that says why."""
    names: dict[str, list[str]] = {}
    for figure in figures:
        if figure.value is None:
            names.setdefault(figure.note, []).append(figure.name)
    return names


def finite_or_none(value: float) -> float | None:
    """Return a value as JSON can hold it: None where it is not finite."""
    return float(value) if math.isfinite(value) else None


ProtocolName = Literal[
    "novel-views",
    "held-out",
    "depth",
    "keypoint-depth",
    "geometry",
    "labels",
    "features",
    "training-reconstruction",
    "samples",
    "latent-space",
]


@dataclass
class FittingConfig(FitConfig):
    """How the codes of new objects are fitted: one per object, at the size at which it is judged."""

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
    """How many views of each kind are judged at most in a test folder, evenly spread. A judged view takes 30
    bytes of memory per pixel."""
    training_views: int = 64
    """How many training photographs are reconstructed, evenly spread."""
    samples: int = 256
    """How many objects the protocol `samples` draws."""
    truncation: float = 1.0
    """Their truncation: standard deviations are multiplied by it."""
    seed: int = 0
    """Seed of everything that is drawn at random."""
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
