"""The depth that training rays found at their last visit, near each pixel of each photograph."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn

from nerfgen_ns.rendering.volume_rendering import VISIBLE

CELLS = 32
"""Cells along each side of a photograph that keep one depth each."""
SPREAD = 0.06
"""Standard deviation of the samples around a depth, in units of the class frame: how much the depth changes
within a cell, and between two visits."""
ELSEWHERE = 0.1
"""How densely the rest of the class is sampled, where it is 1 at the depth of the last visit."""


class DepthMemory(nn.Module):
    """A coarse depth map of each photograph that has trained, from the rays' own depths.

    Most of the class's shell is empty for a single object. Two bytes for each of a photograph's cells tell
    where its surface was; samples are drawn there, and a few everywhere, so that surfaces can still move.
    It is no part of a checkpoint, and takes no memory before the first training step.

    Args:
        num_photographs: how many photographs train.
    """

    depths: Float[Tensor, "photographs cells"]

    def __init__(self, num_photographs: int) -> None:
        super().__init__()
        self.num_photographs = num_photographs
        self.register_buffer("depths", torch.zeros(0, CELLS * CELLS, dtype=torch.half), persistent=False)

    @torch.no_grad()
    def narrow(
        self,
        rays: RayBundle,
        edges: Float[Tensor, "rays bins+1"],
        occupied: Float[Tensor, "rays bins"],
    ) -> Float[Tensor, "rays bins"]:
        """Return the occupancy of each bin, lower where it is far from the depth of the last visit.

        Rays of no photograph, and those whose cell has not found a surface, keep theirs.
        """
        if not _are_of_photographs(rays):
            return occupied
        if len(self.depths) == 0:
            self.depths = self.depths.new_zeros(self.num_photographs, CELLS * CELLS)
        photograph, cell = self._places(rays)
        depth = self.depths[photograph, cell].float()[:, None]
        middles = 0.5 * (edges[:, 1:] + edges[:, :-1])
        near = torch.exp(-0.5 * ((middles - depth) / SPREAD).square())
        return occupied * torch.where(depth > 0.0, ELSEWHERE + (1.0 - ELSEWHERE) * near, 1.0)

    @torch.no_grad()
    def keep(
        self, rays: RayBundle, depth: Float[Tensor, "rays 1"], accumulation: Float[Tensor, "rays 1"]
    ) -> None:
        """Keep the depth that each ray has found; 0 where it has not met a surface."""
        if not _are_of_photographs(rays) or len(self.depths) == 0:
            return
        found = torch.where(accumulation > VISIBLE, depth, 0.0)[:, 0]
        self.depths[self._places(rays)] = found.to(self.depths.dtype)

    def _places(self, rays: RayBundle) -> tuple[Int[Tensor, " rays"], Int[Tensor, " rays"]]:
        photograph = rays.metadata["photograph"][:, 0]
        row, column = (rays.metadata["pixel"] * CELLS).long().clamp_(0, CELLS - 1).unbind(-1)
        return photograph, row * CELLS + column


def _are_of_photographs(rays: RayBundle) -> bool:
    return "photograph" in rays.metadata and "pixel" in rays.metadata
