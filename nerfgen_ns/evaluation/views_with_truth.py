"""Views of known identities with their truth, and how near renders of models or baselines come to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.datamanagers.data_parser import number_photographs
from nerfgen_ns.dataset_format.transforms import transforms_path
from nerfgen_ns.errors import UsageError
from nerfgen_ns.evaluation.folders import TestFolder, open_test_folder
from nerfgen_ns.evaluation.renders import evenly
from nerfgen_ns.metrics.depth import depth_correlation, z_depth
from nerfgen_ns.metrics.geometry import silhouette_iou
from nerfgen_ns.metrics.images import foreground_psnr, psnr
from nerfgen_ns.runs.run import Run


@dataclass(frozen=True)
class ViewWithTruth:
    """One photograph with what is known of it."""

    path: Path
    """Its file."""
    identity: int | str
    """Whom it shows."""
    camera: Cameras
    """Its camera, of shape (1,), of the size that the view is judged at."""
    image: Float[Tensor, "height width 3"]
    """Colors in [0, 1]."""
    matte: Float[Tensor, "height width"] | None
    """Soft foreground in [0, 1]; None where it has none."""
    depth: Float[Tensor, "height width"] | None
    """z-depth in the camera's frame, infinite on the background; None where it is not known."""


@dataclass(frozen=True)
class Rendered:
    """What a model or a baseline makes of a view."""

    rgb: Float[Tensor, "height width 3"]
    """Colors in [0, 1]."""
    depth: Float[Tensor, "height width"] | None = None
    """z-depth in the camera's frame, in any unit; None: it makes none."""
    accumulation: Float[Tensor, "height width"] | None = None
    """In [0, 1]; None: it makes none."""


Renderer = Callable[[ViewWithTruth], Rendered]
Figures = dict[str, float]


def read_views(
    folder: Path,
    downscale_factor: int = 1,
    identities: Collection[int] | None = None,
    most: int | None = None,
    trained_on: bool = False,
) -> list[ViewWithTruth]:
    """The photographs of a prepared folder with their truth, sorted by identity.

    Args:
        folder: a prepared or a test folder.
        downscale_factor: how many times smaller than stored the views are.
        identities: only views that show these.
        most: at most so many, evenly spread.
        trained_on: whether a run was trained on the folder: its own corrections of the cameras then apply.

    Raises:
        UsageError: nothing is left.
    """
    test_folder = open_test_folder(folder, folder.name, downscale_factor)
    if trained_on:
        number_photographs(test_folder.dataset.cameras)
    shown = [
        number
        for number, frame in enumerate(test_folder.frames)
        if identities is None or (number if frame.identity is None else frame.identity) in identities
    ]
    if not shown:
        raise UsageError(f"{folder}: shows none of the identities that are judged")
    return [_view(test_folder, number) for number in evenly(shown, most)]


def _view(folder: TestFolder, number: int) -> ViewWithTruth:
    identity = folder.frames[number].identity
    return ViewWithTruth(
        folder.dataset.image_filenames[number],
        number if identity is None else identity,
        folder.camera(number),
        torch.from_numpy(folder.dataset.get_numpy_image(number) / np.float32(255)),
        folder.matte(number),
        None if folder.missing("depth", [number]) else folder.depth(number),
    )


def model_renderer(run: Run, camera_of: Callable[[ViewWithTruth], Cameras] | None = None) -> Renderer:
    """Renders of a run, each view with the row of its identity.

    Args:
        run: a trained run, the identities of whose data are numbered as those of the views.
        camera_of: the view's camera in the run's class frame, where that is another than the views'.

    Raises:
        UsageError: from the renderer, for a view of an identity that the run was not trained on.
    """
    rows = run.record.row_of_identity

    def render(view: ViewWithTruth) -> Rendered:
        if view.identity not in rows:
            raise UsageError(f"{view.path}: shows identity {view.identity}, which the run was not trained on")
        camera = view.camera if camera_of is None else camera_of(view)
        outputs = run.render(run.code(rows[view.identity]), camera)
        depth = z_depth(outputs["depth"][..., 0].cpu(), camera.to("cpu"))
        return Rendered(outputs["rgb"].cpu(), depth, outputs["accumulation"][..., 0].cpu())

    return render


def score(rendered: Rendered, view: ViewWithTruth) -> Figures:
    """How near a render comes to a view.

    Returns:
        `psnr` of the whole image in dB; where the view has a matte, `foreground_psnr` inside it;
        `depth_correlation` inside it where both depths are known, 0 for a depth that is constant and thus
        tells nothing; `silhouette_iou` where there is an accumulation.
    """
    figures = {"psnr": float(psnr(rendered.rgb, view.image))}
    if view.matte is None:
        return figures
    figures["foreground_psnr"] = foreground_psnr(rendered.rgb, view.image, view.matte)
    if rendered.depth is not None and view.depth is not None:
        correlation = depth_correlation(rendered.depth, view.depth, view.matte)
        figures["depth_correlation"] = 0.0 if math.isnan(correlation) else correlation
    if rendered.accumulation is not None:
        figures["silhouette_iou"] = silhouette_iou(rendered.accumulation, view.matte)
    return figures


def mean_scores(
    renderer: Renderer, views: Sequence[ViewWithTruth], progress: Callable[[int, int], None] | None = None
) -> Figures:
    """The mean of each figure of `score` over the views where it is defined.

    A figure that is defined nowhere is left out, and so is one that is infinite: a view shown as it is.

    Args:
        renderer: of a model or a baseline.
        views: what it is judged on.
        progress: called with the number of views done and their total.
    """
    figures: dict[str, list[float]] = {}
    for done, view in enumerate(views, start=1):
        for name, value in score(renderer(view), view).items():
            figures.setdefault(name, []).append(value)
        if progress is not None:
            progress(done, len(views))
    means = {}
    for name, values in figures.items():
        defined = [value for value in values if not math.isnan(value)]
        if defined and math.isfinite(sum(defined)):
            means[name] = float(np.mean(defined))
    return means


def evaluate_views(
    run: Run,
    folder: Path,
    downscale_factor: int = 1,
    most: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float | int]:
    """Render views of a folder, each with the row of its identity, and compare them with the truth.

    Args:
        run: a trained run. The folder's identities are numbered as those of the run's own data.
        folder: a prepared folder; frames may name their z-depth under `depth_path`.
        downscale_factor: how many times smaller than stored the views are rendered and judged.
        most: at most so many views, evenly spread.
        progress: called with the number of views done and their total.

    Returns:
        `views`, their number, and the means of `score` over them.

    Raises:
        UsageError: a view shows an identity that the run was not trained on.
    """
    own = transforms_path(folder).resolve() == transforms_path(run.data).resolve()
    views = read_views(folder, downscale_factor, most=most, trained_on=own)
    return {"views": len(views), **mean_scores(model_renderer(run), views, progress)}
