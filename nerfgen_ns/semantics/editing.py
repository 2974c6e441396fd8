"""Semantic editing: a painted label map of one view becomes a code that shows it, and the rest stays.

The method is that of EditGAN (Ling et al., NeurIPS 2021) and of editing in DatasetNeRF (Chi et al., 2023).
From the code of the object on, it minimizes the cross-entropy of the labels in the view of the edit, and the
difference of the colors outside the region that changed. In 3D other views are held too: where they show
surface points that the edited view shows outside that region.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from scipy.ndimage import binary_dilation
from torch import Tensor

from nerfgen_ns.cameras.trajectories import turned_cameras, usual_angles
from nerfgen_ns.dataset_format.label_maps import UNLABELED, LabelMap, shrink_label_map
from nerfgen_ns.errors import UsageError
from nerfgen_ns.inversion.inversion import Stages, silent
from nerfgen_ns.inversion.latent_fit import (
    AVERAGED,
    Progress,
    TunedStep,
    codes_at,
    frozen,
    seeded,
    set_learning_rate,
    tune_networks,
)
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.metrics.geometry import surface_seen_again
from nerfgen_ns.metrics.images import psnr
from nerfgen_ns.model.class_view import ClassView
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.runs.code_runs import class_space
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.config import EditConfig
from nerfgen_ns.utils.machine import keep_freed_memory

TURNS = (-40.0, -20.0, 0.0, 20.0, 40.0)
TURNS_AROUND = (0.0, 60.0, 120.0, 180.0, 240.0, 300.0)
"""Yaw in degrees of the other views that are held; of a class that is seen from all around."""
MARGIN = 1
"""Pixels around the changed region whose colors are free too: a pixel at an edge shows both sides."""
UNSEEN = 0.2
"""Weight of what other views show and the edited view does not, where what it shows has 1."""
BACKGROUND_WEIGHT = 0.2
"""Weight of colors of the background, where those of the object have 1: both share a code, and what keeps the
one is lost to the other."""
MOST_PART_COLORS = 256
"""Colors that a part is known by, at most."""
OTHERS = 64
"""Objects of the class that the tuned networks are held at."""
GROUPS = 8
"""Objects among them in one step."""


class Agreement(NamedTuple):
    """How well labels in the view of an edit agree with it, and the colors elsewhere with those before."""

    edit_iou: float
    """IoU of the wanted change and the change: the pixels that should change and have the wanted label, as a
    share of those that should change or did."""
    reached: float
    """The share of the pixels that should change that have the wanted label."""
    psnr: float
    """PSNR in dB of the colors outside the changed region; infinite of what did not change."""
    psnr_object: float
    """The same of the object alone."""
    psnr_other_views: float
    """The same of the pixels of other views whose surface the edited view shows outside that region."""


@dataclass(frozen=True)
class Edited:
    """An object before and after an edit."""

    before: Float[Tensor, "1 latent"]
    """Its code as it was."""
    code: Float[Tensor, "1 latent"]
    """The code that was found."""
    state: dict[str, Tensor] | None
    """Tuned tensors of the model, where networks were tuned."""
    model: NerfgenModel
    """The model that shows it: the run's own, or the tuned copy."""
    distance: float
    """How far the code moved: the Mahalanobis distance."""
    agreement: Agreement
    """How much of the edit was reached, and how well the rest stayed."""
    wanted: LabelMap
    """The label map in full: where the given one is unlabeled, the labels as they were."""
    labels_before: LabelMap
    """The labels of the view as they were."""


def labels_of_view(view: ClassView, code: Float[Tensor, "1 latent"], camera: Cameras) -> LabelMap:
    """Render the label map of an object, at the size of a camera of shape (1,).

    Raises:
        UsageError: the run has no labels.
    """
    _ = view.legend
    outputs = view.model.render_camera(camera, code.to(view.model.device), probabilities=True)
    return outputs["label_probabilities"].argmax(dim=-1).cpu().numpy().astype(np.uint8)


