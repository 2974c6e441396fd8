"""The options of the training of heads, of semantic editing and of the data factory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nerfgen_ns.errors import UsageError

Range = tuple[float, float]


def check_number(config: object, name: str, least: float) -> None:
    """Raise a UsageError that names the option of a number that is too small or not finite."""
    value = getattr(config, name)
    if not least <= value < float("inf"):
        raise UsageError(f"--{name.replace('_', '-')} {value}: take at least {least}")


def check_rate_and_seed(learning_rate: float, seed: int) -> None:
    """Raise a UsageError for a learning rate that is not above 0 and finite, or a seed beyond 63 bits."""
    if not 0 < learning_rate < float("inf"):
        raise UsageError(f"--learning-rate {learning_rate}: take more than 0")
    if abs(seed) >= 2**63:
        raise UsageError(f"--seed {seed}: take one with fewer digits")


@dataclass
class FactoryConfig:
    """What the data factory makes."""

    count: int = 1000
    """Images in all."""
    format: Literal["webdataset", "coco", "nerfstudio"] = "webdataset"
    """How they are written. webdataset: tar files that `webdataset` streams; coco: folders and an
    annotations.json that `pycocotools` reads; nerfstudio: folders and a transforms.json, which every command
    of nerfstudio and nerfgen takes as data."""
    views: int = 4
    """Images of each identity; the last identity has the rest."""
    size: int | None = None
    """Width and height of the images in pixels; if not set, those of the run's photographs in training."""
    truncation: float = 0.8
    """Factor on the standard deviations of the latent table's Gaussian, from which identities are drawn."""
    min_confidence: float = 0.0
    """Pixels whose label is less probable are unlabeled, 255."""
    backgrounds: Literal["sampled", "own"] = "sampled"
    """What is behind an identity. sampled: in each image what is behind another sampled identity; own:
    what is behind itself."""
    yaw: Range | None = None
    """Range of the cameras' yaw in degrees, positive at the object's left; drawn evenly. If not set, yaw is
    spread as that of the run's photographs."""
    pitch: Range | None = None
    """The same for pitch, positive above the object. With one of the two ranges, cameras are upright and look
    at the object's middle from the usual distance."""
    video: bool = False
    """Views of an identity are frames along a closed camera path, in its order, before one background."""
    points: int = 4096
    """Points of each identity's cloud at most, fused from its images; 0 for no clouds."""
    images_per_tar: int = 256
    """Images of one tar file, about; it is written whole or not at all."""
    seed: int = 0
    """Seed of all that is drawn. A larger --count with the same seed begins with the same identities."""

    def check(self) -> None:
        """Raise a UsageError for values that make no sense."""
        least = {"count": 1, "views": 1, "points": 0, "images_per_tar": 1, "seed": 0, "truncation": 0}
        for name, lowest in least.items():
            value = getattr(self, name)
            if not lowest <= value < 2**63:
                raise UsageError(f"--{name.replace('_', '-')} {value}: take at least {lowest}")
        if self.size is not None and not 8 <= self.size <= 4096:
            raise UsageError(f"--size {self.size}: take 8 to 4096 pixels")
        if not 0 <= self.min_confidence <= 1:
            raise UsageError(f"--min-confidence {self.min_confidence}: take 0 to 1")
        for name, most in (("yaw", 360.0), ("pitch", 90.0)):
            given = getattr(self, name)
            if given is not None and not -most <= given[0] <= given[1] <= most:
                shown = f"{given[0]:g} {given[1]:g}"
                raise UsageError(
                    f"--{name} {shown}: take degrees from {-most:g} to {most:g}, the least first"
                )


