"""The field of one object: its density on a lattice, and the colors of its surface."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.cameras.projection import project_tensors
from nerfgen_ns.fields.foreground import invert_density
from nerfgen_ns.fields.query import Query
from nerfgen_ns.fields.regions import EditedField, RegionConfig, SampleValues, edited_field, values_of
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.rendering.ray_renderers import ImportanceRenderer
from nerfgen_ns.rendering.volume_rendering import rendering_weights
from nerfgen_ns.utils.spacing import evenly_spaced

CHUNK = 1 << 14
"""Positions evaluated at a time: their activations stay in the processor's cache."""


@dataclass(frozen=True)
class ObjectField:
    """Density and color of one object at positions of the class frame, (n, 3), within [−1, 1]³."""

    density: Callable[[Float[Tensor, "n 3"]], Float[Tensor, " n"]]
    """Density per unit of length."""
    density_and_color: Callable[[Float[Tensor, "n 3"]], tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]]
    """The same, and colors in [0, 1]."""
    near_class: Callable[[Float[Tensor, "n 3"]], Bool[Tensor, " n"]] | None = None
    """Where training found surfaces of any object of the class; None where that is not known."""
    device: torch.device = torch.device("cpu")  # noqa: RUF009
    """Where it computes."""
    density_and_labels: (
        Callable[[Float[Tensor, "n 3"]], tuple[Float[Tensor, " n"], Float[Tensor, "n labels"]]] | None
    ) = None
    """The density, and the probability of each label; None where the model tells no labels."""
    density_and_features: (
        Callable[[Float[Tensor, "n 3"]], tuple[Float[Tensor, " n"], Float[Tensor, "n dims"]]] | None
    ) = None
    """The density and the features; None where the model tells no features."""


def object_field(
    model: NerfgenModel,
    code: Float[Tensor, "*one latent"],
    region: RegionConfig | None = None,
    query: Query | None = None,
) -> ObjectField:
    """Return the field of one latent code as it is now: further training does not change it.

    What the code adds to the networks' layers is computed once, here. It uses full precision: with the three
    digits of bf16 a surface would have steps. What is done to parts of the object is `region` or, if not set,
    what the model's configuration says; a region without labels is `query` or, if not set, the run's own.

    Raises:
        UsageError: the code has another size than the model's.
    """
    code = code.detach().reshape(1, -1)
    model.latent_table.check_code(code)
    field, renderer = copy.deepcopy(model.foreground_field), model.ray_renderer
    field.use_bf16 = False
    with torch.no_grad():
        terms = field.latent_terms(code.to(model.device))

    head, feature_head = copy.deepcopy(model.label_head), copy.deepcopy(model.feature_head)
    region = model.config.region if region is None else region
    shown = edited_field(field, region, head, feature_head, query)

    def values(positions: Tensor, keep: bool = False) -> SampleValues:
        made = values_of(shown, positions[None], terms, keep)
        # A mesh has no background behind: what does not show itself is not there.
        return made if made.shown is None else made._replace(density=made.density * made.shown)

    def density(positions: Tensor) -> Tensor:
        if isinstance(shown, EditedField):
            return values(positions).density[0]
        return field.density(positions[None], terms)[0]

    def density_and_color(positions: Tensor) -> tuple[Tensor, Tensor]:
        made = values(positions)
        return made.density[0], made.colors[0]

    def near_class(positions: Tensor) -> Tensor:
        assert isinstance(renderer, ImportanceRenderer)
        return renderer.occupancy(positions) > 0

    def density_and_labels(positions: Tensor) -> tuple[Tensor, Tensor]:
        made = values(positions, keep=True)
        assert head is not None and made.features is not None
        labels = head(made.features[0], positions)
        return made.density[0], shown.labels(labels) if isinstance(shown, EditedField) else labels

    def density_and_features(positions: Tensor) -> tuple[Tensor, Tensor]:
        made = values(positions, keep=True)
        assert feature_head is not None and made.features is not None
        return made.density[0], feature_head(made.features[0], positions)

    return ObjectField(
        density,
        density_and_color,
        near_class if isinstance(renderer, ImportanceRenderer) else None,
        torch.device(model.device),
        None if head is None else density_and_labels,
        None if feature_head is None else density_and_features,
    )


