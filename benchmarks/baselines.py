"""What a view looks like without any model, scored as models are: `comparisons.score`.

Each baseline takes the training photographs with their true cameras; none has seen the view.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.mean_surface import MeanSurface, mean_landmarks, surface_of_landmarks, warp
from nerfgen_ns.cameras.projection import Cameras
from nerfgen_ns.dataset_format.transforms import read_transforms
from nerfgen_ns.evaluation.comparisons import Figures, Rendered, Renderer, ViewWithTruth, mean_scores


@dataclass(frozen=True)
class Baseline:
    """One row of a table."""

    name: str
    """The row's name."""
    note: str
    """What it does, and where its depth comes from."""
    figures: Figures
    """See `comparisons.score`; none where `note` says why there are none."""


def measure_baselines(
    data: Path,
    photographs: Sequence[ViewWithTruth],
    views: Sequence[ViewWithTruth],
    progress: Callable[[int, int], None] | None = None,
) -> list[Baseline]:
    """Score all baselines.

    Args:
        data: the folder that the photographs are from, with `landmarks2d` in its frames for the warp.
        photographs: what models are trained on, of the size of the views.
        views: new views of identities among them.
        progress: called for each baseline with the number of views done and their total.
    """

    def scored(name: str, note: str, renderer: Renderer | None) -> Baseline:
        figures = {} if renderer is None else mean_scores(renderer, views, progress)
        return Baseline(name, note, figures)

    surface = fitted_surface(data, photographs)
    return [
        scored(
            "mean image",
            "the mean of all training photographs; its depth: the mean of their true depths",
            mean_image(photographs),
        ),
        scored(
            "nearest photograph in pose",
            "of all training photographs of other identities the one whose camera is turned the least "
            "against the view's; its depth: that photograph's true one",
            nearest_in_pose(photographs),
        ),
        scored(
            "own photograph, unmoved",
            "the identity's training photograph as it is; its depth: that photograph's true one",
            own_photograph(photographs),
        ),
        scored(
            "own photograph, warped",
            "the identity's training photograph on the mean surface of the class, seen by the view's camera; "
            "its depth: the mean surface's"
            if surface is not None
            else 'not measured: the frames have no "landmarks2d"',
            None if surface is None else warped_photograph(photographs, surface),
        ),
    ]


def mean_image(photographs: Sequence[ViewWithTruth]) -> Renderer:
    """Return a renderer that shows every view as the mean photograph, with the mean of the finite depths."""
    rgb = torch.stack([view.image for view in photographs]).mean(dim=0)
    depth = None
    if all(view.depth is not None for view in photographs):
        depths = np.stack([view.depth.numpy() for view in photographs if view.depth is not None])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a corner that is always background
            mean = np.nanmean(np.where(np.isfinite(depths), depths, np.nan), axis=0)
        depth = torch.from_numpy(np.where(np.isfinite(mean), mean, np.nanmax(mean)).astype(np.float32))
    return lambda view: Rendered(rgb, depth)


def nearest_in_pose(photographs: Sequence[ViewWithTruth]) -> Renderer:
    """Return a renderer of the photograph, of another identity, whose camera is nearest in rotation."""
    rotations = torch.cat([view.camera.camera_to_worlds[:, :3, :3] for view in photographs])

    def render(view: ViewWithTruth) -> Rendered:
        # The trace of RᵀR' decreases as the angle between both grows.
        near = (rotations * view.camera.camera_to_worlds[:, :3, :3]).sum(dim=(1, 2))
        own = torch.tensor([photograph.identity == view.identity for photograph in photographs])
        nearest = photographs[int(near.masked_fill(own, -torch.inf).argmax())]
        return Rendered(nearest.image, _filled(nearest.depth))

    return render


def own_photograph(photographs: Sequence[ViewWithTruth]) -> Renderer:
    """Return a renderer of the identity's own photograph, whatever the view's camera."""
    by_identity = {view.identity: view for view in photographs}

    def render(view: ViewWithTruth) -> Rendered:
        own = by_identity[view.identity]
        return Rendered(own.image, _filled(own.depth))

    return render


def warped_photograph(photographs: Sequence[ViewWithTruth], surface: MeanSurface) -> Renderer:
    """Return a renderer of the identity's own photograph on the mean surface, seen by the view's camera."""
    by_identity = {view.identity: view for view in photographs}

    def render(view: ViewWithTruth) -> Rendered:
        own = by_identity[view.identity]
        source, target = (Cameras.from_nerfstudio([seen.camera]) for seen in (own, view))
        rgb, depth = warp(own.image.numpy(), surface, source, target)
        depth_map = torch.from_numpy(depth.astype(np.float32))
        return Rendered(torch.from_numpy(rgb.astype(np.float32)), _filled(depth_map))

    return render


def fitted_surface(data: Path, photographs: Sequence[ViewWithTruth]) -> MeanSurface | None:
    """Return the mean surface of the photographs' landmarks; None if the frames have no `landmarks2d`."""
    known = read_transforms(data, allow_outside=True)
    frames = dict(zip(known.files, known.frames, strict=True))
    shown = [frames[view.path] for view in photographs]
    if any(frame.landmarks2d is None for frame in shown):
        return None
    landmarks = np.array([frame.landmarks2d for frame in shown])
    stored = np.array([[frame.w, frame.h] for frame in shown])
    judged = np.array([[view.image.shape[1], view.image.shape[0]] for view in photographs])
    cameras = Cameras.from_nerfstudio(view.camera for view in photographs)
    return surface_of_landmarks(mean_landmarks(cameras, landmarks * (judged / stored)[:, None]))


def _filled(depth: Float[Tensor, "height width"] | None) -> Float[Tensor, "height width"] | None:
    """Replace infinite depth by the largest finite depth: the view may show its object there."""
    if depth is None:
        return None
    finite = torch.isfinite(depth)
    return torch.where(finite, depth, depth[finite].max())
