"""From rays to pixels: sampler, foreground field and compositing; a renderer for each kind of sampler."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import nerfacc
import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.model_components.ray_samplers import PDFSampler, UniformSampler, VolumetricSampler
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn

from nerfgen_ns.errors import UsageError, check_options
from nerfgen_ns.fields.foreground import ForegroundField, LatentTerms
from nerfgen_ns.fields.regions import ShownField, values_of
from nerfgen_ns.latents.latent_table import LatentTable
from nerfgen_ns.rendering.depth_memory import DepthMemory
from nerfgen_ns.rendering.occupancy_grid import ImportanceSampler, ObjectOccupancy, OccupancyGrid
from nerfgen_ns.rendering.volume_rendering import (
    Composite,
    SeenSamples,
    composite,
    rendering_weights,
    seen_samples,
)

UPDATE_STEPS = 4
"""Steps between two updates of the importance sampler's grid."""
MARK_STEPS = 16
"""Steps between two markings of its occupied cells; marking costs more than updating."""


@dataclass
class SamplerConfig:
    """Where samples fall on a ray, and how many."""

    kind: Literal["auto", "importance", "volumetric", "pdf", "uniform"] = "auto"
    """Where samples fall. importance: in the cells of an occupancy grid where rays of any identity found
    surfaces, on any device; volumetric: nerfstudio's volumetric sampler over nerfacc's grid of the class's
    density, on CUDA, where nvcc compiles its kernels at their first use; pdf: a uniform pass, then
    nerfstudio's PDF sampler over its weights; uniform: evenly; auto: importance."""
    num_samples: int = 128
    """Samples a ray in training; with pdf, of each of the two passes; with volumetric, at most."""
    num_eval_samples: int | None = None
    """Samples a ray in rendering; if not set, as in training."""
    grid_resolution: int = 64
    """Cells along each side of the grid of the importance and volumetric samplers."""
    occupancy_decay: float = 0.98
    """What a cell of the importance sampler's grid keeps of its rendering weight at each update."""
    occupancy_threshold: float = 0.05
    """Rendering weight from which a cell of the importance sampler's grid counts as occupied."""
    unoccupied_density: float = 0.02
    """How densely the importance sampler samples outside the occupied cells, where it is 1 inside."""
    depth_memory: bool = False
    """Whether the importance sampler draws most samples of a training ray around the depth that was found at
    the last visit near its pixel of its photograph. Fewer samples are then enough."""

    def check(self, option: str) -> None:
        """Raise a UsageError that names the option, which begins with `option`, of a number too small."""
        lowest = {"num_samples": 1, "num_eval_samples": 1, "grid_resolution": 4}
        highest = {"num_samples": 1 << 16, "num_eval_samples": 1 << 16, "grid_resolution": 512}
        check_options(self, option, {**lowest, "occupancy_decay": 0.0, "unoccupied_density": 0.0}, highest)


class Rendered(NamedTuple):
    """What a renderer makes of rays."""

    pixels: Composite
    """One value a ray."""
    weights: Float[Tensor, "..."]
    """The weight of every sample, on the rays that have samples."""
    seen: SeenSamples | None
    """The samples that show, where they are asked for."""


