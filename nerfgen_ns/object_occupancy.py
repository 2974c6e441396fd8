"""Which cells of the class one of its objects fills: where samples fall when that object is rendered."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from nerfgen_ns.fields.foreground import ForegroundField, LatentTerms
from nerfgen_ns.occupancy_grid import OccupancyGrid, with_margin

SMALLEST_OPTICAL_DEPTH = 0.005
"""Of a cell that counts as filled: less is not seen even where a dozen such cells lie behind each other."""


class ObjectOccupancy:
    """The part of the class's grid that one object fills, found anew when object, field or grid have changed.

    A view of an object takes tens of thousands of rays, and the grid a few of them: it pays even when
    something changes before every view.

    Args:
        field: the foreground field.
        occupancy: the grid of the class.
    """

    def __init__(self, field: ForegroundField, occupancy: OccupancyGrid) -> None:
        self._field = field
        self._occupancy = occupancy
        self._latest: tuple[LatentTerms, list[tuple[int, torch.device]], OccupancyGrid] | None = None

    @torch.no_grad()
    def __call__(self, terms: LatentTerms) -> OccupancyGrid:
        """The grid of the object of these latent terms, which are of a single code."""
        sources: list[Tensor] = [*self._field.parameters(), self._occupancy.occupied]
        state = [(tensor._version, tensor.device) for tensor in sources]
        # Read once: another thread may put the grid of another object there at any time.
        latest = self._latest
        # In this order: codes on two devices cannot be compared.
        if latest is not None and latest[1] == state and all(map(torch.equal, latest[0], terms)):
            return latest[2]
        grid = self._find(terms)
        self._latest = (terms, state, grid)
        return grid

    def _find(self, terms: LatentTerms) -> OccupancyGrid:
        centres, cells = self._occupancy.centres()
        density = self._field.density(centres[None], terms)[0]
        filled = torch.zeros_like(self._occupancy.occupied)
        cell_size = 2.0 / self._occupancy.resolution
        filled.view(-1)[cells] = (density * cell_size > SMALLEST_OPTICAL_DEPTH).float()
        grid = copy.copy(self._occupancy)
        grid._buffers = {**grid._buffers, "occupied": with_margin(filled) * self._occupancy.occupied}
        return grid
