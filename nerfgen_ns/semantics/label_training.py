"""Train a label head on what a frozen class model shows along labeled rays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.dataset_format.label_maps import UNLABELED, LabelMap, Legend
from nerfgen_ns.errors import UsageError
from nerfgen_ns.fields.heads import LabelHead, LabelHeadConfig
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.rendering.volume_rendering import SeenSamples
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.config import LabelConfig
from nerfgen_ns.semantics.head_training import (
    Progress,
    fit_head,
    made_head,
    reordered,
    samples_of_pixels,
    with_head,
)


@dataclass(frozen=True)
class LabeledRays:
    """Labeled pixels, and the samples of the class model that show in them."""

    labels: Int[Tensor, " rays"]
    """The label of each."""
    importance: Float[Tensor, " rays"]
    """How many pixels each stands for."""
    samples: SeenSamples
    """The samples of all rays, in their order."""


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
    generator = np.random.default_rng(config.seed)
    device = torch.device(model.device)
    share = max(1, config.most_rays // len(label_maps))
    labels: list[Tensor] = []
    importance: list[Tensor] = []
    pixels: dict[int, Tensor] = {}
    for photograph, label_map in label_maps.items():
        places, weights = choose_pixels(label_map, share, generator)
        pixels[photograph] = torch.from_numpy(places)
        labels.append(torch.from_numpy(label_map[places[:, 0], places[:, 1]].astype(np.int64)).to(device))
        importance.append(torch.from_numpy(weights).to(device))
    samples = samples_of_pixels(model, cameras, pixels, progress)
    return _shuffled(LabeledRays(torch.cat(labels), torch.cat(importance), samples), config.seed)


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
    return LabeledRays(rays.labels[order], rays.importance[order], reordered(rays.samples, order, count))


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
    count, labels = len(rays.labels), len(head.names)
    pixels = torch.zeros(labels, device=rays.labels.device).index_add(0, rays.labels, rays.importance)
    shares = pixels / pixels.sum()
    start, end = config.balance

    def loss(values: Tensor, first: int, done: float) -> Tensor:
        balance = shares.clamp(min=1e-9) ** -(start + done * (end - start))
        own = slice(first, first + len(values))
        return label_loss(
            head.with_background(values),
            rays.labels[own],
            rays.importance[own],
            balance,
            config.overlap_loss_mult,
        )

    fit_head(head, rays.samples, count, loss, config, progress)


def label_loss(
    probabilities: Float[Tensor, "rays labels"],
    labels: Int[Tensor, " rays"],
    importance: Float[Tensor, " rays"],
    balance: Float[Tensor, " labels"],
    overlap_loss_mult: float,
) -> Float[Tensor, ""]:
    """Compute the loss of composited probabilities.

    Args:
        probabilities: of the rays' labels.
        labels: the true ones.
        importance: how many pixels each ray stands for.
        balance: the weight of each label.
        overlap_loss_mult: the weight of the soft intersection over union.
    """
    weights = importance * balance[labels]
    surprise = -probabilities.gather(1, labels[:, None])[:, 0].clamp(min=1e-4).log()
    loss = (weights * surprise).sum() / weights.sum()
    if overlap_loss_mult > 0:
        truth = F.one_hot(labels, probabilities.shape[1]).to(probabilities)
        own = importance[:, None]
        both = (own * truth * probabilities).sum(dim=0)
        either = (own * (truth + probabilities - truth * probabilities)).sum(dim=0)
        there = truth.sum(dim=0) > 0
        loss = loss + overlap_loss_mult * (1.0 - (both[there] / either[there]).mean())
    return loss


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
    head: LabelHead = made_head(run, head_config, config.seed)
    train_head(head, rays, config, advance(len(label_maps)))
    return with_head(run, "label_head", head_config, head)