@dataclass
class HeadTrainingConfig:
    """How a head is trained."""

    steps: int = 300
    """Steps of the head, after the class model has been asked once what it shows along the rays."""
    rays: int = 4096
    """Pixels of a step."""
    most_rays: int = 200_000
    """Pixels that are used at most; each picture gives as many."""
    learning_rate: float = 4e-3
    """Learning rate of Adam at the start; it falls to zero."""
    weight_decay: float = 1e-2
    """Decoupled weight decay of Adam, times the rate."""
    dropout: float = 0.1
    """Share of the hidden features that a step leaves out at random: with few pictures, some features tell
    one object's parts by chance."""
    hidden_dim: int = 64
    """Units of each hidden layer of the head."""
    num_layers: int = 2
    """Hidden layers of the head."""
    seed: int = 0
    """Seed of everything that is drawn at random."""

    def check(self) -> None:
        """Raise a UsageError for values that make no sense."""
        least = {"steps": 1, "rays": 1, "most_rays": 1, "hidden_dim": 1, "num_layers": 1}
        for name, lowest in {**least, "weight_decay": 0}.items():
            check_number(self, name, lowest)
        check_rate_and_seed(self.learning_rate, self.seed)
        if not 0 <= self.dropout < 1:
            raise UsageError(f"--dropout {self.dropout}: take 0 or more, and less than 1")


@dataclass
class EditConfig:
    """How a code is found for a label map that was painted over."""

    steps: int = 200
    """Optimization steps of the latent code."""
    rays: int = 512
    """Pixels of a step: a quarter in the changed region, a quarter elsewhere in its view, half in other
    views."""
    learning_rate: float = 0.05
    """Learning rate of Adam at the start, in standard deviations of the latent table; it falls to a tenth."""
    label_loss_mult: float = 0.005
    """Weight of the labels' cross-entropy beside the squared differences of colors. More of it follows the
    label map further, less of it keeps the colors elsewhere closer."""
    part_color_loss_mult: float = 0.5
    """Weight of the colors in the changed region: each is compared with the nearest color that the object had
    where it had the new label."""
    other_views_weight: float = 0.5
    """Weight of the object's own colors and labels in other views, beside those in the view of the edit."""
    prior_weight: float = 1e-3
    """Weight of the prior: the squared distance to the code before, in standard deviations of the latent
    table, divided by the number of its directions."""
    tune_steps: int = 0
    """Steps of a last stage that also tunes a copy of the networks, for edits that no code explains; 200 is a
    good number, 0 skips the stage. The copy is kept close to the original on renders of other objects."""
    seed: int = 0
    """Seed of everything that is drawn at random."""

    def check(self) -> None:
        """Raise a UsageError for values that make no sense."""
        least = {"steps": 1, "rays": 8, "tune_steps": 0, "label_loss_mult": 0, "part_color_loss_mult": 0}
        for name, lowest in {**least, "other_views_weight": 0, "prior_weight": 0}.items():
            check_number(self, name, lowest)
        check_rate_and_seed(self.learning_rate, self.seed)


@dataclass
class LabelConfig(HeadTrainingConfig):
    """How a label head is trained."""

    balance: tuple[float, float] = (0.7, 0.2)
    """How far rare labels count more, in the first step and in the last: a label's weight is its share of the
    pixels to the power of minus this number. At first no label may be given up; at the end shares count."""
    overlap_loss_mult: float = 1.0
    """Weight of the loss of overlaps, 1 − the mean over labels of a soft intersection over union of a step's
    pixels, beside the cross-entropy: mean IoU is what labels are judged by."""

    def check(self) -> None:
        """Raise a UsageError for values that make no sense."""
        super().check()
        check_number(self, "overlap_loss_mult", 0)
        if not all(0 <= one < float("inf") for one in self.balance):
            raise UsageError(f"--balance {' '.join(map(str, self.balance))}: take at least 0")


@dataclass
class DistillConfig(HeadTrainingConfig):
    """How a feature head is trained."""

    dims: int = 32
    """Numbers of a feature: the extractor's are reduced to as many by PCA over the photographs."""
    photographs: int = 128
    """Photographs whose features are used at most, evenly spread."""

    def check(self) -> None:
        """Raise a UsageError for values that make no sense."""
        super().check()
        check_number(self, "dims", 1)
        check_number(self, "photographs", 1)
