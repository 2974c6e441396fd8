"""Metrics of shape where the truth is known. NaN where they are not defined."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.camera_alignment import camera_errors
from nerfgen_ns.evaluation.image_metrics import mask_iou


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


def normals_of_colours(colours: Float[Tensor, "height width 3"]) -> Float[Tensor, "height width 3"]:
    """Normals from the model's output `normals`, colours in [0, 1]: zero where a render shows nothing."""
    normals = 2.0 * colours - 1.0
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
    """The errors of fitted cameras after one similarity for all; see `nerfgen_ns.camera_alignment`.

    All NaN below three cameras: the similarity would take one exactly onto the truth, and nearly so two.
    """
    finite = np.isfinite(fitted).all(axis=(1, 2)) & np.isfinite(true).all(axis=(1, 2))
    if finite.sum() < 3:
        return {name: math.nan for name in camera_errors(np.eye(4)[None], np.eye(4)[None])}
    return camera_errors(fitted[finite], true[finite])
