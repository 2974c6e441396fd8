"""Renders of models and of baselines compared with photographs: scores, and pictures side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from PIL import Image
from torch import Tensor

from nerfgen_ns.datamanagers.data_parser import number_photographs
from nerfgen_ns.dataset_format.transforms import transforms_path
from nerfgen_ns.errors import UsageError
from nerfgen_ns.evaluation.folders import TestFolder, open_test_folder
from nerfgen_ns.evaluation.protocol import Figure, Picture, finite_or_none, mean_figure
from nerfgen_ns.evaluation.renders import Render, evenly, outputs_of
from nerfgen_ns.metrics.geometry import (
    depth_correlation,
    normal_error,
    normals_of_depth,
    silhouette_iou,
)
from nerfgen_ns.metrics.images import SSIM_WINDOW, foreground_psnr, psnr, ssim
from nerfgen_ns.metrics.networks import SMALLEST, Lpips
from nerfgen_ns.runs.run import Run
from nerfgen_ns.utils.images import depth_picture, from_bytes, to_bytes
from nerfgen_ns.utils.spacing import evenly_spaced

Image3 = UInt8[np.ndarray, "height width 3"]
PICTURED = 8
"""Views that are shown of one protocol."""
SIDE = 128
"""Height in pixels of what is shown."""


def ranked(
    renders: Sequence[Render], values: Sequence[float], name: str, unit: str
) -> Iterator[tuple[int, str]]:
    """Yield the places of some renders, from the worst to the best, each with a caption.

    Args:
        values: a score of each render, larger is better; NaN counts as the worst.
        name: what the caption calls it.
        unit: of the score.
    """
    order = np.argsort(np.nan_to_num(np.array(values, dtype=np.float64), nan=-np.inf), kind="stable")
    places = evenly_spaced(len(order), PICTURED)
    for place in order[places].tolist():
        value, view = values[place], renders[place].view
        score = f"{name} {value:.3g} {unit}".strip() if math.isfinite(value) else f"{name} –"
        identity = "" if view.identity is None else f", identity {view.identity}"
        yield place, f"{renders[place].file}{identity}: {score}"


def compared(renders: Sequence[Render], values: Sequence[float], name: str, unit: str) -> list[Picture]:
    """Return pictures of some renders beside their photographs; for the arguments see `ranked`."""
    return [
        Picture(caption, beside_each_other(renders[place]))
        for place, caption in ranked(renders, values, name, unit)
    ]


def beside_each_other(render: Render) -> Image3:
    """Put photograph, render, their difference (gray is none), depth and normals in one row."""
    difference = 0.5 + 0.5 * (render.colors - render.true_colors)
    return row_of(
        [
            render.photograph,
            render.rgb,
            to_bytes(difference),
            _depth(render.depth, render.accumulation),
            to_bytes(render.normals),
        ]
    )


def depths_beside_each_other(render: Render, true_depth: Float[Tensor, "height width"]) -> Image3:
    """Put photograph, true depth and rendered depth in one row.

    Each depth is drawn from its own nearest to its own farthest value.
    """
    known = torch.isfinite(true_depth)
    true = _depth(torch.where(known, true_depth, 0.0), known.float())
    return row_of([render.photograph, true, _depth(render.depth, render.accumulation)])


def row_of(pictures: Sequence[Image3]) -> Image3:
    """Put pictures of one size in a row, scaled to the height `SIDE`."""
    row = np.concatenate(pictures, axis=1)
    size = (round(row.shape[1] * SIDE / row.shape[0]), SIDE)
    return np.asarray(Image.fromarray(row).resize(size, Image.Resampling.BICUBIC))


def _depth(depth: Float[Tensor, "height width"], accumulation: Float[Tensor, "height width"]) -> Image3:
    return depth_picture({"depth": depth[..., None], "accumulation": accumulation[..., None]})


class Score(NamedTuple):
    """A metric of images, as a table calls it."""

    name: str
    unit: str
    better: Literal["higher", "lower"]


SCORES = {
    "psnr": Score("PSNR", "dB", "higher"),
    "ssim": Score("SSIM", "", "higher"),
    "lpips": Score("LPIPS", "", "lower"),
    "psnr_inside": Score("PSNR inside the matte", "dB", "higher"),
    "ssim_inside": Score("SSIM inside the matte", "", "higher"),
    "lpips_inside": Score("LPIPS inside the matte", "", "lower"),
}
NO_MATTE = 'the photographs have no mattes; give each frame a "mask_path"'


def score_images(renders: Sequence[Render], lpips: Lpips) -> list[dict[str, float]]:
    """Return the scores of each render, by their keys in `SCORES`; NaN where one is not defined."""
    scores = []
    for render in renders:
        rgb, image, matte = render.colors, render.true_colors, render.matte
        scores.append(
            {
                "psnr": float(psnr(rgb, image)),
                "ssim": ssim(rgb, image),
                "lpips": lpips(rgb, image),
                "psnr_inside": math.nan if matte is None else foreground_psnr(rgb, image, matte),
                "ssim_inside": math.nan if matte is None else ssim(rgb, image, matte),
                "lpips_inside": math.nan if matte is None else lpips(rgb, image, matte),
            }
        )
    return scores


def image_figures(
    renders: Sequence[Render], scores: Sequence[dict[str, float]], lpips: Lpips, of: str = ""
) -> list[Figure]:
    """Return the means of the scores, those inside the matte first.

    Args:
        of: what the name of each figure ends with, after a comma.
    """
    has_mattes = any(render.matte is not None for render in renders)
    sizes = {render.photograph.shape[:2] for render in renders}
    size = " and ".join(f"{width} × {height}" for height, width in sorted(sizes)[:2])
    note = f"at {size} pixels" if len(sizes) < 3 else f"at {len(sizes)} sizes"
    figures = []
    for key in ("psnr_inside", "ssim_inside", "lpips_inside", "psnr", "ssim", "lpips"):
        score = SCORES[key]
        reason = "it is not defined for any view"
        if key.endswith("inside") and not has_mattes:
            reason = NO_MATTE
        elif key.startswith("lpips"):
            reason = lpips.unavailable or f"it needs photographs of {SMALLEST} pixels a side or more"
        elif key.startswith("ssim"):
            reason = f"it needs photographs of {SSIM_WINDOW} pixels a side or more"
        figures.append(
            mean_figure(
                f"{score.name}, {of}" if of else score.name,
                [own[key] for own in scores],
                score.unit,
                score.better,
                note,
                reason,
            )
        )
    return figures


def part_figures(folder: TestFolder, renders: Sequence[Render], of: str = "") -> list[Figure]:
    """Return the PSNR of each semantic part.

    It is computed for each view over the pixels of the part, then averaged over the views that show the part.

    Empty where a frame has no `semantic_path`, or where the folder does not name its `semantic_labels`.
    """
    if folder.missing("semantics", [render.view.number for render in renders]):
        return []
    values: dict[str, list[float]] = {label: [] for label in folder.labels}
    for render in renders:
        labels = folder.semantics(render.view.number)
        for number, label in enumerate(folder.labels):
            part = labels == number
            values[label].append(float(psnr(render.colors[part], render.true_colors[part])))
    return [
        mean_figure(f"PSNR of {label.replace('_', ' ')}{f', {of}' if of else ''}", psnrs, "dB", "higher")
        for label, psnrs in values.items()
    ]


def view_records(renders: Sequence[Render], scores: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
    """Return file, identity and scores of each view, as JSON can hold them."""
    return [
        {
            "file": render.file,
            "identity": render.view.identity,
            **{name: finite_or_none(value) for name, value in own.items()},
        }
        for render, own in zip(renders, scores, strict=True)
    ]


@cache
def open_lpips(weights: Path | None) -> Lpips:
    """Return LPIPS, the same object for all protocols, so that its network is loaded once."""
    return Lpips(weights)


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
    """The render of a view by a model or a baseline."""

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
    """Read the photographs of a prepared folder with their truth, sorted by identity.

    Args:
        folder: a prepared or a test folder.
        downscale_factor: how many times smaller than stored the views are.
        identities: only views that show these.
        most: at most this many, evenly spread.
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
        from_bytes(folder.dataset.get_numpy_image(number)),
        folder.matte(number),
        None if folder.missing("depth", [number]) else folder.depth(number),
    )