Progress = Callable[[int, int], None]
BLOCK = 4
"""Cells along each side of a block. A first, coarse pass decides which blocks are evaluated in full."""
FINE_FROM = 96
"""Points along a side from which there is a coarse pass; with fewer, every point is evaluated."""
STEEPEST = 10.0
"""Largest solidity."""
MOST_CAMERAS = 1024
"""Most photographs that are checked for what they show, evenly spread."""
VIEW_MARGIN = 0.02
"""Margin around a photograph that counts as in view, as a share of its width."""
VIEW_STEEPNESS = 100.0
"""How steeply solidity falls across the border of what is in view, per width of a photograph: about as much
as across a surface of a trained class."""


def solidity(density: Float[Tensor, "*n"], level: float) -> Float[Tensor, "*n"]:
    """Compute how far inside the solid of densities above `level` a position is.

    It is in [−10, 10], and 0 at the surface.

    This inverts the activation of the density. The result changes evenly across a surface, whereas a density
    is flat outside and steep inside. So linear interpolation finds the surface between lattice points. The
    bounds are equal on both sides: a surface that is sharper than the lattice is placed midway.
    """
    surface = invert_density(density.new_tensor(level))
    return (invert_density(density.clamp(min=1e-8)) - surface).clamp(-STEEPEST, STEEPEST)


def solid_lattice(
    field: ObjectField,
    coordinates: Float[Tensor, " n"],
    level: float,
    cameras: Cameras | None = None,
    progress: Progress | None = None,
) -> Float[Tensor, "n n n"]:
    """Compute solidity at all points whose x, y and z are among evenly spaced coordinates.

    The axes are in this order.

    A coarse pass comes first. Solidity is interpolated in a block if neither the block nor a neighbor holds a
    surface or a part of the class's occupancy. Nothing is left out: training finds surfaces where photographs
    see them, and objects continue behind.

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


def in_view(positions: Float[Tensor, "n 3"], cameras: Cameras) -> Float[Tensor, " n"]:
    """Compute how far inside the photograph that shows it best each position is.

    The unit is that photograph's width.

    Outside all photographs it is negative: the distance to the nearest one. Occlusion is not considered.
    """
    chosen = torch.from_numpy(evenly_spaced(len(cameras), MOST_CAMERAS))
    cameras = cameras[chosen].to(positions.device)
    best = torch.full_like(positions[:, 0], -1.0)
    for photograph in range(len(cameras)):
        own = cameras[photograph : photograph + 1]
        pixels, depth = project_tensors(own, positions)
        size = torch.cat([own.width, own.height], dim=-1)
        inside = torch.cat([pixels, size - pixels], dim=-1).amin(dim=-1) / own.width[0]
        best = torch.maximum(best, torch.where(depth > 0, inside, -1.0))
    return best


def _in_chunks(
    function: Callable[[Tensor], Tensor], positions: Float[Tensor, "n 3"], progress: Progress | None = None
) -> Float[Tensor, " n"]:
    values = torch.empty_like(positions[:, 0])
    with torch.no_grad():
        for start in range(0, len(positions), CHUNK):
            values[start : start + CHUNK] = function(positions[start : start + CHUNK])
            if progress is not None:
                progress(min(start + CHUNK, len(positions)), len(positions))
    return values


def _interpolate(corners: Float[Tensor, "a a a"], size: int, points: int) -> Float[Tensor, "n n n"]:
    """Interpolate values within blocks of `size` cells from those at the blocks' corners."""
    sides = ((len(corners) - 1) * size + 1,) * 3
    fine = F.interpolate(corners[None, None], size=sides, mode="trilinear", align_corners=True)[0, 0]
    return fine[:points, :points, :points].contiguous()


