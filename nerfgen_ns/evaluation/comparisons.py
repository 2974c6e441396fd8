"""Renders compared with photographs: scores, and pictures side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from nerfgen_ns.evaluation.folders import TestFolder
from nerfgen_ns.evaluation.protocol import Figure, Picture, finite_or_none, mean_figure
from nerfgen_ns.evaluation.renders import Render
from nerfgen_ns.metrics.images import SSIM_WINDOW, foreground_psnr, psnr, ssim
from nerfgen_ns.metrics.perceptual import SMALLEST, Lpips
from nerfgen_ns.utils.images import depth_picture, to_bytes
from nerfgen_ns.utils.spacing import evenly_spaced

Image3 = UInt8[np.ndarray, "height width 3"]
PICTURED = 8
"""Views that are shown of one protocol."""
SIDE = 128
"""Height in pixels of what is shown."""


def ranked(
    renders: Sequence[Render], values: Sequence[float], name: str, unit: str
) -> Iterator[tuple[int, str]]:
    """Places of some renders, from the worst to the best, each with a caption.

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
    """Some renders beside their photographs; for the arguments see `ranked`."""
    return [
        Picture(caption, beside_each_other(renders[place]))
        for place, caption in ranked(renders, values, name, unit)
    ]


def beside_each_other(render: Render) -> Image3:
    """Photograph, render, their difference (gray is none), depth and normals, in one row."""
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
    """Photograph, true depth and rendered depth, in one row; each depth from its nearest to its farthest."""
    known = torch.isfinite(true_depth)
    true = _depth(torch.where(known, true_depth, 0.0), known.float())
    return row_of([render.photograph, true, _depth(render.depth, render.accumulation)])


def row_of(pictures: Sequence[Image3]) -> Image3:
    """Pictures of one size in a row of a height to look at."""
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
    """Of each render its scores, by their keys in `SCORES`; NaN where one is not defined."""
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
    """The means of the scores, those inside the matte first.

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
    """PSNR of each semantic part: of each view over the part's pixels, then the mean of the views with any.

    Nothing where not every frame has a `semantic_path`, or the folder does not name its `semantic_labels`.
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
    """File, identity and scores of each view, as JSON can hold them."""
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
    """LPIPS, the same for all protocols: its network is looked for once."""
    return Lpips(weights)
