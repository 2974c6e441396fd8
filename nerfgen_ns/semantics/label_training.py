"""Train a label head on what a frozen class model shows along labeled rays."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.datamanagers.ray_generator import PixelRays
from nerfgen_ns.dataset_format.label_maps import UNLABELED, LabelMap, Legend
from nerfgen_ns.errors import UsageError
from nerfgen_ns.fields.heads import LabelHead, LabelHeadConfig
from nerfgen_ns.inversion.latent_fit import seeded
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.rendering.volume_rendering import SeenSamples
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.config import LabelConfig

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LabeledRays:
    """Labeled pixels, and the samples of the class model that show in them."""

    labels: Int[Tensor, " rays"]
    """The label of each."""
    importance: Float[Tensor, " rays"]
    """How many pixels each stands for."""
    samples: SeenSamples
    """The samples of all rays, in their order."""

    def batch(self, first: int, last: int) -> LabeledRays:
        """Return the rays from `first` to before `last`."""
        begin, end = torch.searchsorted(self.samples.rays, torch.tensor([first, last]).to(self.labels))
        own = SeenSamples(*(part[begin:end] for part in self.samples))
        return LabeledRays(
            self.labels[first:last], self.importance[first:last], own._replace(rays=own.rays - first)
        )


def labeled_rays(
    model: NerfgenModel,
    cameras: Cameras,
    label_maps: Mapping[int, LabelMap],
    config: LabelConfig,
    progress: Progress | None = None,
) -> LabeledRays:
    """Ask a class model once what it shows along labeled rays.

    Args:
        model: a trained model in evaluation mode; it stays as it is.
        cameras: those of its photographs, numbered (`number_photographs`), at the size of the label maps.
        label_maps: by the number of their photograph.
        config: `most_rays` and `seed` are used.
        progress: called with the number of label maps done and their total.
    """
    assert cameras.metadata is not None
    generator = np.random.default_rng(config.seed)
    device = torch.device(model.device)
    pixel_rays = PixelRays(cameras.to(device))
    share = max(1, config.most_rays // len(label_maps))
    labels: list[Tensor] = []
    importance: list[Tensor] = []
    samples: list[SeenSamples] = []
    first = 0
    for done, (photograph, label_map) in enumerate(label_maps.items(), start=1):
        places, weights = choose_pixels(label_map, share, generator)
        pixels = torch.from_numpy(places).to(device)
        image = torch.full((len(pixels), 1), photograph, device=device)
        rays = pixel_rays(torch.cat([image, pixels], dim=-1))
        if model.camera_optimizer is not None:
            rays, _ = model.camera_optimizer.move_rays(rays)
        code = model.latent_table(cameras.metadata["cam_idx"][photograph].long().to(device))
        size = model.config.eval_num_rays_per_chunk
        for start in range(0, len(pixels), size):
            seen = model.seen_samples(rays[start : start + size], code)
            # Half as much memory; the head learns the same from three digits.
            features = seen.features.half()
            samples.append(seen._replace(rays=seen.rays + first + start, features=features))
        labels.append(torch.from_numpy(label_map[places[:, 0], places[:, 1]].astype(np.int64)).to(device))
        importance.append(torch.from_numpy(weights).to(device))
        first += len(pixels)
        if progress is not None:
            progress(done, len(label_maps))
    joined = SeenSamples(*map(torch.cat, zip(*samples, strict=True)))
    return _shuffled(LabeledRays(torch.cat(labels), torch.cat(importance), joined), config.seed)


def choose_pixels(
    label_map: LabelMap, most: int, generator: np.random.Generator
) -> tuple[Int[np.ndarray, "pixels 2"], Float[np.ndarray, " pixels"]]:
    """Choose labeled pixels, (row, column), and how many pixels of its label each stands for.

    Rare labels are taken whole, and the others share what is left of `most`.
    """
    numbers, counts = np.unique(label_map[label_map != UNLABELED], return_counts=True)
    places: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    left = most
    for nth, kind in enumerate(np.argsort(counts)):
        taken = min(int(counts[kind]), max(1, left // (len(numbers) - nth)))
        own = np.argwhere(label_map == numbers[kind])
        places.append(own[generator.permutation(len(own))[:taken]])
        weights.append(np.full(taken, counts[kind] / taken, dtype=np.float32))
        left -= taken
    return np.concatenate(places), np.concatenate(weights)


def _shuffled(rays: LabeledRays, seed: int) -> LabeledRays:
    """Return the rays in random order, so that neighbors make a batch."""
    count, device = len(rays.labels), rays.labels.device
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).to(device)
    place = torch.empty_like(order)
    place[order] = torch.arange(count, device=device)
    samples = rays.samples._replace(rays=place[rays.samples.rays])
    by_ray = torch.argsort(samples.rays, stable=True)
    sorted_samples = SeenSamples(*(part[by_ray] for part in samples))
    return LabeledRays(rays.labels[order], rays.importance[order], sorted_samples)


def train_head(
    head: LabelHead, rays: LabeledRays, config: LabelConfig, progress: Progress | None = None
) -> None:
    """Train a label head on what the class model shows along labeled rays.

    The loss is a class-balanced cross-entropy and a soft intersection over union, as in Rahman and Wang,
    "Optimizing Intersection-over-Union in Deep Neural Networks" (ISVC 2016).

    Args:
        head: trained in place.
        rays: see `labeled_rays`.
        config: the options.
        progress: called with the number of steps done and their total.
    """
    with seeded(config.seed, rays.labels.device):
        count, labels = len(rays.labels), len(head.names)
        size = min(config.rays, count)
        pixels = torch.zeros(labels, device=rays.labels.device).index_add(0, rays.labels, rays.importance)
        shares = pixels / pixels.sum()
        start, end = config.balance
        optimizer = torch.optim.AdamW(
            head.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
        head.train()
        for step in range(config.steps):
            done = step / config.steps
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _rate(done)
            balance = shares.clamp(min=1e-9) ** -(start + done * (end - start))
            first = int(torch.randint(count - size + 1, ()))
            batch = rays.batch(first, first + size)
            features = F.dropout(batch.samples.features.float(), config.dropout)
            of_samples = head(features, batch.samples.positions)
            values = batch.samples.composite(of_samples, size)
            loss = label_loss(head.with_background(values), batch, balance, config.overlap_loss_mult)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if progress is not None:
                progress(step + 1, config.steps)
        head.eval()


def label_loss(
    probabilities: Float[Tensor, "rays labels"],
    batch: LabeledRays,
    balance: Float[Tensor, " labels"],
    overlap_loss_mult: float,
) -> Float[Tensor, ""]:
    """Compute the loss of composited probabilities; `balance` is the weight of each label."""
    weights = batch.importance * balance[batch.labels]
    surprise = -probabilities.gather(1, batch.labels[:, None])[:, 0].clamp(min=1e-4).log()
    loss = (weights * surprise).sum() / weights.sum()
    if overlap_loss_mult > 0:
        truth = F.one_hot(batch.labels, probabilities.shape[1]).to(probabilities)
        own = batch.importance[:, None]
        both = (own * truth * probabilities).sum(dim=0)
        either = (own * (truth + probabilities - truth * probabilities)).sum(dim=0)
        there = truth.sum(dim=0) > 0
        loss = loss + overlap_loss_mult * (1.0 - (both[there] / either[there]).mean())
    return loss


def _rate(share: float) -> float:
    """Return the learning rate after a share of the steps: a short rise, then a fall to zero."""
    return min(1.0, 20.0 * share + 0.1) * (1.0 - share)


def with_labels(
    run: Run,
    label_maps: Mapping[int, LabelMap],
    legend: Legend,
    config: LabelConfig | None = None,
    progress: Progress | None = None,
) -> Run:
    """Return a run that also tells labels. Its geometry and colors are those of the given one, to the bit.

    Args:
        run: a trained run; it stays as it is.
        label_maps: label maps of photographs, at the size of their files, by the photograph's place in the
            run's data.
        legend: what their numbers mean.
        config: the options.
        progress: called with the number of label maps and of steps done, and their total.

    Raises:
        UsageError: an option makes no sense, or a region of the run's objects is edited.
    """
    config = config or LabelConfig()
    config.check()
    if run.model.config.region is not None:
        raise UsageError("parts of the run's objects are edited; label the run that it was made of")
    total = len(label_maps) + config.steps

    def advance(before: int) -> Progress | None:
        return None if progress is None else lambda done, _: progress(before + done, total)

    rays = labeled_rays(run.model, run.cameras, label_maps, config, advance(0))
    head_config = LabelHeadConfig(
        names=legend.names,
        colors=legend.colors,
        hidden_dim=config.hidden_dim,
        num_layers=config.num_layers,
    )
    with seeded(config.seed, run.model.device):
        head: LabelHead = head_config.setup(features=run.model.config.foreground.hidden_dim)
    head.to(run.model.device)
    train_head(head, rays, config, advance(len(label_maps)))
    model = copy.deepcopy(run.model)
    model.config = replace(model.config, label_head=head_config)
    model.label_head = head.requires_grad_(False)
    return replace(run, model=model)
