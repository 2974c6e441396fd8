"""From the field of an object to a mesh, to points or to voxels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.fields.query import Query
from nerfgen_ns.fields.regions import RegionConfig
from nerfgen_ns.meshing.field import (
    ObjectField,
    Progress,
    colors_at,
    object_field,
    solid_lattice,
    surface_colors,
)
from nerfgen_ns.meshing.mesh import (
    APART,
    MESH_SUFFIXES,
    check_suffix,
    largest_part,
    triangulate,
    write_mesh,
)
from nerfgen_ns.meshing.texture import bake_texture
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.utils.files import replace_file

if TYPE_CHECKING:
    from trimesh import PointCloud, Trimesh


def _class_box() -> Float[np.ndarray, "2 3"]:
    return np.array([[-1.0] * 3, [1.0] * 3], dtype=np.float32)


@dataclass(frozen=True)
class Voxels:
    """A cube of voxels; its axes are x, y and z of the class frame, each rising."""

    occupancy: Bool[np.ndarray, "n n n"]
    """Whether the middle of each voxel is in the object."""
    color: UInt8[np.ndarray, "n n n 3"]
    """Colors of the occupied voxels, sRGB; 0 elsewhere."""
    box: Float[np.ndarray, "2 3"] = field(default_factory=_class_box)
    """The least and the greatest corner of the cube in the class frame."""


def largest_body(inside: Bool[np.ndarray, "n n n"]) -> Bool[np.ndarray, "n n n"]:
    """Return the largest of the bodies whose voxels touch at faces, with its cavities filled."""
    from scipy import ndimage

    bodies, _ = ndimage.label(inside)
    sizes = np.bincount(bodies.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes(bodies == sizes.argmax())


def write_voxels(path: Path, voxels: Voxels) -> None:
    """Write voxels as .npz with the arrays `occupancy`, `color` and `box`.

    Raises:
        UsageError: another suffix.
        NerfgenError: the file cannot be written.
    """
    check_suffix(path, (".npz",))
    with replace_file(path) as temporary:
        np.savez_compressed(temporary, occupancy=voxels.occupancy, color=voxels.color, box=voxels.box)


RESOLUTIONS = (16, 512)
"""Fewest and most cells along each side of the box."""
MOST_POINTS = 10_000_000
"""Most points of a cloud."""
SURFACE_LEVEL = 10.0
"""Density of the surface: a path of 0.07 units through it is half opaque. Chosen with
`benchmarks.mesh_quality`: silhouettes then have the areas of their photographs' mattes, and overlap them
best."""


def extract_mesh(
    field: ObjectField,
    resolution: int = 128,
    *,
    level: float = SURFACE_LEVEL,
    keep_all: bool = False,
    cameras: Cameras | None = None,
    texture_size: int | None = None,
    progress: Progress | None = None,
) -> Trimesh:
    """Return a closed surface of one object, with `vertex_normals` and sRGB `visual.vertex_colors`.

    It is in the class frame (y up, the front toward +z) and in its units. A texture takes the place of the
    colors.

    Args:
        field: the object; see `object_field`.
        resolution: cells along each side of the class's box [−1, 1]³.
        level: density of the surface, per unit of length.
        keep_all: keep the loose parts and the walls of cavities; otherwise the part that encloses most.
        cameras: cut off what none of these photographs could show; if not set, what the box does not hold.
        texture_size: width and height of a texture in pixels, to be baked; if not set, vertices alone have
            colors.
        progress: called with the number of positions done and their total, for each stage of the work.

    Raises:
        UsageError: resolution, level or size of the texture are out of range.
        NerfgenError: the density is nowhere above the level.
    """
    from trimesh.visual.color import ColorVisuals

    mesh = _surface(field, resolution, level, keep_all, cameras, progress)
    if texture_size is not None:
        return bake_texture(mesh, field, texture_size, progress)
    colors = surface_colors(field, mesh.vertices, mesh.vertex_normals, progress)
    mesh.visual = ColorVisuals(mesh, vertex_colors=colors)
    return mesh


def extract_points(
    field: ObjectField,
    count: int,
    resolution: int = 128,
    *,
    level: float = SURFACE_LEVEL,
    keep_all: bool = False,
    cameras: Cameras | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> PointCloud:
    """Return points spread evenly over the surface of one object, with `colors` and `vertex_normals`.

    Args:
        count: number of points, `seed` chooses their places. For the other arguments see `extract_mesh`.

    Raises:
        UsageError: count, resolution or level are out of range.
        NerfgenError: the density is nowhere above the level.
    """
    check_count(count)
    from trimesh import PointCloud
    from trimesh.sample import sample_surface
    from trimesh.triangles import points_to_barycentric
    from trimesh.util import unitize

    mesh = _surface(field, resolution, level, keep_all, cameras, progress)
    positions, face = sample_surface(mesh, count, seed=seed)
    shares = points_to_barycentric(mesh.triangles[face], positions)
    normals = unitize(np.einsum("pc,pcd->pd", shares, mesh.vertex_normals[mesh.faces[face]]))
    points: Any = PointCloud(positions, surface_colors(field, positions, normals, progress))
    points.vertex_normals = normals
    return points


def extract_voxels(
    field: ObjectField,
    resolution: int = 64,
    *,
    level: float = SURFACE_LEVEL,
    keep_all: bool = False,
    cameras: Cameras | None = None,
    progress: Progress | None = None,
) -> Voxels:
    """Find which voxels of the class's box one object fills, and their colors.

    Args:
        resolution: voxels along each side of the box [−1, 1]³. For the other arguments see `extract_mesh`.

    Raises:
        UsageError: resolution or level are out of range.
        NerfgenError: the density is nowhere above the level.
    """
    _check(resolution, level)
    middles = (torch.arange(resolution, device=field.device) + 0.5) * (2.0 / resolution) - 1.0
    occupancy = solid_lattice(field, middles, level, cameras, progress).cpu().numpy() > 0
    _check_found(bool(occupancy.any()), level)
    if not keep_all:
        occupancy = largest_body(occupancy)
    positions = middles.cpu().numpy()[np.argwhere(occupancy)]
    color = np.zeros((*occupancy.shape, 3), dtype=np.uint8)
    color[occupancy] = colors_at(field, positions)
    return Voxels(occupancy, color)


def save_mesh(
    model: NerfgenModel,
    code: Float[Tensor, "*one latent"],
    path: Path,
    resolution: int = 128,
    cameras: Cameras | None = None,
    level: float = SURFACE_LEVEL,
    region: RegionConfig | None = None,
    query: Query | None = None,
) -> Path:
    """Write the mesh of one latent code as .ply, .obj or .glb, whole or not at all, and return its path.

    Vertices are in the class frame (y up, the front toward +z) and in its units, with normals and colors.

    Args:
        model: the class model, on any device.
        code: one latent code.
        path: the file; its suffix chooses the format.
        resolution: cells along each side of the class's box [−1, 1]³.
        cameras: the cameras of the photographs; what none of them could show is cut off. If not set, nothing.
        level: density of the surface, per unit of length.
        region: what is done to parts of the object; see `object_field`.
        query: what a region without labels is.

    Raises:
        UsageError: unknown suffix, a code of another size, or a resolution out of range.
        NerfgenError: nothing to see in this code, or the file cannot be written.
    """
    check_suffix(path, MESH_SUFFIXES)
    field = object_field(model, code, region, query)
    write_mesh(path, extract_mesh(field, resolution, level=level, cameras=cameras))
    return path


def _surface(
    field: ObjectField,
    resolution: int,
    level: float,
    keep_all: bool,
    cameras: Cameras | None,
    progress: Progress | None,
) -> Trimesh:
    _check(resolution, level)
    coordinates = torch.linspace(-1.0, 1.0, resolution + 1, device=field.device)
    lattice = solid_lattice(field, coordinates, level, cameras, progress).cpu().numpy()
    _check_found(bool((lattice[1:-1, 1:-1, 1:-1] > APART).any()), level)
    mesh = triangulate(lattice)
    return mesh if keep_all else largest_part(mesh)


def check_count(count: int) -> None:
    """Raise a UsageError for a number of points that is out of range."""
    if not 1 <= count <= MOST_POINTS:
        raise UsageError(f"{count} points: choose from 1 to {MOST_POINTS}")


def _check(resolution: int, level: float) -> None:
    least, most = RESOLUTIONS
    if not least <= resolution <= most:
        raise UsageError(f"resolution {resolution}: choose one from {least} to {most}")
    if not 0.0 < level < float("inf"):
        raise UsageError(f"level {level:g}: choose a density above 0, such as {SURFACE_LEVEL:g}")


def _check_found(found: bool, level: float) -> None:
    if not found:
        raise NerfgenError(
            f"the object's density is nowhere above {level:g}: choose a lower level, or train the run longer"
        )
