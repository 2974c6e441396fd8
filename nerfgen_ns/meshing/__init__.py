"""Meshes, voxel grids and coloured points of objects, in the class frame: y up, the front towards +z."""

from nerfgen_ns.meshing.extraction import (
    SURFACE_LEVEL,
    extract_mesh,
    extract_points,
    extract_voxels,
    save_mesh,
)
from nerfgen_ns.meshing.mesh import Mesh, Points, Texture
from nerfgen_ns.meshing.mesh_files import write_mesh, write_points
from nerfgen_ns.meshing.object_field import ObjectField, object_field
from nerfgen_ns.meshing.voxels import Voxels, write_voxels

__all__ = [
    "SURFACE_LEVEL",
    "Mesh",
    "ObjectField",
    "Points",
    "Texture",
    "Voxels",
    "extract_mesh",
    "extract_points",
    "extract_voxels",
    "object_field",
    "save_mesh",
    "write_mesh",
    "write_points",
    "write_voxels",
]
