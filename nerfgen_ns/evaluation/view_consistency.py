"""Whether two views of one object show one surface with the same colours."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.evaluation.depth_maps import z_depth
from nerfgen_ns.evaluation.image_metrics import psnr

HIDDEN = 0.01
"""Of its depth: so far behind the surface that a view shows, a point counts as hidden from it."""


class Agreement(NamedTuple):
    """How two views agree."""

    psnr: float
    """PSNR in dB of the colours of the surface points that both views show; NaN where there is none."""
    share: float
    """Of the first view's foreground pixels, those whose point the second shows; NaN where it has none."""


def view_agreement(
    first: dict[str, Float[Tensor, "height width channels"]],
    first_camera: Cameras,
    second: dict[str, Float[Tensor, "height width channels"]],
    second_camera: Cameras,
) -> Agreement:
    """Compare the colours of each surface point as two views of one object show it. Ours.

    It is the warping error of Lai et al., "Learning blind video temporal consistency" (ECCV 2018), with the
    rendered depth in the place of optical flow: the first view's pixels, where the object is, are moved into
    space by their depth and from there into the second view, whose colours are read there. Points that lie
    behind the second view's surface are hidden and left out. It needs no network that recognises faces, and
    suits every class. Fog, and a surface that the views place differently, lower it.

    Args:
        first: outputs of the model: `foreground`, `accumulation` and `depth`, the distance along the ray.
        first_camera: of shape (1,).
        second: the other view's outputs.
        second_camera: of shape (1,).
    """
    rays = first_camera.to(first["depth"].device).generate_rays(camera_indices=0, keep_shape=True)
    place, depth = project(rays.origins + rays.directions * first["depth"], second_camera)
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


def project(
    points: Float[Tensor, "height width 3"], camera: Cameras
) -> tuple[Float[Tensor, "height width 2"], Float[Tensor, "height width"]]:
    """The pixels, their centres at +0.5, where a camera of shape (1,) sees points, and their z-depths."""
    matrix = camera.camera_to_worlds[0].to(points)
    local = (points - matrix[:, 3]) @ matrix[:, :3]
    depth = -local[..., 2]
    scale = torch.stack([camera.fx[0, 0], -camera.fy[0, 0]]).to(points)
    centre = torch.stack([camera.cx[0, 0], camera.cy[0, 0]]).to(points)
    return centre + scale * local[..., :2] / depth[..., None], depth


def _look_up(
    values: Float[Tensor, "height width channels"], place: Float[Tensor, "rows columns 2"]
) -> Float[Tensor, "rows columns channels"]:
    height, width = values.shape[:2]
    grid = 2.0 * place / place.new_tensor([width, height]) - 1.0
    read = F.grid_sample(
        values.permute(2, 0, 1)[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return read[0].permute(1, 2, 0)
