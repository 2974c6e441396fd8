"""The options of the training of heads."""

from __future__ import annotations

from dataclasses import dataclass

from nerfgen_ns.errors import UsageError


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
        if not 0 < self.learning_rate < float("inf"):
            raise UsageError(f"--learning-rate {self.learning_rate}: take more than 0")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"--dropout {self.dropout}: take 0 or more, and less than 1")
        if abs(self.seed) >= 2**63:
            raise UsageError(f"--seed {self.seed}: take one with fewer digits")


def check_number(config: object, name: str, least: float) -> None:
    """Raise a UsageError that names the option of a number that is too small or not finite."""
    value = getattr(config, name)
    if not least <= value < float("inf"):
        raise UsageError(f"--{name.replace('_', '-')} {value}: take at least {least}")


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
