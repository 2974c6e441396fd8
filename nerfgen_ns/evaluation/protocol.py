"""What a protocol of evaluation is given and what it gives back."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from nerfgen_ns.evaluation.renders import FolderRenders
    from nerfgen_ns.evaluation.test_folder import TestFolder
    from nerfgen_ns.run import Run

Progress = Callable[[int, int], None]
"""Told the number of steps done and their total."""


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
    """Of how many views, samples, … it is the mean."""
    note: str = ""
    """Chance level, N, resolution, truncation; or why there is no value and which file mends it."""


@dataclass(frozen=True)
class Picture:
    """A picture for the page."""

    caption: str
    """What it shows, one line."""
    image: UInt8[np.ndarray, "height width 3"]
    """Its colours, 0–255."""


@dataclass(frozen=True)
class ProtocolResult:
    """What came of one protocol."""

    protocol: str
    """Its name, as `--protocol` takes it."""
    source: str
    """Where the protocol comes from: paper and section."""
    settings: dict[str, Any]
    """What was run, as JSON can hold it."""
    figures: list[Figure]
    """The numbers, the most telling first."""
    views: list[dict[str, Any]] = field(default_factory=list)
    """Of each scored render the file's name, the identity and its values, as JSON can hold them."""
    pictures: list[Picture] = field(default_factory=list)
    """For the page."""
    seconds: float = 0.0
    """What it took; set by the caller."""


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
    """What a protocol is given."""

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
    """For everything that is drawn at random."""
    weights: MetricWeights = field(default_factory=MetricWeights)
    """Files with the weights of metrics' networks."""


class EvaluationProtocol(typing.Protocol):
    """One way to judge a run."""

    name: ClassVar[str]
    """As `--protocol` takes it: lower case, with hyphens."""
    needs_test_folder: ClassVar[bool]
    """Whether it is run on each test folder, or once for the run."""

    def missing(self, setting: Evaluation) -> str | None:
        """None if it can run on this data; otherwise one line that names what is missing."""

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Judge.

        Raises:
            NerfgenError: the data turned out not to do; one line says why.
        """
