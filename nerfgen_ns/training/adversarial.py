"""Adversarial training of the networks on samples, late in training: a discriminator of patches.

Reconstruction trains the codes of the table, and leaves open what the codes between them show, which samples
are drawn from. Here a discriminator learns to tell patches of samples from patches of photographs, and the
networks learn to render patches that it takes for photographs. The method is that of Schwarz et al., "GRAF"
(NeurIPS 2020), and Chan et al., "pi-GAN" (CVPR 2021). Reconstruction continues beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from nerfgen_ns.datamanagers.data_manager import NerfgenDataManager
from nerfgen_ns.errors import check_options
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.model.model import NerfgenModel

PARAMETERS = "discriminator"
"""The name of the discriminator's group of parameters."""
REFRESH_STEPS = 500
"""Steps after which codes are drawn from the latent table as it is then."""
CODES = 1024
"""Codes that are drawn together."""
BEHIND = 0.5
"""The gray in the place of backgrounds."""


@dataclass
class AdversarialConfig(InstantiateConfig):
    """Adversarial training on samples, from --optimizers.discriminator.scheduler.start of the budget on."""

    _target: type = field(default_factory=lambda: AdversarialStage)
    """Target class to instantiate."""
    loss_mult: float = 0.0
    """Weight of the adversarial loss, a mean over patches; 0: there is no such training."""
    patches: int = 2
    """Patches of samples a step, and as many of photographs."""
    patch_size: int = 16
    """Rays along each side of a patch."""
    patch_stride: int = 4
    """Largest distance of neighboring rays of a patch, in pixels; each patch draws its own, from 1 on."""
    gradient_penalty_mult: float = 1.0
    """Weight of the discriminator's R1 penalty."""

    def check(self, option: str) -> None:
        """Raise a UsageError that names the option, which begins with `option`, of a number too small."""
        lowest = {"loss_mult": 0.0, "patches": 1, "patch_size": 4, "patch_stride": 1}
        check_options(self, option, {**lowest, "gradient_penalty_mult": 0.0})


class PatchDiscriminator(nn.Sequential):
    """A score for each patch: above 0 for those of photographs.

    A few convolutions whose scores are averaged over the patch, as in Isola et al., "Image-to-image
    translation with conditional adversarial networks" (CVPR 2017). One score sees 20 rays a side.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__(
            nn.Conv2d(3, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 3, padding=1),
        )

    def forward(self, patches: Float[Tensor, "patches 3 size size"]) -> Float[Tensor, " patches"]:
        """Score patches of colors in [0, 1]."""
        return super().forward(2.0 * patches - 1.0).mean(dim=(1, 2, 3))


class Scores(NamedTuple):
    """What the two sides of the game lose, and how patches are scored."""

    adversarial: Float[Tensor, ""]
    """The loss of the networks that rendered; its gradient does not reach the discriminator."""
    discriminator: Float[Tensor, ""]
    """The loss of the discriminator; its gradient does not reach what was rendered."""
    real: Float[Tensor, ""]
    """The mean score of photographs."""
    rendered: Float[Tensor, ""]
    """The mean score of renders."""


def play(
    discriminator: nn.Module,
    real: Float[Tensor, "patches 3 size size"],
    rendered: Float[Tensor, "patches 3 size size"],
    gradient_penalty_mult: float,
) -> Scores:
    """Compute the non-saturating losses of Goodfellow et al., "Generative adversarial nets" (NeurIPS 2014).

    The discriminator's has the R1 penalty of Mescheder et al., "Which training methods for GANs do actually
    converge?" (ICML 2018): half the squared gradient of its scores with respect to photographs.
    """
    held = {name: value.detach() for name, value in discriminator.named_parameters()}
    adversarial = F.softplus(-torch.func.functional_call(discriminator, held, (rendered,))).mean()
    real = real.detach().requires_grad_(gradient_penalty_mult > 0)
    of_real, of_rendered = discriminator(real), discriminator(rendered.detach())
    loss = F.softplus(-of_real).mean() + F.softplus(of_rendered).mean()
    if gradient_penalty_mult > 0:
        (gradient,) = torch.autograd.grad(of_real.sum(), real, create_graph=True)
        loss = loss + 0.5 * gradient_penalty_mult * gradient.square().sum(dim=(1, 2, 3)).mean()
    return Scores(adversarial, loss, of_real.detach().mean(), of_rendered.detach().mean())


class AdversarialStage(nn.Module):
    """Renders patches of samples, and compares them with photographs by a discriminator, which it owns.

    Samples are codes from the Gaussian of the latent table, without a gradient into the table, seen from the
    places of the photographs that they are compared with. They are rendered as renders of a finished run are.
    Where there are mattes, photographs and renders are shown before gray: the background field has no details
    that a photograph has, and its color does not train here.

    Args:
        config: the patches, and the weights of the losses.
    """

    def __init__(self, config: AdversarialConfig) -> None:
        super().__init__()
        self.config = config
        self.discriminator = PatchDiscriminator()
        self.is_learning = False
        self._codes: Tensor | None = None

    def follow(self, step: int, group: dict[str, Any]) -> None:
        """Learn in this step only if the group of the discriminator's optimizer does."""
        self.is_learning = group["lr"] > 0

    def losses(
        self, model: NerfgenModel, manager: NerfgenDataManager, step: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the losses of both sides, each with its weight, and metrics, for the patches of a step.

        The losses may be added to others: the gradient of each reaches its own side alone.
        """
        config = self.config
        rays, batch = manager.next_patches(config.patches, config.patch_size, config.patch_stride)
        if model.camera_optimizer is not None:
            with torch.no_grad():
                rays, _ = model.camera_optimizer.move_rays(rays)
        codes = self._draw_codes(model, step).repeat_interleave(config.patch_size**2, dim=0)
        model.eval()
        outputs = model.render(rays, codes)
        model.train()
        real, rendered = batch["image"], outputs["rgb"]
        if "matte" in batch:
            real = torch.lerp(torch.full_like(real, BEHIND), real, batch["matte"])
            rendered = outputs["foreground"] + BEHIND * (1.0 - outputs["accumulation"])
        with torch.autocast(real.device.type, enabled=False):
            scores = play(
                self.discriminator,
                self._patches(real),
                self._patches(rendered.float()),
                config.gradient_penalty_mult,
            )
        losses = {
            "adversarial_loss": config.loss_mult * scores.adversarial,
            "discriminator_loss": scores.discriminator,
        }
        return losses, {"score_of_photographs": scores.real, "score_of_samples": scores.rendered}

    def _patches(self, colors: Float[Tensor, "rays 3"]) -> Float[Tensor, "patches 3 size size"]:
        size = self.config.patch_size
        return colors.view(-1, size, size, 3).permute(0, 3, 1, 2)

    def _draw_codes(self, model: NerfgenModel, step: int) -> Float[Tensor, "patches latent"]:
        """Draw a code for each patch, of many that are found together: to find the Gaussian takes a while."""
        if self._codes is None or step % REFRESH_STEPS == 0:
            space = LatentSpace.of(model.latent_table.codes.weight)
            self._codes = space.sample(CODES, seed=step)
        drawn = torch.randint(CODES, (self.config.patches,), device=self._codes.device)
        return self._codes[drawn]
