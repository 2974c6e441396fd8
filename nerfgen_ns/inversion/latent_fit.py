"""Fit latent codes to photographs with the losses that the class was trained with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nerfgen_ns.cameras.se3 import motion_matrices, move_rays
from nerfgen_ns.datamanagers.pixel_sampler import ImagewisePixelSampler, ImagewisePixelSamplerConfig
from nerfgen_ns.datamanagers.pixel_store import PixelStore
from nerfgen_ns.datamanagers.ray_generator import PixelRays
from nerfgen_ns.dataset_format.label_maps import UNLABELED
from nerfgen_ns.inversion.config import FitConfig
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.training.optimizers import decay_factor


@dataclass(frozen=True)
class PoseStd:
    """How far cameras are expected to be off: standard deviations around the class frame's axes."""

    rotvec: float = 0.05
    """Of the rotation around each axis through the origin, radians."""
    translation: float = 0.03
    """Of the translation along each axis, units of the class frame."""

    def motion_matrices(self, whitened: Float[Tensor, "n 6"]) -> Float[Tensor, "n 3 4"]:
        """Return motions of the world from pose deltas in units of these standard deviations."""
        std = whitened.new_tensor(3 * [self.rotvec] + 3 * [self.translation])
        return motion_matrices(std * whitened)


BACKGROUND_REDRAW = 1.0
"""Share of the pixels outside the matte that are drawn again: fewer of the rays then miss the object."""


@dataclass(frozen=True)
class Views:
    """What is fitted: photographs, each seen with a camera, each of an object.

    A photograph may occur several times, with different cameras or as different objects.
    """

    store: PixelStore
    """The photographs' pixels."""
    photographs: Int[Tensor, " views"]
    """The photograph of each view."""
    cameras: Cameras
    """The camera of each view."""
    objects: Int[Tensor, " views"]
    """The object of each view, numbered from 0 without gaps."""
    labels: Int[Tensor, " pixels"] | None = None
    """The label of each pixel of all photographs, in the order of the store, 255 where it is not known; None
    where no photograph has labels."""
    has_colors: bool = True
    """Whether the photographs show the objects' colors; otherwise labels alone are fitted."""

    def __len__(self) -> int:
        return len(self.photographs)

    @property
    def count_objects(self) -> int:
        """How many objects there are."""
        return int(self.objects.max()) + 1

    def select(self, chosen: Int[Tensor, " chosen"]) -> Views:
        """Return only the chosen views; their objects are renumbered, in their order."""
        _, objects = self.objects[chosen].unique(return_inverse=True)
        return replace(
            self, photographs=self.photographs[chosen], cameras=self.cameras[chosen], objects=objects
        )


class ViewSampler:
    """Draws the same number of pixels from every view.

    Args:
        views: what is fitted.
        rays: pixels of each view.
        device: where rays and pixels go.
    """

    def __init__(self, views: Views, rays: int, device: torch.device) -> None:
        config = ImagewisePixelSamplerConfig(
            pixels_per_image=rays,
            num_rays_per_batch=rays * len(views),
            background_redraw_fraction=BACKGROUND_REDRAW,
        )
        self._store = copy.copy(views.store)
        self._store.images = views.photographs
        self._sampler = EveryPhotographSampler(config)
        self._rays = PixelRays(views.cameras.to(device))
        self._view_of_ray = torch.arange(len(views)).repeat_interleave(rays)
        self._labels = views.labels

    def __call__(self) -> tuple[RayBundle, dict[str, Tensor], Int[Tensor, " rays"]]:
        """Draw rays; return them, their pixels, and the view of each ray."""
        batch = self._sampler.sample(self._store)
        indices = torch.cat([self._view_of_ray[:, None], batch["indices"][:, 1:]], dim=-1)
        ray_bundle = self._rays(indices)
        if self._labels is not None:
            image, row, column = batch["indices"].unbind(-1)
            store = self._store
            batch["label"] = self._labels[store.offsets[image] + row * store.widths[image] + column]
        device = ray_bundle.origins.device
        return (
            ray_bundle,
            {name: value.to(device) for name, value in batch.items()},
            self._view_of_ray.to(device),
        )