def _blocks_to_refine(
    field: ObjectField, coarse: Float[Tensor, "a a a"], corners: Float[Tensor, " a"]
) -> Bool[Tensor, "b b b"]:
    """Return the blocks with a surface or with the class's occupancy, and their neighbors."""
    highest = F.max_pool3d(coarse[None, None], 2, stride=1)[0, 0]
    lowest = -F.max_pool3d(-coarse[None, None], 2, stride=1)[0, 0]
    chosen = (highest > 0) & (lowest < 0)
    if field.near_class is not None:
        middles = 0.5 * (corners[1:] + corners[:-1])
        chosen |= field.near_class(torch.cartesian_prod(middles, middles, middles)).view(chosen.shape)
    return F.max_pool3d(chosen.float()[None, None], 3, stride=1, padding=1)[0, 0] > 0


def _points_of_blocks(chosen: Bool[Tensor, "b b b"], points: int) -> Bool[Tensor, "n n n"]:
    """Return the points in the chosen blocks, their borders included."""
    cells = chosen.float()
    for axis in range(3):
        cells = cells.repeat_interleave(BLOCK, dim=axis)
    inside = F.max_pool3d(F.pad(cells[None, None], (1,) * 6), 2, stride=1)[0, 0] > 0
    return inside[:points, :points, :points]


SAMPLES = 6
REACH = (-0.02, 0.04)
"""Range of the samples of a point along its inward normal, in units of the class frame."""


def surface_colors(
    field: ObjectField,
    positions: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    progress: Progress | None = None,
) -> UInt8[np.ndarray, "n 3"]:
    """Compute colors as the renderer makes them, of rays that meet the surface straight on.

    A pixel mixes colors from where the density rises, a little inside the surface.

    Args:
        field: the object.
        positions: points on its surface.
        normals: unit normals there, outwards.
        progress: called with the number of points done and their total.
    """
    parts = surface_values(field.density_and_color, positions, normals, field.device, progress)
    return np.concatenate([_bytes(part) for part in parts])


@torch.no_grad()
def surface_values(
    density_and_values: Callable[
        [Float[Tensor, "n 3"]], tuple[Float[Tensor, " n"], Float[Tensor, "n channels"]]
    ],
    positions: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    device: torch.device,
    progress: Progress | None = None,
) -> Iterator[Float[Tensor, "some channels"]]:
    """Yield, a part after another, values of positions as rays mix them that meet the surface straight on.

    For the other arguments see `surface_colors`.

    Args:
        density_and_values: the field of an object, such as `ObjectField.density_and_color`.
        device: where it computes.
    """
    bounds = torch.linspace(*REACH, SAMPLES + 1, device=device)
    middles, lengths = 0.5 * (bounds[1:] + bounds[:-1]), bounds[1:] - bounds[:-1]
    chunk = CHUNK // SAMPLES
    for start in range(0, len(positions), chunk):
        own = slice(start, start + chunk)
        origins = torch.tensor(positions[own]).to(bounds)
        inwards = -torch.tensor(normals[own]).to(bounds)
        samples = origins[:, None] + inwards[:, None] * middles[:, None]
        density, values = density_and_values(samples.view(-1, 3))
        # The little that is added keeps the mean defined where a thin part lets the ray through.
        weights = rendering_weights(density.view(-1, SAMPLES) + 1e-3, lengths.expand(len(origins), -1))
        mixed = (weights[..., None] * values.unflatten(0, (-1, SAMPLES))).sum(dim=1)
        yield mixed / weights.sum(dim=1)[:, None]
        if progress is not None:
            progress(min(start + chunk, len(positions)), len(positions))


def colors_at(field: ObjectField, positions: Float[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    """Return the field's own colors at positions within an object."""
    colors = np.empty((len(positions), 3), dtype=np.uint8)
    with torch.no_grad():
        for start in range(0, len(positions), CHUNK):
            own = slice(start, start + CHUNK)
            _, color = field.density_and_color(torch.from_numpy(positions[own]).to(field.device))
            colors[own] = _bytes(color)
    return colors


def _bytes(colors: Float[torch.Tensor, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    return (colors.clamp(0.0, 1.0) * 255.0).round().byte().cpu().numpy()
