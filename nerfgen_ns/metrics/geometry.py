"""Metrics of shape: depth, silhouettes, normals, cameras, and whether two views show one surface.

NaN where one is not defined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from nerfstudio.cameras.cameras import Cameras
from scipy.special import gammaln
from torch import Tensor

from nerfgen_ns.cameras.alignment import camera_errors
from nerfgen_ns.cameras.projection import project_tensors
from nerfgen_ns.metrics.images import mask_iou, psnr


def z_depth(distance: Float[Tensor, "height width"], camera: Cameras) -> Float[Tensor, "height width"]:
    """Convert distances along the rays of one camera, of shape (1,), to depths along its optical axis."""
    directions = camera.generate_rays(camera_indices=0, keep_shape=True).directions
    return distance * (directions @ -camera.camera_to_worlds[0, :, 2].to(directions))


def shrink_depth(depth: Float[np.ndarray, "height width"], factor: int) -> Float[np.ndarray, "rows columns"]:
    """Make a depth map smaller: take the lower median of each block.

    It is a depth of the surface that fills most of the block and never a mixture of two; infinite where the
    background fills more than half.
    """
    rows, columns = depth.shape[0] // factor, depth.shape[1] // factor
    blocks = depth[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    ordered = np.sort(blocks.transpose(0, 2, 1, 3).reshape(rows, columns, -1), axis=-1)
    return ordered[..., (factor * factor - 1) // 2]


CONSTANT = 1e-13
"""Largest deviation, relative to the values, that counts as rounding of a constant."""


def depth_correlation(
    depth: Float[Tensor, "height width"],
    true_depth: Float[Tensor, "height width"],
    matte: Float[Tensor, "height width"],
) -> float:
    """Compute Pearson's correlation of two z-depths over the pixels of matte above ½ and finite true depth.

    NaN with fewer than two such pixels, and where either depth is the same at all of them.
    """
    judged = judged_pixels(true_depth, matte)
    return correlation(depth[judged].double().cpu().numpy(), true_depth[judged].double().cpu().numpy())


def depth_error(
    depth: Float[Tensor, "height width"],
    true_depth: Float[Tensor, "height width"],
    matte: Float[Tensor, "height width"],
) -> float:
    """Compute the root mean square error, in units of the true depth, after the best scale and shift.

    min over s, t of √mean (s·d + t − d*)², by least squares over the pixels that `depth_correlation` judges:
    Ranftl et al., "Toward robust monocular depth estimation" (TPAMI 2020), section 5. The scale may be
    negative; the sign of the correlation shows it. A constant depth gives the deviation of the true one.
    NaN with fewer than three pixels: two are always fitted exactly.
    """
    judged = judged_pixels(true_depth, matte)
    if int(judged.sum()) < 3 or not bool(torch.isfinite(depth[judged]).all()):
        return math.nan
    rendered, true = (values[judged].double().cpu() for values in (depth, true_depth))
    # Centered, so that the depths' variation is not lost beside their distance.
    columns = torch.stack([rendered - rendered.mean(), torch.ones_like(rendered)], dim=1).numpy()
    solution, *_ = np.linalg.lstsq(columns, true.numpy(), rcond=None)
    return float(np.sqrt(np.mean((columns @ solution - true.numpy()) ** 2)))


def judged_pixels(
    true_depth: Float[Tensor, "height width"], matte: Float[Tensor, "height width"]
) -> Bool[Tensor, "height width"]:
    """Return the pixels whose depth is compared: matte above ½ and finite true depth."""
    return (matte > 0.5) & torch.isfinite(true_depth)


def correlation(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float:
    """Compute Pearson's correlation.

    NaN where a value is not finite, for n below 2, and where either side is constant.
    """
    if len(first) < 2 or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return math.nan
    deviations = [values - values.mean() for values in (first, second)]
    lengths = [float(np.linalg.norm(values)) for values in deviations]
    scales = [CONSTANT * len(first) ** 0.5 * float(np.abs(values).max()) for values in (first, second)]
    if any(length <= scale for length, scale in zip(lengths, scales, strict=True)):
        return math.nan
    return float(np.clip(deviations[0] @ deviations[1] / (lengths[0] * lengths[1]), -1.0, 1.0))


@dataclass(frozen=True)
class KeypointScore:
    """How well depths of landmarks follow the true ones over images."""

    correlations: Float[np.ndarray, " landmarks"]
    """r of each landmark; NaN where it is not defined."""
    images: int
    """Images with at least one landmark."""
    absolute_chance: float
    """Σ|r| with the depths of other images: the mean over permutations of the images."""
    absolute_chance_95: float
    """The 95th percentile of the same: a Σ|r| above it is not chance."""

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
) -> Float[np.ndarray, " landmarks"]:
    """Compute Pearson's correlation of each landmark's depth with the true one, over images that have both.

    NaN where fewer than two do, and where either depth is the same in all of them.
    """
    seen = np.isfinite(depths) & np.isfinite(true_depths)
    return np.array(
        [correlation(depths[own, place], true_depths[own, place]) for place, own in enumerate(seen.T)]
    )


def independent_level(images: int) -> float:
    """Return the mean of |r| of two independent normal variables over n images: Γ((n−1)/2) / (√π·Γ(n/2)).

    From the density of r, ∝ (1 − r²)^((n−4)/2) (Fisher 1915). Times the number of landmarks it is the chance
    level of Σ|r|. NaN below two images, and 1 with two: any two points are on a line.
    """
    if images < 2:
        return math.nan
    return float(np.exp(gammaln((images - 1) / 2) - gammaln(images / 2)) / math.sqrt(math.pi))


def relative_depths(
    depths: Float[np.ndarray, "images landmarks"], true_depths: Float[np.ndarray, "images landmarks"]
) -> tuple[Float[np.ndarray, "images landmarks"], Float[np.ndarray, "images landmarks"]]:
    """Subtract from both depths their mean over the landmarks of the image that have both; NaN at the others.

    The distance of the object says nothing about its shape, and data sets give depth up to a shift. An image
    with only one landmark is all NaN.
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
) -> Float[np.ndarray, " landmarks"]:
    """Read a depth map in the pixel of each landmark; NaN outside the image and where it is not finite.

    Args:
        depth: a z-depth map.
        landmarks: in its pixels, pixel centers at +0.5.
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
    """Compute the baseline of one shape for all: depths of the canonical landmarks in each camera."""
    apart = cameras[:, None, :3, 3] - canonical_landmarks
    return np.einsum("nmk,nk->nm", apart, cameras[:, :3, 2])


def silhouette_iou(
    accumulation: Float[Tensor, "height width"], matte: Float[Tensor, "height width"]
) -> float:
    """Compute the intersection over union of the pixels above ½; NaN where neither has any."""
    nothing = not bool((accumulation > 0.5).any() or (matte > 0.5).any())
    return math.nan if nothing else float(mask_iou(accumulation, matte))


def normal_error(
    normals: Float[Tensor, "height width 3"],
    true_normals: Float[Tensor, "height width 3"],
    matte: Float[Tensor, "height width"],
) -> float:
    """Compute the mean angle in degrees between normals of one frame.

    It is taken over the pixels of matte above ½ that have both normals.

    A normal exists where it is finite and not zero; its length need not be 1. NaN where no pixel has both.
    What a render lacks is measured by the silhouettes.
    """
    first, second = (values.double() for values in (normals, true_normals))
    lengths = first.norm(dim=-1) * second.norm(dim=-1)
    judged = (matte > 0.5) & torch.isfinite(lengths) & (lengths > 0)
    first, second = first[judged], second[judged]
    # The arc cosine would be inexact for small angles.
    sines, cosines = torch.linalg.cross(first, second).norm(dim=-1), (first * second).sum(dim=-1)
    return float(torch.rad2deg(torch.atan2(sines, cosines)).mean())


def normals_of_colors(colors: Float[Tensor, "height width 3"]) -> Float[Tensor, "height width 3"]:
    """Return normals from the model's output `normals`, colors in [0, 1]; zero where a render is empty."""
    normals = 2.0 * colors - 1.0
    return torch.where(normals.norm(dim=-1, keepdim=True) > 0.5, normals, 0.0)