class EveryPhotographSampler(ImagewisePixelSampler):
    """Takes its pixels from every photograph of the store each time, in their order."""

    def sample_indices(self, store: PixelStore) -> Int[Tensor, "rays 3"]:
        """Draw (image, row, column) for `pixels_per_image` rays of each image, one image after another."""
        image = store.images.repeat_interleave(self.config.pixels_per_image)
        return torch.cat([image[:, None], store.draw(image, self.generator)], dim=-1)


MOST_RAYS = 4096
"""Most rays of a step: more objects are fitted in parts, one after another, so that memory stays bounded."""
WARMUP_STEPS = 10
FINAL_RATIO = 0.1
AVERAGED = 0.95
"""Share of a moving average that is kept at each step. The average is the result: it has less noise."""
Progress = Callable[[int, int], None]


class Fitted(NamedTuple):
    """The result of a fit."""

    amounts: Float[Tensor, "objects directions"]
    """The codes, in standard deviations along the directions of the latent space."""
    motions: Float[Tensor, "views 3 4"]
    """How the cameras moved; the identity where they did not move."""


def fit_codes(
    model: NerfgenModel,
    space: LatentSpace,
    views: Views,
    config: FitConfig,
    pose_std: PoseStd | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Fit the code of every object, all together, from the table's mean, with the networks frozen.

    The codes are the most probable ones under the photographs and the Gaussian of the latent table. They are
    optimized in its whitened coordinates, in which every direction has the standard deviation 1. There one
    learning rate suits all directions, and the prior is the squared length.

    Args:
        model: a trained model. Its parameters stay as they are.
        space: the latent space of its table.
        views: the photographs.
        config: all but `one_object`, `search_cameras`, `tune_steps` and `downscale_factor` are used.
        pose_std: how far the cameras may be off; if None they stay fixed.
        progress: called with the number of steps done and their total.
    """
    with seeded(config.seed, model.device):
        return _fit_parts(model, space, views, config, pose_std, progress)


def _fit_parts(
    model: NerfgenModel,
    space: LatentSpace,
    views: Views,
    config: FitConfig,
    pose_std: PoseStd | None,
    progress: Progress | None,
) -> Fitted:
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

        found = _fit_part(model, space, part, config, pose_std, advance)
        amounts[views.objects[chosen].unique().to(device)] = found.amounts
        motions[chosen.to(device)] = found.motions
    return Fitted(amounts, motions)


def codes_at(space: LatentSpace, amounts: Float[Tensor, "n directions"]) -> Float[Tensor, "n latent"]:
    """Return the codes at amounts of standard deviations along the directions of a latent space."""
    return space.mean + (amounts * space.deviations) @ space.directions


def label_surprise(outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Float[Tensor, " rays"]:
    """Return −log P(label) of each ray, rare labels weighed more; 0 where its label is not known."""
    known = batch["label"] != UNLABELED
    probabilities = outputs["label_probabilities"]
    labels = torch.where(known, batch["label"], 0)
    surprise = -probabilities.gather(1, labels[:, None])[:, 0].clamp(min=1e-4).log()
    counts = torch.bincount(labels[known], minlength=probabilities.shape[1])
    weights = torch.where(known, counts.clamp(min=1)[labels].to(surprise) ** -0.5, 0.0)
    return surprise * weights * (known.sum() / weights.sum().clamp(min=1e-9))


def photograph_loss(
    model: NerfgenModel,
    outputs: dict[str, Tensor],
    batch: dict[str, Tensor],
    config: FitConfig,
    has_colors: bool = True,
) -> Float[Tensor, ""]:
    """Compute the model's own losses, with the configuration's weights for mattes and backgrounds.

    The loss of labels is added where there are any; without colors it is alone.
    """
    of_labels = outputs["rgb"].new_zeros(())
    if "label" in batch:
        of_labels = config.label_loss_mult * label_surprise(outputs, batch).mean()
    if not has_colors:
        return of_labels
    weights = replace(model.config.losses, background_weight=config.background_weight)
    if config.mask_loss_mult is not None:
        weights = replace(weights, mask_loss_mult=config.mask_loss_mult)
    return torch.stack([*model.weighted_losses(outputs, batch, weights).values(), of_labels]).sum()


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Run the block with random numbers of its own, and restore those of the process."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def frozen(model: NerfgenModel) -> Iterator[None]:
    """Run the block with the model as in training, with jittered samples, but with its parameters frozen."""
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
    """Set the learning rate of a step: a short rise, then an exponential fall to `FINAL_RATIO`.

    Training uses the same schedule.
    """
    factor = decay_factor(step, step / steps, WARMUP_STEPS, FINAL_RATIO)
    for group in optimizer.param_groups:
        group["lr"] = initial * factor


def _fit_part(
    model: NerfgenModel,
    space: LatentSpace,
    views: Views,
    config: FitConfig,
    pose_std: PoseStd | None,
    advance: Callable[[int], None],
) -> Fitted:
    device = model.device
    sampler = ViewSampler(views, config.rays, device)
    objects = views.objects.to(device)
    amounts = torch.zeros(views.count_objects, len(space.deviations), device=device, requires_grad=True)
    # In units of `pose_std`, as the codes are in those of the table.
    pose_delta = torch.zeros(len(views), 6, device=device, requires_grad=pose_std is not None)
    parameters = [amounts] if pose_std is None else [amounts, pose_delta]
    optimizer = torch.optim.Adam(parameters, lr=config.learning_rate, betas=(0.9, 0.99), eps=1e-15)
    prior = config.prior_weight / amounts.shape[1] / len(views)
    averages = [torch.zeros_like(value, requires_grad=False) for value in (amounts, pose_delta)]
    with frozen(model):
        for step in range(config.steps):
            set_learning_rate(optimizer, config.learning_rate, step, config.steps)
            ray_bundle, batch, view_of_ray = sampler()
            if pose_std is not None:
                ray_bundle = move_rays(ray_bundle, pose_std.motion_matrices(pose_delta)[view_of_ray])
            noisy = amounts + config.code_noise * torch.randn_like(amounts)
            codes = codes_at(space, noisy)[objects][view_of_ray]
            outputs = model.render(ray_bundle, codes, probabilities=views.labels is not None)
            loss = photograph_loss(model, outputs, batch, config, views.has_colors)
            loss = loss + prior * (amounts.square().sum() + pose_delta.square().sum())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            for average, value in zip(averages, (amounts, pose_delta), strict=True):
                average.lerp_(value.detach(), 1.0 - AVERAGED)
            advance(step + 1)
    found, moved = (average / (1.0 - AVERAGED**config.steps) for average in averages)
    return Fitted(found, (pose_std or PoseStd()).motion_matrices(moved))


def _parts(views: Views, most: int) -> Iterator[Int[Tensor, " chosen"]]:
    """Yield the views in parts of about `most`; all views of an object are in the same part."""
    order = torch.argsort(views.objects, stable=True)
    sizes = torch.bincount(views.objects).tolist()
    first = count = 0
    for size in sizes:
        if count and count + size > most:
            yield order[first : first + count]
            first, count = first + count, 0
        count += size
    yield order[first : first + count]


LEARNING_RATE = 1e-3
MOST_HELD_RAYS = 2048
"""Most rays of a step: with many photographs each step uses some of them."""
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
    """Tune a copy of the networks to the photographs with fixed codes: Roich et al., "Pivotal tuning", 2021.

    Each step also renders the same rays with codes of random rows of the table, by the copy and by the
    original. Their squared difference is a loss that keeps the class as it was.

    Args:
        model: a trained model, which stays as it is.
        views: the photographs with their final cameras.
        codes: what was fitted.
        config: `tune_steps`, `rays`, the weights of the losses and `seed` are used.
        progress: called with the number of steps done and their total.

    Returns:
        The tuned tensors, by their name in the model's `state_dict`.
    """
    with seeded(config.seed, model.device):
        return _tune(model, views, codes, config, progress)


def _tune(
    model: NerfgenModel,
    views: Views,
    codes: Float[Tensor, "objects latent"],
    config: FitConfig,
    progress: Progress | None,
) -> dict[str, Tensor]:
    some = min(len(views), max(1, MOST_HELD_RAYS // config.rays))
    own_codes = codes[views.objects.to(codes.device)]

    def loss_of(tuned: NerfgenModel) -> TunedStep:
        chosen = torch.randperm(len(views))[:some]
        ray_bundle, batch, view_of_ray = ViewSampler(views.select(chosen), config.rays, model.device)()
        outputs = tuned.render(
            ray_bundle,
            own_codes[chosen.to(codes.device)][view_of_ray],
            probabilities=views.labels is not None,
        )
        loss = photograph_loss(tuned, outputs, batch, config, views.has_colors)
        return TunedStep(loss, ray_bundle, view_of_ray, some)

    table = model.latent_table.codes.weight.detach()
    return tune_networks(model, table, config.tune_steps, loss_of, progress)


class TunedStep(NamedTuple):
    """What a step of `tune_networks` is about."""

    loss: Float[Tensor, ""]
    """The loss of the tuned networks."""
    ray_bundle: RayBundle
    """Rays at which other objects are held as they are."""
    group_of_ray: Int[Tensor, " rays"]
    """The rays of a group show the same other object; numbered from 0."""
    groups: int
    """How many groups there are; to count them would wait for a GPU."""


def tune_networks(
    model: NerfgenModel,
    others: Float[Tensor, "others latent"],
    steps: int,
    loss_of: Callable[[NerfgenModel], TunedStep],
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Tune a copy of the networks to a loss, and hold it close to the original on renders of other objects.

    Args:
        model: a trained model, which stays as it is.
        others: codes of other objects of the class.
        steps: how many steps.
        loss_of: computes the loss of the copy, at rays that it draws.
        progress: called with the number of steps done and their total.

    Returns:
        The tuned tensors, by their name in the model's `state_dict`.
    """
    tuned = copy.deepcopy(model)
    tuned.train()
    parameters = [value for name, value in tuned.named_parameters() if name.startswith(TUNED)]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, betas=(0.9, 0.99), eps=1e-15)
    for step in range(steps):
        set_learning_rate(optimizer, LEARNING_RATE, step, steps)
        loss, ray_bundle, group_of_ray, groups = loss_of(tuned)
        codes = others[torch.randint(len(others), (groups,), device=others.device)][group_of_ray]
        loss = loss + HELD_WEIGHT * _difference(tuned, model, ray_bundle, codes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if progress is not None:
            progress(step + 1, steps)
    return {name: value for name, value in tuned.state_dict().items() if name.startswith(TUNED)}


def _difference(
    tuned: NerfgenModel, original: NerfgenModel, ray_bundle: RayBundle, codes: Float[Tensor, "rays latent"]
) -> Float[Tensor, ""]:
    """Compute the mean squared difference of two models' colors and accumulations."""
    devices = [original.device] if original.device.type == "cuda" else []
    # The random state is restored on every device: the samples are the same, and only the networks differ.
    with torch.random.fork_rng(devices), frozen(original), torch.no_grad():
        expected = original.render(ray_bundle, codes)
    outputs = tuned.render(ray_bundle, codes)
    return F.mse_loss(outputs["rgb"], expected["rgb"]) + F.mse_loss(
        outputs["accumulation"], expected["accumulation"]
    )
