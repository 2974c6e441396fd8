"""Pictures of photographs beside their renders."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from nerfgen_ns.evaluation.protocol import Picture
from nerfgen_ns.evaluation.renders import Render
from nerfgen_ns.pictures import depth_picture, to_bytes

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
    places = np.unique(np.linspace(0, len(order) - 1, min(PICTURED, len(order))).round().astype(int))
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
    """Photograph, render, their difference (grey is none), depth and normals, in one row."""
    difference = 0.5 + 0.5 * (render.colours - render.true_colours)
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
