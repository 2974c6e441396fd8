"""The solid of an object on a lattice, evaluated finely only near its surfaces."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.meshing.object_field import CHUNK, ObjectField

Progress = Callable[[int, int], None]

BLOCK = 4
"""Cells along each side of the blocks of which a first, coarse look decides whether to look closer."""
FINE_FROM = 96
"""Points along a side from which there is a coarse look; with fewer, every point is evaluated."""
STEEPEST = 10.0
"""Largest solidity."""
MOST_CAMERAS = 1024
"""Photographs that are asked what they show, evenly spread."""
VIEW_MARGIN = 0.02
"""How far beyond its border a photograph is taken to show, as a share of its width."""
VIEW_STEEPNESS = 100.0
"""How steeply solidity falls across the border of what is in view, per width of a photograph: about as much
as across a surface of a trained class."""


def solidity(density: Float[Tensor, "*n"], level: float) -> Float[Tensor, "*n"]:
    """How far inside the solid of densities above `level` a position is: in [−10, 10], 0 at its surface.

    Undoes the activation of the density. What remains changes evenly across a surface, where a density is
    flat outside and steep inside, so that linear interpolation finds the surface between lattice points. The
    bounds, alike on both sides, put it midway where it is sharper than the lattice.
    """
    scaled = (density / 10.0).clamp(min=1e-9)
    threshold = level / 10.0
    excess = scaled + (-torch.expm1(-scaled)).log() - threshold - math.log(-math.expm1(-threshold))
    return excess.clamp(-STEEPEST, STEEPEST)


def solid_lattice(
    field: ObjectField,
    coordinates: Float[Tensor, "n"],
    level: float,
    cameras: Cameras | None = None,
    progress: Progress | None = None,
) -> Float[Tensor, "n n n"]:
    """Solidity at all points whose x, y and z are among evenly spaced coordinates; axes in this order.

    A coarse look comes first. Where its blocks hold no surface and lie off the class's occupancy, and so do
    their neighbours, solidity is interpolated. Nothing is left out: training finds surfaces where photographs
    see them, and objects go on behind.

    Args:
        field: the object.
        coordinates: x, y and z of the points, rising, within [−1, 1].
        level: density of the surface.
        cameras: cut off what none of these photographs could show; if not set, nothing.
        progress: called with the number of positions evaluated and their total.
    """
    points = len(coordinates)
    size = BLOCK if points >= FINE_FROM else 1
    # The last blocks may reach past the last point; what they add there is cut off again.
    blocks = math.ceil((points - 1) / size)
    spacing = (coordinates[-1] - coordinates[0]) / (points - 1)
    corners = coordinates[0] + torch.arange(blocks + 1, device=field.device) * size * spacing
    positions = torch.cartesian_prod(corners, corners, corners)
    shape = (blocks + 1,) * 3
    coarse = solidity(_in_chunks(field.density, positions), level).view(shape)
    lattice = _interpolate(coarse, size, points)
    if cameras is not None:
        view = (VIEW_STEEPNESS * (in_view(positions, cameras) + VIEW_MARGIN)).view(shape)
        coarse = torch.minimum(coarse, view)
    if size > 1:
        looked_at = _points_of_blocks(_blocks_to_refine(field, coarse, corners), points)
        places = coordinates[looked_at.nonzero()]
        lattice[looked_at] = solidity(_in_chunks(field.density, places, progress), level)
    return lattice if cameras is None else torch.minimum(lattice, _interpolate(view, size, points))


def in_view(positions: Float[Tensor, "n 3"], cameras: Cameras) -> Float[Tensor, "n"]:
    """How far inside the photograph that shows it best each position is, as a share of that one's width.

    Negative: how far outside the nearest of all photographs. What stands in between is not asked.
    """
    chosen = torch.linspace(0, len(cameras) - 1, min(len(cameras), MOST_CAMERAS)).round().long()
    cameras = cameras[chosen].to(positions.device)
    best = torch.full_like(positions[:, 0], -1.0)
    for photograph in range(len(cameras)):
        own = cameras[photograph]
        pose = own.camera_to_worlds
        x, y, z = ((positions - pose[:, 3]) @ pose[:, :3]).unbind(-1)
        depth = (-z).clamp(min=1e-6)
        column, row = own.cx + own.fx * x / depth, own.cy - own.fy * y / depth
        sides = torch.stack([column, own.width - column, row, own.height - row])
        best = torch.maximum(best, torch.where(z < 0, sides.amin(dim=0) / own.width, -1.0))
    return best


def _in_chunks(
    function: Callable[[Tensor], Tensor], positions: Float[Tensor, "n 3"], progress: Progress | None = None
) -> Float[Tensor, "n"]:
    values = torch.empty_like(positions[:, 0])
    with torch.no_grad():
        for start in range(0, len(positions), CHUNK):
            values[start : start + CHUNK] = function(positions[start : start + CHUNK])
            if progress is not None:
                progress(min(start + CHUNK, len(positions)), len(positions))
    return values


def _interpolate(corners: Float[Tensor, "a a a"], size: int, points: int) -> Float[Tensor, "n n n"]:
    """Values within blocks of `size` cells from those at the blocks' corners."""
    sides = ((len(corners) - 1) * size + 1,) * 3
    fine = F.interpolate(corners[None, None], size=sides, mode="trilinear", align_corners=True)[0, 0]
    return fine[:points, :points, :points].contiguous()


def _blocks_to_refine(
    field: ObjectField, coarse: Float[Tensor, "a a a"], corners: Float[Tensor, "a"]
) -> Bool[Tensor, "b b b"]:
    """Blocks with a surface or with the class's occupancy, and their neighbours."""
    highest = F.max_pool3d(coarse[None, None], 2, stride=1)[0, 0]
    lowest = -F.max_pool3d(-coarse[None, None], 2, stride=1)[0, 0]
    chosen = (highest > 0) & (lowest < 0)
    if field.near_class is not None:
        middles = 0.5 * (corners[1:] + corners[:-1])
        chosen |= field.near_class(torch.cartesian_prod(middles, middles, middles)).view(chosen.shape)
    return F.max_pool3d(chosen.float()[None, None], 3, stride=1, padding=1)[0, 0] > 0


def _points_of_blocks(chosen: Bool[Tensor, "b b b"], points: int) -> Bool[Tensor, "n n n"]:
    """The points in the chosen blocks, their borders included."""
    cells = chosen.float()
    for axis in range(3):
        cells = cells.repeat_interleave(BLOCK, dim=axis)
    inside = F.max_pool3d(F.pad(cells[None, None], (1,) * 6), 2, stride=1)[0, 0] > 0
    return inside[:points, :points, :points]
