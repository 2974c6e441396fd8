"""Where samples are drawn: a grid of the surfaces of all identities, and the cells that one object fills."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.model_components.ray_samplers import Sampler
from torch import Tensor, nn

from nerfgen_ns.fields.foreground import ForegroundField, LatentTerms

RIM, INTERIOR = 0.5, 0.7
"""Share of occupied cells around a position at which the class ends, and from which it is all there."""


class OccupancyGrid(nn.Module):
    """Which cells of [−1, 1]³ hold a visible surface of any identity, or are next to one that does.

    An occupancy grid (Müller et al., "Instant NGP", 2022, appendix C) of a whole class: each cell keeps the
    largest rendering weight that recent samples of any identity had in it. Unlike a density this is low
    inside objects as well as outside, so that samples are spent on surfaces. The margin of one cell matters:
    without it the surfaces of all identities stay in the cells that were found first.

    Args:
        resolution: cells along each side.
        decay: what a cell's weight keeps of itself each update.
        threshold: weight from which a cell counts as occupied.
    """

    weights: Float[Tensor, "x y z"]
    occupied: Float[Tensor, "x y z"]

    def __init__(self, resolution: int, decay: float, threshold: float) -> None:
        super().__init__()
        self.resolution = resolution
        self.decay = decay
        self.threshold = threshold
        self.register_buffer("weights", torch.ones(resolution, resolution, resolution))
        self.register_buffer("occupied", torch.ones(resolution, resolution, resolution))
        self._surroundings: tuple[int, Tensor] | None = None

    def cells(self, positions: Float[Tensor, "*batch 3"]) -> Int[Tensor, "*batch"]:
        """Return the flat number of each position's cell; positions outside get the nearest cell."""
        places = ((positions * 0.5 + 0.5) * self.resolution).long()
        return self._flat(places.clamp_(0, self.resolution - 1))

    def forward(self, positions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """Return 1 where the class is, else 0."""
        return self.occupied.view(-1)[self.cells(positions)]

    def along(
        self,
        origins: Float[Tensor, "rays 3"],
        directions: Float[Tensor, "rays 3"],
        distances: Float[Tensor, "rays bins"],
    ) -> Float[Tensor, "rays bins"]:
        """Look up `forward` at distances along rays, axis by axis: three times as fast as by positions."""
        half = 0.5 * self.resolution
        cells: Tensor | int = 0
        for origin, direction in zip((origins * half + half).T, (directions * half).T, strict=True):
            places = torch.addcmul(origin[:, None], direction[:, None], distances)
            cells = cells * self.resolution + places.clamp_(0, self.resolution - 1).int()
        assert isinstance(cells, Tensor)
        return self.occupied.view(-1)[cells]

    def presence(self, positions: Float[Tensor, "rays samples 3"]) -> Float[Tensor, "rays samples"]:
        """Return 1 among occupied cells, falling smoothly to 0 in the outer half of the margin around them.

        Behind what photographs show, a field may have any density. A cut at the grid's cells gives it steps,
        and isolated cells show debris: so the share of occupied cells around a position decides.
        """
        version = self.occupied._version
        found = self._surroundings
        if found is None or found[0] != version or found[1].device != self.occupied.device:
            found = self._surroundings = (version, _share_around(self.occupied))
        surroundings = found[1]
        # grid_sample takes the last axis for x, which is the grid's first, and divides its work by rays.
        places = positions.flip(-1)[:, :, None, None]
        grids = surroundings.expand(len(positions), 1, -1, -1, -1)
        share = F.grid_sample(grids, places, padding_mode="border", align_corners=False)[:, 0, :, 0, 0]
        part = ((share - RIM) / (INTERIOR - RIM)).clamp(0.0, 1.0)
        return part * part * (3.0 - 2.0 * part)

    def centers(self) -> tuple[Float[Tensor, "cells 3"], Int[Tensor, " cells"]]:
        """Return the middles of all occupied cells, and the cells' flat numbers."""
        places = self.occupied.nonzero()
        return (places + 0.5) * (2.0 / self.resolution) - 1.0, self._flat(places)

    def _flat(self, places: Int[Tensor, "*batch 3"]) -> Int[Tensor, "*batch"]:
        x, y, z = places.unbind(-1)
        return (x * self.resolution + y) * self.resolution + z

    @torch.no_grad()
    def update(self, positions: Float[Tensor, "*batch 3"], weights: Float[Tensor, "*batch"]) -> None:
        """Let all weights decay, and raise those of the samples' cells to the samples' weights."""
        self.weights.mul_(self.decay)
        self.weights.view(-1).scatter_reduce_(
            0, self.cells(positions).flatten(), weights.flatten(), reduce="amax"
        )

    @torch.no_grad()
    def mark(self) -> None:
        """Mark again which cells are occupied."""
        self.occupied.copy_(with_margin((self.weights > self.threshold).float()))


def with_margin(occupied: Float[Tensor, "x y z"]) -> Float[Tensor, "x y z"]:
    """Return the occupied cells, and those that touch one."""
    return F.max_pool3d(occupied[None, None], kernel_size=3, stride=1, padding=1)[0, 0]


def _share_around(occupied: Float[Tensor, "x y z"]) -> Float[Tensor, "x y z"]:
    """Compute the share of occupied cells up to two cells away along each axis; near ones count more."""
    share = occupied[None, None]
    for _ in range(2):
        share = F.avg_pool3d(share, kernel_size=3, stride=1, padding=1, count_include_pad=False)
    return share[0, 0]


class ImportanceSampler(Sampler):
    """Draws samples evenly along the occupied parts of each ray, and a few elsewhere, on any device.

    Inverse transform sampling of a piecewise constant density, as in "NeRF" (ECCV 2020), section 5.2, but the
    density comes from a grid that all identities share rather than from a coarse network.

    Args:
        occupancy: the grid.
        num_samples: samples a ray.
        num_bins: bins a ray in which the grid is looked up.
        floor: density of samples outside the class, where it is 1 inside.
    """

    def __init__(
        self, occupancy: OccupancyGrid, num_samples: int, num_bins: int = 48, floor: float = 0.02
    ) -> None:
        super().__init__(num_samples=num_samples)
        self.occupancy = occupancy
        self.num_bins = num_bins
        self.floor = floor

    @torch.no_grad()
    def look_up(
        self, ray_bundle: RayBundle, occupancy: OccupancyGrid | None = None
    ) -> tuple[Float[Tensor, "rays bins+1"], Float[Tensor, "rays bins"]]:
        """Return edges of evenly spaced bins between each ray's near and far, and the occupancy of each bin.

        The occupancy is the sampler's own unless another grid is given.
        """
        assert ray_bundle.nears is not None and ray_bundle.fars is not None
        bins = torch.linspace(0.0, 1.0, self.num_bins + 1, device=ray_bundle.origins.device)
        edges = ray_bundle.nears + (ray_bundle.fars - ray_bundle.nears) * bins
        centers = 0.5 * (edges[:, 1:] + edges[:, :-1])
        return edges, (occupancy or self.occupancy).along(ray_bundle.origins, ray_bundle.directions, centers)

    def generate_ray_samples(
        self,
        ray_bundle: RayBundle | None = None,
        edges: Float[Tensor, "rays bins+1"] | None = None,
        occupied: Float[Tensor, "rays bins"] | None = None,
        num_samples: int | None = None,
    ) -> RaySamples:
        """Return samples between each ray's near and far, jittered in training, else at fixed quantiles.

        Their distances along the ray have no gradient. Their positions have one: it reaches the ray's origin
        and direction.
        """
        count = num_samples or self.num_samples
        assert ray_bundle is not None and count is not None
        if edges is None or occupied is None:
            edges, occupied = self.look_up(ray_bundle)
        bounds = self._bounds(edges, occupied, count)
        return ray_bundle.get_ray_samples(bin_starts=bounds[:, :-1, None], bin_ends=bounds[:, 1:, None])

    @torch.no_grad()
    def _bounds(
        self, edges: Float[Tensor, "rays bins+1"], occupied: Float[Tensor, "rays bins"], count: int
    ) -> Float[Tensor, "rays samples+1"]:
        """Find where along its ray each sample begins and ends, without a gradient."""
        quantiles = torch.linspace(0.0, 1.0, count + 1, device=edges.device).repeat(len(edges), 1)
        if self.training:
            quantiles[:, 1:-1] += (torch.rand_like(quantiles[:, 1:-1]) - 0.5) * (0.98 / count)
        return inverse_transform(occupied + self.floor, edges, quantiles)


def inverse_transform(
    importance: Float[Tensor, "rays bins"],
    edges: Float[Tensor, "rays bins+1"],
    quantiles: Float[Tensor, "rays samples"],
) -> Float[Tensor, "rays samples"]:
    """Find the distance on each ray before which a given share of its importance is.

    Args:
        importance: positive weight of each bin.
        edges: where the bins begin and end, rising.
        quantiles: shares in [0, 1], rising.
    """
    cumulative = importance.cumsum(dim=-1)
    cumulative = torch.cat([torch.zeros_like(cumulative[:, :1]), cumulative / cumulative[:, -1:]], dim=-1)
    upper = torch.searchsorted(cumulative, quantiles, right=True).clamp_(1, importance.shape[-1])
    before, after = cumulative.gather(1, upper - 1), cumulative.gather(1, upper)
    start, end = edges.gather(1, upper - 1), edges.gather(1, upper)
    return start + (end - start) * ((quantiles - before) / (after - before).clamp(min=1e-8)).clamp(0.0, 1.0)


SMALLEST_OPTICAL_DEPTH = 0.005
"""Least optical depth of a filled cell: less cannot be seen even in a dozen cells behind each other."""


class ObjectOccupancy:
    """The part of the class's grid that one object fills, found again when object, field or grid change.

    A view of an object takes tens of thousands of rays, and finding the part costs as much as a few of them.
    It saves time even when something changes before every view.

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
        """Return the grid of the object of these latent terms, which are of a single code."""
        sources: list[Tensor] = [*self._field.parameters(), self._occupancy.occupied]
        state = [(tensor._version, tensor.device) for tensor in sources]
        # Read once: another thread may store the grid of another object at any time.
        latest = self._latest
        # In this order: codes on two devices cannot be compared.
        if latest is not None and latest[1] == state and all(map(torch.equal, latest[0], terms)):
            return latest[2]
        grid = self._find(terms)
        self._latest = (terms, state, grid)
        return grid

    def _find(self, terms: LatentTerms) -> OccupancyGrid:
        centers, cells = self._occupancy.centers()
        density = self._field.density(centers[None], terms)[0]
        filled = torch.zeros_like(self._occupancy.occupied)
        cell_size = 2.0 / self._occupancy.resolution
        filled.view(-1)[cells] = (density * cell_size > SMALLEST_OPTICAL_DEPTH).float()
        grid = copy.copy(self._occupancy)
        grid._buffers = {**grid._buffers, "occupied": with_margin(filled) * self._occupancy.occupied}
        return grid
