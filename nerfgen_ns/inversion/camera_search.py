"""Cameras found by rendering: for photographs without landmarks, and classes without any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.cameras.se3 import move_cameras, move_rays
from nerfgen_ns.cameras.trajectories import look_at_origin, usual_angles
from nerfgen_ns.inversion.config import FitConfig
from nerfgen_ns.inversion.latent_fit import (
    PoseStd,
    Progress,
    Views,
    ViewSampler,
    codes_at,
    fit_codes,
    frozen,
    label_surprise,
)
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.model.model import NerfgenModel

YAW_STEP = 20.0
PITCH_STEP = 12.0
COMPARED_RAYS = 400
"""Pixels of a photograph by which its cameras are compared."""
CANDIDATES = 4
"""Cameras of each photograph that are refined, with a code each."""
REFINING_STEPS = 100
POSE_STD = PoseStd(rotvec=0.15, translation=0.1)
"""How far the nearest camera of the grid may be off."""


def search_cameras(
    model: NerfgenModel,
    space: LatentSpace,
    views: Views,
    usual: Cameras,
    config: FitConfig,
    progress: Progress | None = None,
) -> Float[Tensor, "views 3 4"]:
    """Find the camera of each view from its pixels alone.

    A grid of yaw and pitch around the usual cameras is rendered with the table's mean and compared with the
    photograph, its colors and, where there is one, its matte. The best few are refined together with a code
    each, and the one that explains the photograph best is taken.

    Args:
        model: a trained model.
        space: the latent space of its table.
        views: the photographs. Only the intrinsics of their cameras are used.
        usual: the cameras of the photographs that the class was trained on.
        config: as for `fit_codes`; its number of steps is not used.
        progress: called with the number of steps of the refinement done and their total.

    Returns:
        Camera-to-world matrices.
    """
    grid = camera_grid(usual)
    count = min(CANDIDATES, len(grid))
    best = _best_of_grid(model, views, grid, count)
    chosen = torch.arange(len(views)).repeat_interleave(count)
    cameras = views.cameras[chosen]
    cameras.camera_to_worlds = grid[best.flatten()].to(cameras.camera_to_worlds)
    candidates = replace(
        views, photographs=views.photographs[chosen], cameras=cameras, objects=torch.arange(len(chosen))
    )
    refining = replace(config, steps=REFINING_STEPS)
    fitted = fit_codes(model, space, candidates, refining, POSE_STD, progress)
    errors = view_errors(model, candidates, codes_at(space, fitted.amounts), fitted.motions)
    winners = errors.view(-1, count).argmin(dim=1) + torch.arange(0, len(errors), count)
    moved = move_cameras(cameras.camera_to_worlds, fitted.motions.to(cameras.camera_to_worlds))
    return moved[winners]


def camera_grid(usual: Cameras) -> Float[Tensor, "views 3 4"]:
    """Return camera-to-world matrices from all sides that a class is seen from, at its usual distance."""
    matrices = usual.camera_to_worlds.cpu()
    back = matrices[:, :, 2]
    yaws = torch.rad2deg(torch.atan2(back[:, 0], back[:, 2])).numpy()
    pitches = torch.rad2deg(torch.asin(back[:, 1].clamp(-1, 1))).numpy()
    all_around, _ = usual_angles(usual)
    some_yaws = np.arange(-180.0, 180.0, YAW_STEP) if all_around else _covering(yaws, YAW_STEP)
    angles = np.stack(np.meshgrid(some_yaws, _covering(pitches, PITCH_STEP)), axis=-1).reshape(-1, 2)
    return look_at_origin(angles, float(matrices[:, :, 3].norm(dim=-1).median()))


@torch.no_grad()
def view_errors(
    model: NerfgenModel,
    views: Views,
    codes: Float[Tensor, "objects latent"],
    motions: Float[Tensor, "views 3 4"] | None = None,
) -> Float[Tensor, " views"]:
    """Compute the mean squared error of color over some pixels of each view.

    Where there are mattes, that of the accumulation is added. Of label maps without a photograph it is the
    mean −log P of their labels.
    """
    sampler = ViewSampler(views, COMPARED_RAYS, model.device)
    errors = []
    with frozen(model):
        ray_bundle, batch, view_of_ray = sampler()
        if motions is not None:
            ray_bundle = move_rays(ray_bundle, motions[view_of_ray])
        objects = views.objects.to(model.device)[view_of_ray]
        chunk = model.config.eval_num_rays_per_chunk
        for first in range(0, len(ray_bundle), chunk):
            part = slice(first, first + chunk)
            outputs = model.render(ray_bundle[part], codes[objects[part]], probabilities=not views.has_colors)
            if not views.has_colors:
                own = {name: value[part] for name, value in batch.items()}
                errors.append(label_surprise(outputs, own))
                continue
            error = (outputs["rgb"] - batch["image"][part]).square().mean(dim=-1)
            if "matte" in batch:
                error = error + (outputs["accumulation"] - batch["matte"][part]).square()[:, 0]
            errors.append(error)
    return torch.cat(errors).view(len(views), -1).mean(dim=1).cpu()


def _best_of_grid(
    model: NerfgenModel, views: Views, grid: Float[Tensor, "grid 3 4"], count: int
) -> Int[Tensor, "views count"]:
    """Return the cameras of the grid from which the class's mean looks most like each photograph."""
    mean = model.latent_table.mean().detach()
    best = []
    for view in range(len(views)):
        every = torch.full((len(grid),), view)
        cameras = views.cameras[every]
        cameras.camera_to_worlds = grid.to(cameras.camera_to_worlds)
        tried = replace(
            views, photographs=views.photographs[every], cameras=cameras, objects=torch.zeros_like(every)
        )
        best.append(view_errors(model, tried, mean).topk(count, largest=False).indices)
    return torch.stack(best)


def _covering(angles: Float[np.ndarray, " n"], step: float) -> Float[np.ndarray, " m"]:
    """Return evenly spaced angles over nearly all of those given."""
    low, high = np.quantile(angles, [0.02, 0.98])
    count = max(1, round((high - low) / step) + 1)
    return np.linspace(low, high, count) if count > 1 else np.array([0.5 * (low + high)])
