"""A copy of the networks, tuned for a few objects and held to the original by its renders of others."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nerfgen_ns.fitting.code_fit import (
    Progress,
    frozen,
    photograph_loss,
    set_learning_rate,
)
from nerfgen_ns.fitting.config import FitConfig
from nerfgen_ns.fitting.sampling import Views, ViewSampler
from nerfgen_ns.model import NerfgenModel

LEARNING_RATE = 1e-3
MOST_RAYS = 2048
"""Rays of a step: of many photographs each step takes some."""
HELD_WEIGHT = 1.0
"""Weight of the squared difference to the original's renders of other identities."""
TUNED = ("foreground_field.", "background_field.")


def tune(
    model: NerfgenModel,
    views: Views,
    codes: Float[Tensor, "objects latent"],
    config: FitConfig,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Tune a copy of the networks to the photographs, their codes held: Roich et al., "Pivotal tuning", 2021.

    Each step renders as many rays of the photographs with codes of random rows of the table, by the copy and
    by the original; their squared difference keeps the class what it was.

    Args:
        model: a trained model, which stays as it is.
        views: the photographs with their final cameras.
        codes: what was fitted.
        config: `tune_steps`, `rays`, the weights of the losses and `seed` count here.
        progress: called with the number of steps done and their total.

    Returns:
        The tuned tensors, by their name in the model's `state_dict`.
    """
    torch.manual_seed(config.seed)
    tuned = copy.deepcopy(model)
    tuned.train()
    parameters = [value for name, value in tuned.named_parameters() if name.startswith(TUNED)]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, betas=(0.9, 0.99), eps=1e-15)
    some = min(len(views), max(1, MOST_RAYS // config.rays))
    own_codes = codes[views.objects.to(codes.device)]
    table = model.latent_table.codes.weight.detach()
    for step in range(config.tune_steps):
        set_learning_rate(optimizer, LEARNING_RATE, step, config.tune_steps)
        chosen = torch.randperm(len(views))[:some]
        ray_bundle, batch, view_of_ray = ViewSampler(views.select(chosen), config.rays, model.device)()
        outputs = tuned.render(ray_bundle, own_codes[chosen.to(codes.device)][view_of_ray])
        loss = photograph_loss(tuned, outputs, batch, config)
        others = table[torch.randint(len(table), (some,), device=table.device)][view_of_ray]
        loss = loss + HELD_WEIGHT * _difference(tuned, model, ray_bundle, others)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if progress is not None:
            progress(step + 1, config.tune_steps)
    return {name: value for name, value in tuned.state_dict().items() if name.startswith(TUNED)}


def _difference(
    tuned: NerfgenModel, original: NerfgenModel, ray_bundle: RayBundle, codes: Float[Tensor, "rays latent"]
) -> Float[Tensor, ""]:
    """Mean squared difference of two models' colours and accumulations."""
    devices = [original.device] if original.device.type == "cuda" else []
    # The same samples on the rays, so what differs is the networks: the state is put back on every device.
    with torch.random.fork_rng(devices), frozen(original), torch.no_grad():
        expected = original.render(ray_bundle, codes)
    outputs = tuned.render(ray_bundle, codes)
    return F.mse_loss(outputs["rgb"], expected["rgb"]) + F.mse_loss(
        outputs["accumulation"], expected["accumulation"]
    )
