"""The options of a label head's training and of semantic editing."""

from __future__ import annotations

from dataclasses import dataclass

from nerfgen_ns.errors import UsageError


@dataclass
class LabelConfig:
    """How a label head is trained."""

    steps: int = 300
    """Steps of the head, after the class model has been asked once what it shows along the labeled rays."""
    rays: int = 4096
    """Labeled pixels of a step."""
    most_rays: int = 200_000
    """Labeled pixels that are used at most; each label map gives as many, and each of its labels a share."""
    learning_rate: float = 4e-3
    """Learning rate of Adam at the start; it falls to zero."""
    weight_decay: float = 1e-2
    """Decoupled weight decay of Adam, times the rate."""
    balance: tuple[float, float] = (0.7, 0.2)
    """How far rare labels count more, in the first step and in the last: a label's weight is its share of the
    pixels to the power of minus this number. At first no label may be given up; at the end shares count."""
    dropout: float = 0.1
    """Share of the hidden features that a step leaves out at random: with few label maps, some features tell
    one photograph's parts by chance."""
    overlap_loss_mult: float = 1.0
    """Weight of the loss of overlaps, 1 − the mean over labels of a soft intersection over union of a step's
    pixels, beside the cross-entropy: mean IoU is what labels are judged by."""
    hidden_dim: int = 64
    """Units of each hidden layer of the head."""
    num_layers: int = 2
    """Hidden layers of the head."""
    seed: int = 0
    """Seed of everything that is drawn at random."""

    def check(self) -> None:
        """Raise a UsageError for values that make no sense."""
        least = {"steps": 1, "rays": 1, "most_rays": 1, "hidden_dim": 1, "num_layers": 1}
        for name, lowest in {**least, "weight_decay": 0, "overlap_loss_mult": 0}.items():
            value = getattr(self, name)
            if not lowest <= value < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} {value}: take at least {lowest}")
        if not 0 < self.learning_rate < float("inf"):
            raise UsageError(f"--learning-rate {self.learning_rate}: take more than 0")
        if not all(0 <= one < float("inf") for one in self.balance):
            raise UsageError(f"--balance {' '.join(map(str, self.balance))}: take at least 0")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"--dropout {self.dropout}: take 0 or more, and less than 1")
        if abs(self.seed) >= 2**63:
            raise UsageError(f"--seed {self.seed}: take one with fewer digits")


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
            value = getattr(self, name)
            if not lowest <= value < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} {value}: take at least {lowest}")
        if not 0 < self.learning_rate < float("inf"):
            raise UsageError(f"--learning-rate {self.learning_rate}: take more than 0")
        if abs(self.seed) >= 2**63:
            raise UsageError(f"--seed {self.seed}: take one with fewer digits")
