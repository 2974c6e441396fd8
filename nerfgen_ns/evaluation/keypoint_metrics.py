"""Depth of landmarks compared across images: the 3DFAW protocol of LOLNeRF (CVPR 2022).

For each landmark the correlation of its depth with the true one over all images, and the sum over the
landmarks. Depths are z-depths in the camera's frame, one row an image; NaN where a landmark has none, as
where it is not visible or the render shows nothing. What is NaN on one side is left out on both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

from nerfgen_ns.evaluation.depth_metrics import correlation


@dataclass(frozen=True)
class KeypointScore:
    """How well depths of landmarks follow the true ones over images."""

    correlations: Float[np.ndarray, "landmarks"]
    """r of each landmark; NaN where it is not defined."""
    images: int
    """Images with at least one landmark."""
    absolute_chance: float
    """What Σ|r| would be were the depths those of other images: the mean over permutations of the images."""
    absolute_chance_95: float
    """The 95th percentile of the same: a Σ|r| above it is no chance."""

    @property
    def landmarks(self) -> int:
        """Landmarks whose r is defined; the largest sum there can be."""
        return int(np.isfinite(self.correlations).sum())

    @property
    def absolute_sum(self) -> float:
        """Σ|r| over the landmarks; NaN where no r is defined."""
        return float(np.nansum(np.abs(self.correlations))) if self.landmarks else math.nan

    @property
    def signed_sum(self) -> float:
        """Σr over the landmarks; NaN where no r is defined."""
        return float(np.nansum(self.correlations)) if self.landmarks else math.nan


def keypoint_score(
    depths: Float[np.ndarray, "images landmarks"],
    true_depths: Float[np.ndarray, "images landmarks"],
    permutations: int = 200,
    seed: int = 0,
) -> KeypointScore:
    """Judge depths of landmarks: LOLNeRF (CVPR 2022), the evaluation on 3DFAW.

    Args:
        depths: those of the renders; see `relative_depths`.
        true_depths: the truth.
        permutations: how many shufflings of the images make the chance level.
        seed: of the shufflings.
    """
    correlations = landmark_correlations(depths, true_depths)
    generator = np.random.default_rng(seed)
    sums = []
    for _ in range(permutations):
        shuffled = landmark_correlations(depths[generator.permutation(len(depths))], true_depths)
        if np.isfinite(shuffled).any():
            sums.append(np.nansum(np.abs(shuffled)))
    seen = np.isfinite(depths) & np.isfinite(true_depths)
    chance, chance_95 = (np.mean(sums), np.percentile(sums, 95)) if sums else (math.nan, math.nan)
    return KeypointScore(correlations, int(seen.any(axis=1).sum()), float(chance), float(chance_95))


def landmark_correlations(
    depths: Float[np.ndarray, "images landmarks"], true_depths: Float[np.ndarray, "images landmarks"]
) -> Float[np.ndarray, "landmarks"]:
    """For each landmark Pearson's correlation of its depth with the true one, over the images that have both.

    NaN where fewer than two do, and where either depth is the same in all of them.
    """
    seen = np.isfinite(depths) & np.isfinite(true_depths)
    return np.array(
        [correlation(depths[own, place], true_depths[own, place]) for place, own in enumerate(seen.T)]
    )


def independent_level(images: int) -> float:
    """The mean of |r| of two independent normal variables over n images: Γ((n−1)/2) / (√π·Γ(n/2)).

    From the density of r, ∝ (1 − r²)^((n−4)/2) (Fisher 1915). Times the number of landmarks it is the chance
    level of Σ|r|. NaN below two images, and 1 with two: any two points lie on a line.
    """
    if images < 2:
        return math.nan
    return float(np.exp(gammaln((images - 1) / 2) - gammaln(images / 2)) / math.sqrt(math.pi))


def relative_depths(
    depths: Float[np.ndarray, "images landmarks"], true_depths: Float[np.ndarray, "images landmarks"]
) -> tuple[Float[np.ndarray, "images landmarks"], Float[np.ndarray, "images landmarks"]]:
    """Both depths relative to their mean over the landmarks of the image that have both; NaN at the others.

    How far away the object stands says nothing of its shape, and data sets give depth up to a shift. An image
    with one landmark alone has nothing to relate it to: all NaN.
    """
    seen = np.isfinite(depths) & np.isfinite(true_depths)
    seen &= seen.sum(axis=1, keepdims=True) > 1
    counts = np.maximum(seen.sum(axis=1, keepdims=True), 1)
    relative = (
        np.where(seen, values - np.where(seen, values, 0.0).sum(axis=1, keepdims=True) / counts, np.nan)
        for values in (depths, true_depths)
    )
    first, second = relative
    return first, second


def depths_at(
    depth: Float[np.ndarray, "height width"], landmarks: Float[np.ndarray, "landmarks 2"]
) -> Float[np.ndarray, "landmarks"]:
    """The depth of a map in the pixel of each landmark; NaN outside the image and where it is not finite.

    Args:
        depth: a z-depth map.
        landmarks: in its pixels, pixel centres at +0.5.
    """
    height, width = depth.shape
    known = np.isfinite(landmarks).all(axis=1)
    columns, rows = np.floor(np.where(known[:, None], landmarks, -1.0)).astype(int).T
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    values = np.full(len(landmarks), np.nan)
    values[inside] = depth[rows[inside], columns[inside]]
    values[~np.isfinite(values)] = np.nan
    return values


def mean_shape_depths(
    canonical_landmarks: Float[np.ndarray, "landmarks 3"], cameras: Float[np.ndarray, "images 4 4"]
) -> Float[np.ndarray, "images landmarks"]:
    """The baseline of one shape for all: depths of the canonical landmarks under each camera-to-world."""
    apart = cameras[:, None, :3, 3] - canonical_landmarks
    return np.einsum("nmk,nk->nm", apart, cameras[:, :3, 2])
