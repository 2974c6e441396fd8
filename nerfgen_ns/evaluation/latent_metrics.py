"""Metrics of a latent table: its spectrum, its Gaussian, and how evenly images change along a morph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from scipy.stats import beta
from torch import Tensor

from nerfgen_ns.latent_space import LatentSpace


def pca_spectrum(codes: Float[Tensor, "identities latent"]) -> Float[Tensor, "directions"]:
    """Share of the rows' variance along each principal direction, strongest first.

    It sums to 1; empty where all rows are the same.
    """
    variances = LatentSpace.of(codes).deviations.double() ** 2
    return variances / variances.sum()


def effective_dimension(spectrum: Float[Tensor, "directions"]) -> float:
    """How many directions the variance fills: the participation ratio (Σλ)² / Σλ².

    Gao et al., "A theory of multineuronal dimensionality, dynamics and measurement" (2017). It is
    n for n equally strong directions, and NaN for none.
    """
    return float(spectrum.sum() ** 2 / (spectrum**2).sum()) if len(spectrum) else math.nan


def directions_holding(spectrum: Float[Tensor, "directions"], share: float) -> float:
    """How many of the strongest directions hold a share of the variance; NaN where there is no direction."""
    if not len(spectrum):
        return math.nan
    held = spectrum.cumsum(dim=0) / spectrum.sum()
    # The sum of all may miss 1 by its rounding.
    return float(min(int((held < share - 1e-9).sum()) + 1, len(spectrum)))


def share_within_gaussian(codes: Float[Tensor, "identities latent"], probability: float = 0.95) -> float:
    """Share of the rows inside the region that holds `probability` of the table's own Gaussian.

    Were the rows drawn from a Gaussian, it would be `probability`; less means heavy tails. The Mahalanobis
    distance m of a row to the mean of n rows in d directions has not quite a chi-square law, as the row takes
    part in mean and covariance: m²·n/(n−1)² follows the beta distribution with d/2 and (n−d−1)/2
    (Gnanadesikan and Kettenring, "Robust estimates, residuals, and outlier detection", 1972), which for many
    rows becomes chi-square with d degrees of freedom.

    NaN where there are not two rows more than directions: then all rows are equally far away, whatever they
    are.
    """
    space = LatentSpace.of(codes)
    rows, directions = len(codes), len(space.deviations)
    if directions == 0 or rows - directions < 2:
        return math.nan
    distances = space.mahalanobis(codes).double() ** 2 * rows / (rows - 1) ** 2
    limit = beta.ppf(probability, directions / 2, (rows - directions - 1) / 2)
    return float((distances <= limit).double().mean())


def morph_steps(images: Sequence[Float[Tensor, "height width 3"]]) -> Float[Tensor, "steps"]:
    """Root mean square change of colour from each image of a morph to the next."""
    changes = [torch.mean((after - before) ** 2) ** 0.5 for before, after in pairwise(images)]
    return torch.stack(changes) if changes else torch.empty(0)


def largest_step(steps: Float[Tensor, "steps"]) -> float:
    """The largest step of a morph by the mean one: 1 is even, the number of steps is one jump. Ours.

    NaN below two steps, and where nothing changes.
    """
    if len(steps) < 2 or not float(steps.sum()) > 0.0:
        return math.nan
    return float(steps.max() / steps.mean())