def edit_code(
    run: Run,
    code: Float[Tensor, "1 latent"],
    label_map: LabelMap,
    camera: Cameras,
    config: EditConfig | None = None,
    stages: Stages = silent,
    name: str = "the label map",
) -> Edited:
    """Find a code near that of an object whose labels in one view are those of a label map.

    Args:
        run: a run with labels; it stays as it is.
        code: the code of the object.
        label_map: the labels that the view should have, by the run's numbers; unlabeled pixels stay as they
            are.
        camera: the view, of shape (1,), as large as the label map.
        config: the options.
        stages: shows progress.
        name: what errors call the label map.

    Raises:
        UsageError: an option makes no sense, the run has no labels or its identities are all the same, or the
            label map has another size than the view or changes nothing.
    """
    config = config or EditConfig()
    config.check()
    space = class_space(run)
    model, code = run.model, code.to(run.model.device)
    before = labels_of_view(run, code, camera)
    if label_map.shape != before.shape:
        sizes = [f"{shape[1]}×{shape[0]}" for shape in (label_map.shape, before.shape)]
        raise UsageError(f"{name}: {sizes[0]} pixels where its view has {sizes[1]}; give that size")
    names = run.legend.names
    unknown = np.setdiff1d(label_map, [*range(len(names)), UNLABELED])
    if len(unknown) > 0:
        raise UsageError(f"{name}: has the number {unknown[0]}; the labels are 0 to {len(names) - 1}")
    wanted = np.where(label_map == UNLABELED, before, label_map).astype(np.uint8)
    if (wanted == before).all():
        raise UsageError(
            f"{name}: shows what the object shows already; paint over it where the object should change"
        )
    if model.device.type == "cpu":
        keep_freed_memory()
    task = _Task.of(run, code, before, wanted, camera, name)
    with seeded(config.seed, model.device):
        with stages("editing the code") as progress:
            found = _fit(model, space, code, task, config, progress)
        state = None
        if config.tune_steps:
            others = space.sample(OTHERS, seed=config.seed)
            with stages("tuning networks") as progress:
                state = tune_networks(
                    model,
                    others.to(model.device),
                    config.tune_steps,
                    lambda tuned: _tuned_step(tuned, found, task, config),
                    progress,
                )
    tuned = model if state is None else with_tensors(model, state)
    distance = float((space.amounts(found) - space.amounts(code)).norm())
    return Edited(code, found, state, tuned, distance, task.judge(tuned, found), wanted, before)


def with_tensors(model: NerfgenModel, state: dict[str, Tensor]) -> NerfgenModel:
    """Return a copy of a model with other tensors, by their name in its `state_dict`."""
    changed = copy.deepcopy(model)
    changed.load_state_dict({**model.state_dict(), **state})
    return changed.eval()


