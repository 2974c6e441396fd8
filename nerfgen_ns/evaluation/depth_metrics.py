"""Metrics of depth maps inside the matte. NaN where they are not defined.

A true depth that is not finite is background and not judged. A rendered depth that is not finite where there
is a true one makes the metric NaN: a render owes every depth.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

CONSTANT = 1e-13
"""Of the values, the deviation that is no variation but what rounding leaves of a constant."""


def depth_correlation(
    depth: Float[Tensor, "height width"],
    true_depth: Float[Tensor, "height width"],
    matte: Float[Tensor, "height width"],
) -> float:
    """Pearson's correlation of two z-depths over the pixels of matte above ½ and finite true depth.

    NaN with fewer than two such pixels, and where either depth is the same at all of them.
    """
    judged = judged_pixels(true_depth, matte)
    return correlation(depth[judged].double().cpu().numpy(), true_depth[judged].double().cpu().numpy())


def depth_error(
    depth: Float[Tensor, "height width"],
    true_depth: Float[Tensor, "height width"],
    matte: Float[Tensor, "height width"],
) -> float:
    """Root mean square error, in units of the true depth, after the best scale and shift of the depth.

    min over s, t of √mean (s·d + t − d*)², by least squares over the pixels that `depth_correlation` judges:
    Ranftl et al., "Towards robust monocular depth estimation" (TPAMI 2020), section 5. The scale may be
    negative; the sign of the correlation tells. A constant depth leaves the deviation of the true one.
    NaN with fewer than three pixels: two are always fitted exactly.
    """
    judged = judged_pixels(true_depth, matte)
    if int(judged.sum()) < 3 or not bool(torch.isfinite(depth[judged]).all()):
        return math.nan
    rendered, true = (values[judged].double().cpu() for values in (depth, true_depth))
    # Centred, so that the depths' variation is not lost beside their distance.
    columns = torch.stack([rendered - rendered.mean(), torch.ones_like(rendered)], dim=1).numpy()
    solution, *_ = np.linalg.lstsq(columns, true.numpy(), rcond=None)
    return float(np.sqrt(np.mean((columns @ solution - true.numpy()) ** 2)))


def judged_pixels(
    true_depth: Float[Tensor, "height width"], matte: Float[Tensor, "height width"]
) -> Bool[Tensor, "height width"]:
    """The pixels whose depth is compared: of matte above ½ and finite true depth."""
    return (matte > 0.5) & torch.isfinite(true_depth)


def correlation(first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"]) -> float:
    """Pearson's correlation; NaN where a value is not finite, for n below 2 and where either is constant."""
    if len(first) < 2 or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return math.nan
    deviations = [values - values.mean() for values in (first, second)]
    lengths = [float(np.linalg.norm(values)) for values in deviations]
    scales = [CONSTANT * len(first) ** 0.5 * float(np.abs(values).max()) for values in (first, second)]
    if any(length <= scale for length, scale in zip(lengths, scales, strict=True)):
        return math.nan
    return float(np.clip(deviations[0] @ deviations[1] / (lengths[0] * lengths[1]), -1.0, 1.0))
