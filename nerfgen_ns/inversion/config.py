"""What an inversion is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from nerfgen_ns.errors import UsageError


@dataclass
class FitConfig:
    """How new photographs are fitted. One step looks at every photograph."""

    steps: int = 450
    """Steps of the latent codes."""
    rays: int = 32
    """Pixels that a step looks at in each photograph."""
    learning_rate: float = 0.12
    """Learning rate of Adam at the start, in standard deviations of the latent table; it falls to a tenth."""
    prior_weight: float = 1e-4
    """Weight of the prior: the squared Mahalanobis distance of a code to the table's mean, divided by the
    number of its directions, beside the mean losses of one photograph. More keeps objects closer to the
    usual, less lets them follow their photograph."""
    code_noise: float = 0.2
    """Standard deviation of the noise on the codes at every step, in those of the latent table: what is
    found is a code whose neighbors explain the photograph too, which is better from other sides."""
    mask_loss_mult: float | None = 0.1
    """Weight of the accumulation against the matte. Of a finished class it says little that the colors do
    not say, and what it takes of the code is lost to them. If None, as in training."""
    background_weight: float = 0.1
    """Weight of the colors outside the matte, where those inside have 1. What a photograph says of its
    background is lost to its object, for both share one code. Without mattes it has no part."""
    refine_cameras: bool = False
    """Correct the cameras with the codes, a little turn and shift for each photograph."""
    search_cameras: bool = False
    """Find the camera of photographs without landmarks by rendering the class from all its usual sides.
    Without it they are rejected, and of a class that has no landmarks at all every photograph is."""
    one_object: bool = False
    """All photographs show the same object and share one code. In a folder with cameras, `identity` says who
    is who."""
    tune_steps: int = 0
    """Steps of a last stage that also tunes a copy of the networks for these objects, 300 suit; with 0
    there is none. The copy is held to the original by its renders of other identities."""
    downscale_factor: int | None = None
    """How many times smaller than stored the photographs are looked at; if None, as in training."""
    seed: int = 0
    """Which pixels are drawn."""

    def check(self) -> None:
        """Raise a UsageError for values that make no sense."""
        for name, least in (
            ("steps", 1),
            ("rays", 1),
            ("tune_steps", 0),
            ("prior_weight", 0),
            ("background_weight", 0),
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