@dataclass(frozen=True)
class _Task:
    """What the pixels of all views should show; the first view is that of the edit."""

    cameras: list[Cameras]
    rays: RayBundle
    """The rays of all pixels, one view after another."""
    colors: Float[Tensor, "pixels 3"]
    """As they were."""
    labels: Int[Tensor, " pixels"]
    """As they should be; in other views as they were."""
    held: Float[Tensor, " pixels"]
    """How far a pixel has to stay: 0 where the object may change, 1 where it may not."""
    color_weights: Float[Tensor, " pixels"]
    """Of rare parts more, and of the background less; their mean is 1."""
    label_weights: Float[Tensor, " pixels"]
    """Of rare labels more; their mean is 1."""
    is_object: Bool[Tensor, " pixels"]
    """Where the object was."""
    changed: Bool[Tensor, " pixels"]
    """Where labels should change: some pixels of the first view."""
    part_colors: dict[int, Float[Tensor, "colors 3"]]
    """The colors that the object had where it had a label, for labels that the edit paints."""

    @classmethod
    def of(
        cls,
        run: Run,
        code: Float[Tensor, "1 latent"],
        labels_before: LabelMap,
        wanted: LabelMap,
        camera: Cameras,
        name: str,
    ) -> _Task:
        """Render the object as it is, from the camera of the edit and from other sides, at training size."""
        model = run.model
        own = copy.deepcopy(camera)
        own.rescale_output_resolution(1.0 / run.downscale_factor)
        size = round(float(run.cameras.width.float().median()) / run.downscale_factor)
        all_around, pitch = usual_angles(run.cameras)
        angles = [[yaw, pitch] for yaw in (TURNS_AROUND if all_around else TURNS)]
        turned = turned_cameras(run.cameras, np.array(angles), max(size, 1))
        cameras = [own, *(turned[place : place + 1] for place in range(len(angles)))]
        views = [model.render_camera(one, code, probabilities=True) for one in cameras]
        before = [view["label_probabilities"].argmax(dim=-1) for view in views]
        device = model.device
        height, width = before[0].shape
        former, painted = (
            torch.from_numpy(shrink_label_map(one, width, height).astype(np.int64)).to(device)
            for one in (labels_before, wanted)
        )
        # Not where a smaller render alone differs from a larger one, as at edges.
        changed = painted != former
        labels = torch.where(changed, painted, before[0])
        if not changed.any():
            raise UsageError(
                f"{name}: changes less than a pixel of the {width}×{height} that the run was trained on; "
                "paint a larger region"
            )
        free = torch.from_numpy(binary_dilation(changed.cpu().numpy(), iterations=MARGIN)).to(device)
        held = [(~free).float()]
        for one, view in zip(cameras[1:], views[1:], strict=True):
            seen, place = surface_seen_again(view, one, views[0], own)
            column, row = place.floor().long().unbind(-1)
            is_free = free[row.clamp(0, height - 1), column.clamp(0, width - 1)]
            held.append(torch.where(seen, (~is_free).float(), UNSEEN))
        every_before = torch.cat([one.flatten() for one in before])
        colors = torch.cat([view["rgb"].flatten(0, 1) for view in views])
        part_colors = {
            number: chosen[:: max(1, len(chosen) // MOST_PART_COLORS)]
            for number in labels[changed].unique().tolist()
            if len(chosen := colors[every_before == number]) > 0
        }
        is_object = every_before != run.legend.background
        label_weights = torch.bincount(every_before).clamp(min=1)[every_before].float() ** -0.5
        label_weights = label_weights / label_weights.mean()
        color_weights = label_weights * torch.where(is_object, 1.0, BACKGROUND_WEIGHT)
        rays = [one.to(device).generate_rays(camera_indices=0, keep_shape=True) for one in cameras]
        return cls(
            cameras,
            RayBundle(
                origins=torch.cat([one.origins.flatten(0, 1) for one in rays]),
                directions=torch.cat([one.directions.flatten(0, 1) for one in rays]),
                pixel_area=torch.cat([one.pixel_area.flatten(0, 1) for one in rays]),
            ),
            colors,
            torch.cat([labels.flatten(), *(one.flatten() for one in before[1:])]),
            torch.cat([one.flatten() for one in held]),
            color_weights / color_weights.mean(),
            label_weights,
            is_object,
            torch.cat([changed.flatten(), changed.new_zeros(len(colors) - changed.numel())]),
            part_colors,
        )

    @property
    def size(self) -> int:
        """Return how many pixels the view of the edit has."""
        return int(self.cameras[0].height) * int(self.cameras[0].width)

    def draw(self, rays: int) -> Int[Tensor, " rays"]:
        """Draw pixels: a quarter in the changed region, a quarter elsewhere in its view, half elsewhere."""
        quarter = max(rays // 4, 1)
        of_view = torch.arange(self.size, device=self.changed.device)
        inside, outside = of_view[self.changed[: self.size]], of_view[~self.changed[: self.size]]
        elsewhere = torch.arange(self.size, len(self.changed), device=self.changed.device)
        return torch.cat(
            [
                group[torch.randint(len(group), (count,), device=group.device)]
                for group, count in ((inside, quarter), (outside, quarter), (elsewhere, 2 * quarter))
                if len(group) > 0
            ]
        )

    def loss(
        self, outputs: dict[str, Tensor], pixels: Int[Tensor, " rays"], config: EditConfig
    ) -> Float[Tensor, ""]:
        """Compute the loss of drawn pixels: each of their groups is a mean of its own."""
        labels, changed, is_other = self.labels[pixels], self.changed[pixels], pixels >= self.size
        squares = self.color_weights[pixels] * (outputs["rgb"] - self.colors[pixels]).square().mean(dim=-1)
        chosen = outputs["label_probabilities"].gather(1, labels[:, None])[:, 0].clamp(min=1e-4)
        surprise = -config.label_loss_mult * chosen.log()
        loss = surprise[changed].mean()
        surprise = self.label_weights[pixels] * surprise
        held, elsewhere = self.held[pixels], ~changed & ~is_other
        loss = loss + _mean(surprise + held * squares, elsewhere)
        loss = loss + config.other_views_weight * _mean(held * (surprise + squares), is_other)
        return loss + config.part_color_loss_mult * self._part_color_loss(outputs, labels, changed)

    def _part_color_loss(
        self, outputs: dict[str, Tensor], labels: Int[Tensor, " rays"], changed: Bool[Tensor, " rays"]
    ) -> Float[Tensor, ""]:
        total = outputs["rgb"].new_zeros(())
        for number, colors in self.part_colors.items():
            own = outputs["rgb"][changed & (labels == number)]
            if len(own) > 0:
                nearest = (own[:, None] - colors).square().mean(dim=-1).amin(dim=1)
                total = total + nearest.sum() / changed.sum()
        return total

    @torch.no_grad()
    def judge(self, model: NerfgenModel, code: Float[Tensor, "1 latent"]) -> Agreement:
        """Compare renders with what they should show."""
        views = [model.render_camera(one, code, probabilities=True) for one in self.cameras]
        rgb = torch.cat([view["rgb"].flatten(0, 1) for view in views])
        after = views[0]["label_probabilities"].argmax(dim=-1).flatten()
        should, wanted = self.changed[: self.size], self.labels[: self.size]
        right = should & (after == wanted)
        # Outside the changed region the wanted labels are those before.
        did = after != wanted
        stayed = self.held == 1.0
        own, other = stayed.clone(), stayed.clone()
        own[self.size :], other[: self.size] = False, False
        return Agreement(
            float(right.sum() / (should | did).sum()),
            float(right.sum() / should.sum()),
            *(float(psnr(rgb[one], self.colors[one])) for one in (own, own & self.is_object, other)),
        )


def _mean(values: Float[Tensor, " rays"], which: Bool[Tensor, " rays"]) -> Float[Tensor, ""]:
    return (values * which).sum() / which.sum().clamp(min=1)


def _fit(
    model: NerfgenModel,
    space: LatentSpace,
    code: Float[Tensor, "1 latent"],
    task: _Task,
    config: EditConfig,
    progress: Progress,
) -> Float[Tensor, "1 latent"]:
    """Minimize the loss over codes, in the whitened coordinates of the latent space."""
    start = space.amounts(code)
    # A code may have a part outside the span of the table: it stays.
    outside = code - codes_at(space, start)
    amounts, average = start.clone().requires_grad_(True), torch.zeros_like(start)
    optimizer = torch.optim.Adam([amounts], lr=config.learning_rate, betas=(0.9, 0.99), eps=1e-15)
    with frozen(model):
        for step in range(config.steps):
            set_learning_rate(optimizer, config.learning_rate, step, config.steps)
            pixels = task.draw(config.rays)
            codes = (codes_at(space, amounts) + outside).expand(len(pixels), -1)
            outputs = model.render(task.rays[pixels], codes, probabilities=True)
            loss = task.loss(outputs, pixels, config)
            loss = loss + config.prior_weight * (amounts - start).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.lerp_(amounts.detach(), 1.0 - AVERAGED)
            progress(step + 1, config.steps)
    return codes_at(space, average / (1.0 - AVERAGED**config.steps)) + outside


def _tuned_step(
    tuned: NerfgenModel, code: Float[Tensor, "1 latent"], task: _Task, config: EditConfig
) -> TunedStep:
    pixels = task.draw(config.rays)
    rays = task.rays[pixels]
    outputs = tuned.render(rays, code.expand(len(pixels), -1), probabilities=True)
    loss = task.loss(outputs, pixels, config)
    return TunedStep(loss, rays, torch.arange(len(pixels), device=pixels.device) % GROUPS, GROUPS)