def normals_of_depth(
    depth: Float[Tensor, "height width"], camera: Cameras
) -> Float[Tensor, "height width 3"]:
    """Compute unit normals, in the world's frame, of the surface that a depth map shows.

    Central differences of the points that the pixels see. NaN at the image's edge and beside pixels without a
    finite depth. Depths stored in float16 change a normal by a few degrees.

    Args:
        depth: z-depth.
        camera: the camera, of shape (1,).
    """
    camera = camera.to(depth.device)
    points = points_of_depth(depth, camera)
    normals = torch.full_like(points, math.nan)
    across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    crossed = torch.linalg.cross(down, across)
    normals[1:-1, 1:-1] = F.normalize(crossed, dim=-1) * torch.isfinite(depth[1:-1, 1:-1, None])
    return torch.where(torch.isfinite(depth)[..., None], normals, math.nan)


def points_of_depth(depth: Float[Tensor, "height width"], camera: Cameras) -> Float[Tensor, "height width 3"]:
    """Return the points, in the world's frame, that the pixels of a camera of shape (1,) see at z-depths."""
    rays = camera.generate_rays(camera_indices=0, keep_shape=True)
    along = rays.directions @ -camera.camera_to_worlds[0, :, 2].to(rays.directions)
    return rays.origins + rays.directions * (depth / along)[..., None]


