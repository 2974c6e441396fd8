"""Depth maps: from distances along rays to depths along the optical axis, and made smaller."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor


def z_depth(distance: Float[Tensor, "height width"], camera: Cameras) -> Float[Tensor, "height width"]:
    """Distances along the rays of one camera, of shape (1,), as depths along its optical axis."""
    directions = camera.generate_rays(camera_indices=0, keep_shape=True).directions
    return distance * (directions @ -camera.camera_to_worlds[0, :, 2].to(directions))


def shrink_depth(depth: Float[np.ndarray, "height width"], factor: int) -> Float[np.ndarray, "rows columns"]:
    """A depth map made smaller: of each block the lower median.

    It is a depth of the surface that fills most of the block and never a mixture of two; infinite where the
    background fills more than half.
    """
    rows, columns = depth.shape[0] // factor, depth.shape[1] // factor
    blocks = depth[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    ordered = np.sort(blocks.transpose(0, 2, 1, 3).reshape(rows, columns, -1), axis=-1)
    return ordered[..., (factor * factor - 1) // 2]