def model_renderer(
    run: Run,
    camera_of: Callable[[ViewWithTruth], Cameras] | None = None,
    rows: Mapping[int | str, int] | None = None,
) -> Renderer:
    """Return a function that renders each view by a run, with the row of the view's identity.

    Args:
        run: a trained run.
        camera_of: the view's camera in the run's class frame, where that is another than the views'.
        rows: the row of each identity; if not given, the run's data has the identities of the views.

    Raises:
        UsageError: from the renderer, for a view of an identity that the run was not trained on.
    """
    rows = run.record.row_of_identity if rows is None else rows

    def render(view: ViewWithTruth) -> Rendered:
        if view.identity not in rows:
            raise UsageError(f"{view.path}: shows identity {view.identity}, which the run was not trained on")
        camera = view.camera if camera_of is None else camera_of(view)
        outputs = outputs_of(run, run.code(rows[view.identity]), camera)
        return Rendered(outputs["rgb"], outputs["depth"], outputs["accumulation"])

    return render


def score(rendered: Rendered, view: ViewWithTruth) -> Figures:
    """Compute how near a render, rounded to 8 bits as in a picture, comes to a view.

    Returns:
        `psnr` of the whole image in dB; where the view has a matte, `foreground_psnr` inside it;
        `depth_correlation`, and `normal_error` in degrees between the normals of both depth maps, inside it
        where both depths are known; `silhouette_iou` where there is an
        accumulation. NaN where one is not defined.
    """
    rgb = from_bytes(to_bytes(rendered.rgb))
    figures = {"psnr": float(psnr(rgb, view.image))}
    if view.matte is None:
        return figures
    figures["foreground_psnr"] = foreground_psnr(rgb, view.image, view.matte)
    if rendered.depth is not None and view.depth is not None:
        figures["depth_correlation"] = depth_correlation(rendered.depth, view.depth, view.matte)
        normals, true_normals = (
            normals_of_depth(depth, view.camera) for depth in (rendered.depth, view.depth)
        )
        figures["normal_error"] = normal_error(normals, true_normals, view.matte)
    if rendered.accumulation is not None:
        figures["silhouette_iou"] = silhouette_iou(rendered.accumulation, view.matte)
    return figures


def mean_scores(
    renderer: Renderer, views: Sequence[ViewWithTruth], progress: Callable[[int, int], None] | None = None
) -> Figures:
    """Compute the mean of each figure of `score` over the views where it is defined.

    A figure that is defined nowhere is left out. So is an infinite one: the render equals the view.

    Args:
        renderer: of a model or a baseline.
        views: what it is judged on.
        progress: called with the number of views done and their total.
    """
    values: dict[str, list[float]] = {}
    for done, view in enumerate(views, start=1):
        for name, value in score(renderer(view), view).items():
            values.setdefault(name, []).append(value)
        if progress is not None:
            progress(done, len(views))
    means = {name: mean_figure(name, own, "", "neither").value for name, own in values.items()}
    return {name: mean for name, mean in means.items() if mean is not None}


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
        most: at most this many views, evenly spread.
        progress: called with the number of views done and their total.

    Returns:
        `views`, their number, and the means of `score` over them.

    Raises:
        UsageError: a view shows an identity that the run was not trained on.
    """
    own = transforms_path(folder).resolve() == transforms_path(run.data).resolve()
    views = read_views(folder, downscale_factor, most=most, trained_on=own)
    return {"views": len(views), **mean_scores(model_renderer(run), views, progress)}
