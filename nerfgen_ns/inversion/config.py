"""The options of an inversion."""

from __future__ import annotations

from dataclasses import dataclass

from nerfgen_ns.errors import UsageError


@dataclass
class FitConfig:
    """How new photographs are fitted. Each step uses every photograph."""

    steps: int = 450
    """Optimization steps of the latent codes."""
    rays: int = 32
    """Pixels of each photograph in one step."""
    learning_rate: float = 0.12
    """Learning rate of Adam at the start, in standard deviations of the latent table; it falls to a tenth."""
    prior_weight: float = 1e-4
    """Weight of the prior: the squared Mahalanobis distance of a code to the table's mean, divided by the
    number of its directions, beside the mean losses of one photograph. A larger weight keeps objects
    closer to the mean, a smaller one lets them follow their photograph."""
    code_noise: float = 0.2
    """Standard deviation of the noise on the codes at every step, in standard deviations of the latent
    table. It leads to a code whose neighbors explain the photograph too; such a code is better from other
    sides."""
    mask_loss_mult: float | None = 0.1
    """Weight of the accumulation against the matte. In a trained class the matte adds little to the
    colors, and it uses up a part of the code. If None, as in training."""
    background_weight: float = 0.1
    """Weight of the colors outside the matte; those inside have weight 1. Object and background share one
    code: what describes the background is lost to the object. Without mattes it has no effect."""
    label_loss_mult: float = 0.02
    """Weight of the labels' cross-entropy, where label maps are fitted. Rare labels count more: the weight of
    one is the inverse root of its share."""
    refine_cameras: bool = False
    """Correct the cameras together with the codes: a small rotation and translation for each photograph."""
    search_cameras: bool = False
    """Find the camera of photographs without landmarks by rendering the class from all its usual sides.
    Without it they are rejected; in a class without landmarks, that is every photograph."""
    one_object: bool = False
    """All photographs show the same object and share one code. Otherwise, in a folder with cameras, the
    field `identity` says which object each photograph shows."""
    tune_steps: int = 0
    """Steps of a last stage that also tunes a copy of the networks for these objects; 300 is a good
    number, 0 skips the stage. The copy is kept close to the original on renders of other identities."""
    downscale_factor: int | None = None
    """How many times smaller than stored the photographs are used; if None, as in training."""
    seed: int = 0
    """Seed of everything that is drawn at random."""

    def check(self) -> None:
        """Raise a UsageError for values that make no sense."""
        for name, least in (
            ("steps", 1),
            ("rays", 1),
            ("tune_steps", 0),
            ("prior_weight", 0),
            ("background_weight", 0),
            ("label_loss_mult", 0),
            ("code_noise", 0),
        ):
            value = getattr(self, name)
            if not least <= value < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} {value}: take at least {least}")
        for name in ("learning_rate", "downscale_factor"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} {value}: take more than 0")
        if abs(self.seed) >= 2**63:
            raise UsageError(f"--seed {self.seed}: take one with fewer digits")
        if self.mask_loss_mult is not None and not 0 <= self.mask_loss_mult < float("inf"):
            raise UsageError(f"--mask-loss-mult {self.mask_loss_mult}: take at least 0")
