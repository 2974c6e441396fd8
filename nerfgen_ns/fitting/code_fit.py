"""Latent codes of photographs, found by the losses that the class was trained with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfgen_ns.fitting.camera_corrections import CameraSpread
from nerfgen_ns.fitting.config import FitConfig
from nerfgen_ns.fitting.sampling import Views, ViewSampler
from nerfgen_ns.latent_space import LatentSpace
from nerfgen_ns.model import NerfgenModel
from nerfgen_ns.rigid_motions import move_rays

MOST_RAYS = 4096
"""Rays of a step: more objects are fitted in parts, one after another, so that memory stays bounded."""
WARMUP_STEPS = 10
FINAL_RATIO = 0.1
AVERAGED = 0.95
"""What a moving average keeps at each step: the end of the search, without its noise, is the result."""

Progress = Callable[[int, int], None]


class Fitted(NamedTuple):
    """What a fit found."""

    amounts: Float[Tensor, "objects directions"]
    """The codes, in standard deviations along the directions of the latent space."""
    motions: Float[Tensor, "views 3 4"]
    """What the cameras moved by; the identity where they stood still."""


def fit_codes(
    model: NerfgenModel,
    space: LatentSpace,
    views: Views,
    config: FitConfig,
    spread: CameraSpread | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Fit the code of every object, all together, from the table's mean, with the networks frozen.

    The codes are the most probable ones under the photographs and the Gaussian of the latent table. They are
    sought in its whitened coordinates, in which every direction is as long as it is probable: there one
    learning rate suits all directions, and the prior is the squared length.

    Args:
        model: a trained model. Its parameters stay as they are.
        space: the latent space of its table.
        views: the photographs.
        config: all but `one_object`, `search_cameras`, `tune_steps` and `downscale_factor` count here.
        spread: how far the cameras may be off; if None they stand still.
        progress: called with the number of steps done and their total.
    """
    torch.manual_seed(config.seed)
    parts = list(_parts(views, max(1, MOST_RAYS // config.rays)))
    device = model.device
    amounts = torch.zeros(views.count_objects, len(space.deviations), device=device)
    motions = torch.eye(3, 4, device=device).repeat(len(views), 1, 1)
    total = len(parts) * config.steps
    for number, chosen in enumerate(parts):
        part = views.select(chosen)

        def advance(step: int, before: int = number * config.steps) -> None:
            if progress is not None:
                progress(before + step, total)

        found = _fit_part(model, space, part, config, spread, advance)
        amounts[views.objects[chosen].unique().to(device)] = found.amounts
        motions[chosen.to(device)] = found.motions
    return Fitted(amounts, motions)


def codes_at(space: LatentSpace, amounts: Float[Tensor, "n directions"]) -> Float[Tensor, "n latent"]:
    """The codes at amounts of standard deviations along the directions of a latent space."""
    return space.mean + (amounts * space.deviations) @ space.directions


def photograph_loss(
    model: NerfgenModel, outputs: dict[str, Tensor], batch: dict[str, Tensor], config: FitConfig
) -> Float[Tensor, ""]:
    """The model's own losses, with the weights that the configuration gives to mattes and backgrounds."""
    mask_loss_mult = model.config.mask_loss_mult if config.mask_loss_mult is None else config.mask_loss_mult
    losses = model.weighted_losses(outputs, batch, mask_loss_mult, config.background_weight)
    return torch.stack(list(losses.values())).sum()


@contextmanager
def frozen(model: NerfgenModel) -> Iterator[None]:
    """The model as in training, with jittered samples, but without gradients for its parameters."""
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    was_training = model.training
    model.train()
    model.requires_grad_(False)
    try:
        yield
    finally:
        model.train(was_training)
        for parameter, value in wanted.items():
            parameter.requires_grad_(value)


def set_learning_rate(optimizer: torch.optim.Optimizer, initial: float, step: int, steps: int) -> None:
    """A short rise, then an exponential fall to `FINAL_RATIO`, as in training."""
    warmup = min((step + 1) / (WARMUP_STEPS + 1), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = initial * warmup * FINAL_RATIO ** (step / steps)


def _fit_part(
    model: NerfgenModel,
    space: LatentSpace,
    views: Views,
    config: FitConfig,
    spread: CameraSpread | None,
    advance: Callable[[int], None],
) -> Fitted:
    device = model.device
    sampler = ViewSampler(views, config.rays, device)
    objects = views.objects.to(device)
    amounts = torch.zeros(views.count_objects, len(space.deviations), device=device, requires_grad=True)
    moves = torch.zeros(len(views), 6, device=device, requires_grad=spread is not None)
    parameters = [amounts] if spread is None else [amounts, moves]
    optimizer = torch.optim.Adam(parameters, lr=config.learning_rate, betas=(0.9, 0.99), eps=1e-15)
    prior = config.prior_weight / amounts.shape[1] / len(views)
    averages = [torch.zeros_like(value, requires_grad=False) for value in (amounts, moves)]
    with frozen(model):
        for step in range(config.steps):
            set_learning_rate(optimizer, config.learning_rate, step, config.steps)
            ray_bundle, batch, view_of_ray = sampler()
            if spread is not None:
                ray_bundle = move_rays(ray_bundle, spread.rigid_motions(moves)[view_of_ray])
            noisy = amounts + config.code_noise * torch.randn_like(amounts)
            codes = codes_at(space, noisy)[objects][view_of_ray]
            outputs = model.render(ray_bundle, codes)
            loss = photograph_loss(model, outputs, batch, config)
            loss = loss + prior * (amounts.square().sum() + moves.square().sum())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            for average, value in zip(averages, (amounts, moves), strict=True):
                average.lerp_(value.detach(), 1.0 - AVERAGED)
            advance(step + 1)
    found, moved = (average / (1.0 - AVERAGED**config.steps) for average in averages)
    return Fitted(found, (spread or CameraSpread()).rigid_motions(moved))


def _parts(views: Views, most: int) -> Iterator[Int[Tensor, "chosen"]]:
    """The views in parts of about `most`, the views of an object all in the same one."""
    order = torch.argsort(views.objects, stable=True)
    sizes = torch.bincount(views.objects).tolist()
    first = count = 0
    for size in sizes:
        if count and count + size > most:
            yield order[first : first + count]
            first, count = first + count, 0
        count += size
    yield order[first : first + count]