class RayRenderer(nn.Module):
    """Renders rays through a foreground field that it does not own.

    Args:
        field: the foreground field.
        config: says how many samples a ray gets, in training and in rendering.
    """

    def __init__(self, field: ForegroundField, config: SamplerConfig) -> None:
        super().__init__()
        self.num_training_samples = config.num_samples
        self.num_eval_samples = config.num_eval_samples or config.num_samples
        # In a tuple, so that the field's parameters are not listed twice.
        self._field = (field,)

    @property
    def field(self) -> ForegroundField:
        """Return the foreground field."""
        return self._field[0]

    @property
    def num_samples(self) -> int:
        """Return the number of samples a ray in the present mode, training or rendering."""
        return self.num_training_samples if self.training else self.num_eval_samples

    @abstractmethod
    def forward(
        self,
        ray_bundle: RayBundle,
        terms: LatentTerms,
        background: Float[Tensor, "rays 3"],
        keep_samples: bool = False,
        field: ShownField | None = None,
    ) -> Rendered:
        """Render the pixels of the rays.

        Args:
            ray_bundle: the rays, with near and far ends.
            terms: what the code of each ray, or of all, adds to the field's layers.
            background: what is behind the object on each ray.
            keep_samples: whether to return the samples that show. Pixels are the same, to the bit.
            field: shown in place of the foreground field; it has the same surfaces, or fewer.
        """

    def after_step(self, step: int) -> None:
        """Update what a sampler learns from a training step; by default nothing."""

    def converted(self, state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """Return what this sampler can use of another's checkpoint, whose names begin with `prefix`."""
        return {}


class DenseRenderer(RayRenderer):
    """Equally many samples on every ray: evenly spread, or, with `refine`, by a first pass's weights."""

    def __init__(self, field: ForegroundField, config: SamplerConfig, refine: bool) -> None:
        super().__init__(field, config)
        self.sampler = UniformSampler(config.num_samples)
        self.fine_sampler = PDFSampler(config.num_samples, include_original=True) if refine else None

    def forward(
        self,
        ray_bundle: RayBundle,
        terms: LatentTerms,
        background: Float[Tensor, "rays 3"],
        keep_samples: bool = False,
        field: ShownField | None = None,
    ) -> Rendered:
        """Render the pixels of the rays; see `RayRenderer`."""
        assert ray_bundle.fars is not None
        field = self.field if field is None else field
        samples = self.sampler(ray_bundle, num_samples=self.num_samples)
        if self.fine_sampler is not None:
            with torch.no_grad():
                density = field.density(positions_of(samples), terms)
                weights = rendering_weights(density, samples.deltas[..., 0])
            samples = self.fine_sampler(ray_bundle, samples, weights[..., None], num_samples=self.num_samples)
        positions = positions_of(samples)
        density, colors, features, shown = values_of(field, positions, terms, keep_samples)
        weights = rendering_weights(density, samples.deltas[..., 0])
        weights = weights if shown is None else weights * shown
        pixels = composite(weights, colors, middles_of(samples), background, ray_bundle.fars)
        return Rendered(pixels, weights, _seen_on_rays(weights, features, positions))


class ImportanceRenderer(RayRenderer):
    """Samples where the class is; rendered rays that miss it show their background and need no samples."""

    def __init__(self, field: ForegroundField, config: SamplerConfig, num_photographs: int) -> None:
        super().__init__(field, config)
        self.occupancy = OccupancyGrid(
            config.grid_resolution, config.occupancy_decay, config.occupancy_threshold
        )
        self.sampler = ImportanceSampler(self.occupancy, config.num_samples, floor=config.unoccupied_density)
        self.depth_memory = DepthMemory(num_photographs) if config.depth_memory else None
        self._object = ObjectOccupancy(field, self.occupancy)
        self._last: tuple[Tensor, Tensor] | None = None

    def forward(
        self,
        ray_bundle: RayBundle,
        terms: LatentTerms,
        background: Float[Tensor, "rays 3"],
        keep_samples: bool = False,
        field: ShownField | None = None,
    ) -> Rendered:
        """Render the pixels of the rays; see `RayRenderer`. Rays that miss the class have no samples."""
        if self.training:
            edges, occupied = self.sampler.look_up(ray_bundle)
            if self.depth_memory is not None:
                occupied = self.depth_memory.narrow(ray_bundle, edges, occupied)
            # Nearly every ray of a crop meets the class, and the few others are how the class can grow.
            return self._render(ray_bundle, terms, background, edges, occupied, keep_samples, field)
        one_object = len(terms[0]) == 1
        edges, occupied = self.sampler.look_up(ray_bundle, self._object(terms) if one_object else None)
        (hits,) = (occupied.amax(dim=-1) > 0).nonzero(as_tuple=True)
        rendered = self._render(
            ray_bundle[hits],
            terms.of_rays(hits),
            background[hits],
            edges[hits],
            occupied[hits],
            keep_samples,
            field,
        )
        assert ray_bundle.fars is not None
        empty = background.new_zeros(len(background), 1)
        missed = Composite(background, torch.zeros_like(background), empty, ray_bundle.fars)
        pixels = (miss.index_copy(0, hits, hit) for miss, hit in zip(missed, rendered.pixels, strict=True))
        seen = rendered.seen
        return Rendered(Composite(*pixels), rendered.weights, seen and seen._replace(rays=hits[seen.rays]))

    def _render(
        self,
        rays: RayBundle,
        terms: LatentTerms,
        background: Float[Tensor, "rays 3"],
        edges: Float[Tensor, "rays bins+1"],
        occupied: Float[Tensor, "rays bins"],
        keep_samples: bool,
        field: ShownField | None,
    ) -> Rendered:
        assert rays.fars is not None
        samples = self.sampler(rays, edges, occupied, num_samples=self.num_samples)
        positions = positions_of(samples)
        field = self.field if field is None else field
        density, colors, features, shown = values_of(field, positions, terms, keep_samples)
        if not self.training:
            density = density * self.occupancy.presence(positions)
        weights = rendering_weights(density, samples.deltas[..., 0])
        weights = weights if shown is None else weights * shown
        pixels = composite(weights, colors, middles_of(samples), background, rays.fars)
        if self.training:
            self._last = (positions.detach(), weights.detach())
            if self.depth_memory is not None:
                self.depth_memory.keep(rays, pixels.depth, pixels.accumulation)
        return Rendered(pixels, weights, _seen_on_rays(weights, features, positions))

    def after_step(self, step: int) -> None:
        """Update the grid with the weights that the step's rays found."""
        if self._last is not None and step % UPDATE_STEPS == 0:
            self.occupancy.update(*self._last)
        if step % MARK_STEPS == 0:
            self.occupancy.mark()

    def converted(self, state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """Return the occupied cells of nerfacc's grid of the class, if it has the same number of cells."""
        cells = state.get(f"{prefix}grid.binaries")
        if cells is None or cells[0].shape != self.occupancy.occupied.shape:
            return {}
        return {f"{prefix}{part}occupancy.occupied": cells[0].float() for part in ("", "sampler.")}


class VolumetricRenderer(RayRenderer):
    """nerfstudio's `VolumetricSampler` over nerfacc's occupancy grid, whose kernels need CUDA.

    The grid holds a class-level density: in each cell the largest of several random identities.
    """

    IDENTITIES = 8

    def __init__(self, field: ForegroundField, table: LatentTable, config: SamplerConfig) -> None:
        super().__init__(field, config)
        self._table = (table,)
        self.grid = nerfacc.OccGridEstimator(
            roi_aabb=[-1.0, -1.0, -1.0, 1.0, 1.0, 1.0], resolution=config.grid_resolution
        )
        # Until the first update, or after loading another sampler's checkpoint, anything may be anywhere.
        self.grid.binaries.fill_(True)
        self.sampler = VolumetricSampler(self.grid)

    def forward(
        self,
        ray_bundle: RayBundle,
        terms: LatentTerms,
        background: Float[Tensor, "rays 3"],
        keep_samples: bool = False,
        field: ShownField | None = None,
    ) -> Rendered:
        """Render the pixels of the rays; see `RayRenderer`. Weights are packed."""
        assert ray_bundle.fars is not None
        field = self.field if field is None else field
        rays = len(ray_bundle.origins)
        samples, ray_of_sample = self.sampler(
            ray_bundle,
            render_step_size=self.step_size,
            alpha_thre=0.0,
        )
        starts, ends = samples.frustums.starts[:, 0], samples.frustums.ends[:, 0]
        own_terms = terms.of_rays(ray_of_sample)
        positions = samples.frustums.get_positions()
        density, colors, features, shown = values_of(field, positions[:, None], own_terms, keep_samples)
        weights, _, _ = nerfacc.render_weight_from_density(
            starts, ends, density[:, 0], ray_indices=ray_of_sample, n_rays=rays
        )
        weights = weights if shown is None else weights * shown[:, 0]

        def accumulate(values: Tensor | None) -> Tensor:
            return nerfacc.accumulate_along_rays(weights, values, ray_of_sample, rays)

        foreground, accumulation = accumulate(colors[:, 0]), accumulate(None)
        reached = accumulate(0.5 * (starts + ends)[:, None])
        depth = torch.where(
            accumulation > 1e-3, reached / accumulation.clamp(min=1e-6), ray_bundle.fars.to(reached)
        )
        pixels = Composite(foreground + (1.0 - accumulation) * background, foreground, accumulation, depth)
        seen = None
        if features is not None:
            seen = seen_samples(ray_of_sample, weights, features[:, 0], positions, rays)
        return Rendered(pixels, weights, seen)

    @property
    def step_size(self) -> float:
        """Return the length of a sample: the diagonal of the box divided by `num_samples`."""
        return 2.0 * 3.0**0.5 / self.num_samples

    def after_step(self, step: int) -> None:
        """Refresh the grid."""
        self.grid.update_every_n_steps(step, self._class_level_optical_depth, n=16)

    @torch.no_grad()
    def _class_level_optical_depth(self, positions: Float[Tensor, "cells 3"]) -> Float[Tensor, "cells 1"]:
        table = self._table[0]
        rows = torch.randint(len(table), (self.IDENTITIES,), device=positions.device)
        terms = self.field.latent_terms(table(rows))
        largest = torch.zeros_like(positions[:, :1])
        for row in range(self.IDENTITIES):
            own = terms.of_rays(torch.tensor([row], device=positions.device))
            largest = torch.maximum(largest, self.field.density(positions[:, None], own))
        return largest * self.step_size


def _seen_on_rays(
    weights: Float[Tensor, "rays samples"],
    features: Float[Tensor, "rays samples features"] | None,
    positions: Float[Tensor, "rays samples 3"],
) -> SeenSamples | None:
    """Return the samples that show on rays with equally many; None where their features are not kept."""
    if features is None:
        return None
    rays, samples = weights.shape
    ray_of_sample = torch.arange(rays, device=weights.device).repeat_interleave(samples)
    return seen_samples(
        ray_of_sample, weights.flatten(), features.flatten(0, 1), positions.flatten(0, 1), rays
    )


def positions_of(samples: RaySamples) -> Float[Tensor, "rays samples 3"]:
    """Return the positions of samples, each in the middle of its piece of ray."""
    frustums = samples.frustums
    return frustums.origins + frustums.directions * (0.5 * (frustums.starts + frustums.ends))


def middles_of(samples: RaySamples) -> Float[Tensor, "rays samples"]:
    """Return the distance along its ray of the middle of each sample."""
    return 0.5 * (samples.frustums.starts + samples.frustums.ends)[..., 0]


def make_ray_renderer(
    config: SamplerConfig,
    field: ForegroundField,
    table: LatentTable,
    device: torch.device,
    num_photographs: int,
) -> RayRenderer:
    """Make the renderer of the kind of sampler.

    A run that was trained with nerfacc's kernels is shown with the importance sampler where they do not run.
    Training checks for them before it begins (`check_volumetric`).
    """
    if config.kind == "volumetric":
        try:
            check_volumetric(device)
        except UsageError as error:
            CONSOLE.log(f"{error}. Pictures are made with the importance sampler instead.")
        else:
            return VolumetricRenderer(field, table, config)
    if config.kind in ("pdf", "uniform"):
        return DenseRenderer(field, config, refine=config.kind == "pdf")
    return ImportanceRenderer(field, config, num_photographs)


CUDA_13_HEADER = Path(__file__).with_name("nerfacc_cuda13.h")
"""What nerfacc 0.5.2 needs of CUB and CUDA 13 no longer has; compilers take it by `NVCC_PREPEND_FLAGS`."""


def check_volumetric(device: torch.device) -> None:
    """Try nerfacc's kernels, which are compiled at their first call, on a device.

    Raises:
        UsageError: they do not run there; the line says why.
    """
    option = "--pipeline.model.sampler.kind volumetric"
    if device.type != "cuda":
        raise UsageError(f"{option}: nerfacc's kernels need CUDA and the device is {device}; leave it out")
    grid = nerfacc.OccGridEstimator(roi_aabb=[-1.0, -1.0, -1.0, 1.0, 1.0, 1.0], resolution=2).to(device)
    grid.binaries.fill_(True)
    origins = torch.tensor([[0.0, 0.0, 2.7]], device=device)
    try:
        grid.sampling(origins, origins * torch.tensor([1.0, 1.0, -1.0 / 2.7], device=device), far_plane=5.0)
    # Compilers, drivers and libraries raise errors of any class.
    except Exception as error:
        raise UsageError(f"{option}: {_reason(error)}; or leave the option out") from error


def _reason(error: Exception) -> str:
    """Say in one line why nerfacc's kernels do not run, and how to change that."""
    text = str(error)
    if "has no attribute 'ray_aabb_intersect'" in text or "has no attribute 'traverse_grids'" in text:
        return "nvcc, which compiles nerfacc's kernels, is not on the PATH; install the CUDA toolkit"
    if "Equality" in text:
        return (
            "nerfacc's kernels do not compile under CUDA 13, which lacks cub::Equality; set "
            f"NVCC_PREPEND_FLAGS='-include {CUDA_13_HEADER}'"
        )
    if built := re.search(r"(/\S+)/nerfacc_cuda\.so", text):
        return f"an earlier attempt to compile nerfacc's kernels failed; remove {built[1]} and try again"
    lines = [line.strip() for line in text.splitlines() if "error" in line.lower()] or text.splitlines()
    return f"nerfacc's kernels do not run ({(lines or [type(error).__name__])[0][:200]})"
