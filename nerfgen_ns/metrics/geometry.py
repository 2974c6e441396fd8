"""Metrics of shape: silhouettes, normals, cameras, and whether two views show one surface."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.cameras.alignment import camera_errors
from nerfgen_ns.cameras.projection import project_tensors
from nerfgen_ns.metrics.depth import z_depth
from nerfgen_ns.metrics.images import mask_iou, psnr


def silhouette_iou(
    accumulation: Float[Tensor, "height width"], matte: Float[Tensor, "height width"]
) -> float:
    """Intersection over union of the pixels where each exceeds ½; NaN where neither does anywhere."""
    nothing = not bool((accumulation > 0.5).any() or (matte > 0.5).any())
    return math.nan if nothing else float(mask_iou(accumulation, matte))


def normal_error(
    normals: Float[Tensor, "height width 3"],
    true_normals: Float[Tensor, "height width 3"],
    matte: Float[Tensor, "height width"],
) -> float:
    """Mean angle in degrees between normals of one frame, over the pixels of matte above ½ that have both.

    A normal is there where it is finite and not zero; it need not be of length 1. NaN where no pixel has
    both: what a render lacks, the silhouettes tell.
    """
    first, second = (values.double() for values in (normals, true_normals))
    lengths = first.norm(dim=-1) * second.norm(dim=-1)
    judged = (matte > 0.5) & torch.isfinite(lengths) & (lengths > 0)
    first, second = first[judged], second[judged]
    # Not by the arc cosine, which loses small angles.
    sines, cosines = torch.linalg.cross(first, second).norm(dim=-1), (first * second).sum(dim=-1)
    return float(torch.rad2deg(torch.atan2(sines, cosines)).mean())


def normals_of_colors(colors: Float[Tensor, "height width 3"]) -> Float[Tensor, "height width 3"]:
    """Normals from the model's output `normals`, colors in [0, 1]: zero where a render shows nothing."""
    normals = 2.0 * colors - 1.0
    return torch.where(normals.norm(dim=-1, keepdim=True) > 0.5, normals, 0.0)


def normals_of_depth(
    depth: Float[Tensor, "height width"], camera: Cameras
) -> Float[Tensor, "height width 3"]:
    """Unit normals, in the world's frame, of the surface that a depth map shows.

    Central differences of the points that the pixels see. NaN at the image's edge and beside pixels without a
    finite depth. Depths that were stored in float16 let a normal turn by a few degrees.

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
    """The points, in the world's frame, that the pixels of a camera of shape (1,) see at given z-depths."""
    rays = camera.generate_rays(camera_indices=0, keep_shape=True)
    along = rays.directions @ -camera.camera_to_worlds[0, :, 2].to(rays.directions)
    return rays.origins + rays.directions * (depth / along)[..., None]


def camera_error(fitted: Float[np.ndarray, "n 4 4"], true: Float[np.ndarray, "n 4 4"]) -> dict[str, float]:
    """The errors of fitted cameras after one similarity for all; see `nerfgen_ns.cameras.alignment`.

    All NaN below three cameras: the similarity would take one exactly onto the truth, and nearly so two.
    """
    finite = np.isfinite(fitted).all(axis=(1, 2)) & np.isfinite(true).all(axis=(1, 2))
    if finite.sum() < 3:
        return {name: math.nan for name in camera_errors(np.eye(4)[None], np.eye(4)[None])}
    return camera_errors(fitted[finite], true[finite])


HIDDEN = 0.01
"""Of its depth: so far behind the surface that a view shows, a point counts as hidden from it."""


class Agreement(NamedTuple):
    """How two views agree."""

    psnr: float
    """PSNR in dB of the colors of the surface points that both views show; NaN where there is none."""
    share: float
    """Of the first view's foreground pixels, those whose point the second shows; NaN where it has none."""


def view_agreement(
    first: dict[str, Float[Tensor, "height width channels"]],
    first_camera: Cameras,
    second: dict[str, Float[Tensor, "height width channels"]],
    second_camera: Cameras,
) -> Agreement:
    """Compare the colors of each surface point as two views of one object show it. Ours.

    It is the warping error of Lai et al., "Learning blind video temporal consistency" (ECCV 2018), with the
    rendered depth in the place of optical flow: the first view's pixels, where the object is, are moved into
    space by their depth and from there into the second view, whose colors are read there. Points that lie
    behind the second view's surface are hidden and left out. It needs no network that recognizes faces, and
    suits every class. Fog, and a surface that the views place differently, lower it.

    Args:
        first: outputs of the model: `foreground`, `accumulation` and `depth`, the distance along the ray.
        first_camera: of shape (1,).
        second: the other view's outputs.
        second_camera: of shape (1,).
    """
    rays = first_camera.to(first["depth"].device).generate_rays(camera_indices=0, keep_shape=True)
    place, depth = project_tensors(second_camera, rays.origins + rays.directions * first["depth"])
    shown = second["accumulation"]
    surface = shown * z_depth(second["depth"][..., 0], second_camera)[..., None]
    seen = _look_up(torch.cat([second["foreground"], surface, shown], dim=-1), place)
    # Of the object alone, so that the silhouette's pixels are no mixture with what lies behind it.
    seen, accumulation = seen[..., :4] / seen[..., 4:].clamp(min=0.5), seen[..., 4]
    height, width = shown.shape[:2]
    inside = ((place >= 0.0) & (place <= place.new_tensor([width, height]))).all(dim=-1) & (depth > 0.0)
    foreground = first["accumulation"][..., 0] > 0.5
    both = foreground & inside & (accumulation > 0.5) & (depth - seen[..., 3] <= HIDDEN * depth)
    own = first["foreground"][both] / first["accumulation"][both]
    pixels = int(foreground.sum())
    return Agreement(float(psnr(seen[..., :3][both], own)), int(both.sum()) / pixels if pixels else math.nan)


def _look_up(
    values: Float[Tensor, "height width channels"], place: Float[Tensor, "rows columns 2"]
) -> Float[Tensor, "rows columns channels"]:
    height, width = values.shape[:2]
    grid = 2.0 * place / place.new_tensor([width, height]) - 1.0
    read = F.grid_sample(
        values.permute(2, 0, 1)[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return read[0].permute(1, 2, 0)
