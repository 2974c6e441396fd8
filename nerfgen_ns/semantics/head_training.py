"""Train a head on what a frozen class model shows along rays: what label and feature heads share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor, nn

from nerfgen_ns.datamanagers.ray_generator import PixelRays
from nerfgen_ns.fields.heads import HeadConfig
from nerfgen_ns.inversion.latent_fit import seeded
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.rendering.volume_rendering import SeenSamples
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.config import HeadTrainingConfig

Progress = Callable[[int, int], None]


def samples_of_pixels(
    model: NerfgenModel,
    cameras: Cameras,
    pixels: Mapping[int, Int[Tensor, "own 2"]],
    progress: Progress | None = None,
) -> SeenSamples:
    """Ask a class model once what it shows in pixels of photographs.

    Args:
        model: a trained model in evaluation mode; it stays as it is.
        cameras: those of its photographs, numbered (`number_photographs`).
        pixels: (row, column) of the pixels, by the number of their photograph.
        progress: called with the number of photographs done and their total.

    Returns:
        The samples of all pixels, in their order, with hidden features in half precision.
    """
    assert cameras.metadata is not None
    device = torch.device(model.device)
    pixel_rays = PixelRays(cameras.to(device))
    samples: list[SeenSamples] = []
    first, size = 0, model.config.eval_num_rays_per_chunk
    for done, (photograph, own) in enumerate(pixels.items(), start=1):
        places = own.to(device)
        image = torch.full((len(places), 1), photograph, device=device)
        rays = pixel_rays(torch.cat([image, places], dim=-1))
        if model.camera_optimizer is not None:
            rays, _ = model.camera_optimizer.move_rays(rays)
        code = model.latent_table(cameras.metadata["cam_idx"][photograph].long().to(device))
        for start in range(0, len(places), size):
            seen = model.seen_samples(rays[start : start + size], code)
            # Half as much memory; the head learns the same from three digits.
            features = seen.features.half()
            samples.append(seen._replace(rays=seen.rays + first + start, features=features))
        first += len(places)
        if progress is not None:
            progress(done, len(pixels))
    return SeenSamples(*map(torch.cat, zip(*samples, strict=True)))


def batch_of_samples(samples: SeenSamples, first: int, last: int) -> SeenSamples:
    """Return the samples of the rays from `first` to before `last`, which are numbered from 0 then."""
    begin, end = torch.searchsorted(samples.rays, torch.tensor([first, last]).to(samples.rays))
    own = SeenSamples(*(part[begin:end] for part in samples))
    return own._replace(rays=own.rays - first)


def reordered(samples: SeenSamples, order: Int[Tensor, " rays"], total: int) -> SeenSamples:
    """Return the samples of some of `total` rays, in another order of the rays."""
    place = torch.full((total,), -1, device=samples.rays.device)
    place[order] = torch.arange(len(order), device=place.device)
    rays = place[samples.rays]
    by_ray = torch.argsort(rays, stable=True)
    chosen = by_ray[rays[by_ray] >= 0]
    return SeenSamples(*(part[chosen] for part in samples._replace(rays=rays)))


def fit_head(
    head: nn.Module,
    samples: SeenSamples,
    count: int,
    loss: Callable[[Float[Tensor, "rays values"], int, float], Float[Tensor, ""]],
    config: HeadTrainingConfig,
    progress: Progress | None = None,
) -> None:
    """Train a head on samples of rays that are in random order.

    Args:
        head: trained in place; gives values of samples from their hidden features and positions.
        samples: of all rays.
        count: the number of rays.
        loss: takes the composited values of the rays of a batch, the number of the batch's first ray, and the
            share of the steps that are done.
        config: the options.
        progress: called with the number of steps done and their total.
    """
    size = min(config.rays, count)
    with seeded(config.seed, samples.rays.device):
        optimizer = torch.optim.AdamW(
            head.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
        head.train()
        for step in range(config.steps):
            done = step / config.steps
            for group in optimizer.param_groups:
                # A short rise, then a fall to zero.
                group["lr"] = config.learning_rate * min(1.0, 20.0 * done + 0.1) * (1.0 - done)
            first = int(torch.randint(count - size + 1, ()))
            batch = batch_of_samples(samples, first, first + size)
            features = F.dropout(batch.features.float(), config.dropout)
            values = batch.composite(head(features, batch.positions), size)
            optimizer.zero_grad()
            loss(values, first, done).backward()
            optimizer.step()
            if progress is not None:
                progress(step + 1, config.steps)
        head.eval()


def made_head(run: Run, config: HeadConfig, seed: int) -> Any:
    """Return a new head on the hidden features of a run."""
    with seeded(seed, run.model.device):
        return config.setup(features=run.model.config.foreground.hidden_dim).to(run.model.device)


def with_head(run: Run, name: str, config: HeadConfig, head: nn.Module) -> Run:
    """Return a run with a head, under the name that the model has for it; the given run stays as it is."""
    model = copy.deepcopy(run.model)
    model.config = replace(model.config, **{name: config})  # type: ignore[arg-type]
    setattr(model, name, head.requires_grad_(False))
    return replace(run, model=model)