def camera_error(fitted: Float[np.ndarray, "n 4 4"], true: Float[np.ndarray, "n 4 4"]) -> dict[str, float]:
    """Compute the errors of cameras after one similarity for all; see `nerfgen_ns.cameras.alignment`.

    All NaN below three cameras: the similarity aligns one camera exactly with the truth, and two almost.
    """
    finite = np.isfinite(fitted).all(axis=(1, 2)) & np.isfinite(true).all(axis=(1, 2))
    if finite.sum() < 3:
        return {name: math.nan for name in camera_errors(np.eye(4)[None], np.eye(4)[None])}
    return camera_errors(fitted[finite], true[finite])


HIDDEN = 0.01
"""Share of its depth by which a point must be behind a view's surface to count as hidden from it."""


class Agreement(NamedTuple):
    """How two views agree."""

    psnr: float
    """PSNR in dB of the colors of the surface points that both views show; NaN where there is none."""
    share: float
    """Share of the first view's foreground pixels whose point the second shows; NaN where it has none."""


def view_agreement(
    first: dict[str, Float[Tensor, "height width channels"]],
    first_camera: Cameras,
    second: dict[str, Float[Tensor, "height width channels"]],
    second_camera: Cameras,
) -> Agreement:
    """Compare the colors of each surface point as two views of one object show it.

    This measure is ours.

    It is the warping error of Lai et al., "Learning blind video temporal consistency" (ECCV 2018), with the
    rendered depth in the place of optical flow: the first view's pixels, where the object is, are moved into
    space by their depth and from there into the second view, whose colors are read there. Points behind the
    second view's surface are hidden and left out. It needs no network that recognizes faces, and suits every
    class. Fog, and a surface that the views place differently, lower it.

    Args:
        first: outputs of the model: `foreground`, `accumulation` and `depth`, the distance along the ray.
        first_camera: of shape (1,).
        second: the other view's outputs.
        second_camera: of shape (1,).
    """
    both, place = surface_seen_again(first, first_camera, second, second_camera)
    # Of the object alone, so that the silhouette's pixels are not mixed with what is behind it.
    seen = _look_up(torch.cat([second["foreground"], second["accumulation"]], dim=-1), place)
    colors = seen[..., :3] / seen[..., 3:].clamp(min=0.5)
    own = first["foreground"][both] / first["accumulation"][both]
    pixels = int((first["accumulation"] > 0.5).sum())
    return Agreement(float(psnr(colors[both], own)), int(both.sum()) / pixels if pixels else math.nan)


def surface_seen_again(
    first: dict[str, Float[Tensor, "height width channels"]],
    first_camera: Cameras,
    second: dict[str, Float[Tensor, "height width channels"]],
    second_camera: Cameras,
) -> tuple[Bool[Tensor, "height width"], Float[Tensor, "height width 2"]]:
    """Return which pixels of a view show a surface point that another shows too, and their places there.

    For the arguments see `view_agreement`; places are in pixels of the second view.
    """
    rays = first_camera.to(first["depth"].device).generate_rays(camera_indices=0, keep_shape=True)
    place, depth = project_tensors(second_camera, rays.origins + rays.directions * first["depth"])
    shown = second["accumulation"]
    surface = shown * z_depth(second["depth"][..., 0], second_camera)[..., None]
    seen, accumulation = _look_up(torch.cat([surface, shown], dim=-1), place).unbind(-1)
    height, width = shown.shape[:2]
    inside = ((place >= 0.0) & (place <= place.new_tensor([width, height]))).all(dim=-1) & (depth > 0.0)
    foreground = first["accumulation"][..., 0] > 0.5
    behind = depth - seen / accumulation.clamp(min=0.5)
    return foreground & inside & (accumulation > 0.5) & (behind <= HIDDEN * depth), place


def _look_up(
    values: Float[Tensor, "height width channels"], place: Float[Tensor, "rows columns 2"]
) -> Float[Tensor, "rows columns channels"]:
    height, width = values.shape[:2]
    grid = 2.0 * place / place.new_tensor([width, height]) - 1.0
    read = F.grid_sample(
        values.permute(2, 0, 1)[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return read[0].permute(1, 2, 0)
