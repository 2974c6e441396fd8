"""Geometry by what it looks like: how alike each vertex is to a query, and the part of a mesh that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float

from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.fields.query import Query, similarity
from nerfgen_ns.meshing.field import ObjectField, Progress, surface_values
from nerfgen_ns.meshing.mesh import part_of_vertices

if TYPE_CHECKING:
    from trimesh import Trimesh

SIMILARITY = "similarity"
"""The attribute of vertices: the similarity to a query, in [0, 1]."""


def surface_similarity(
    field: ObjectField,
    positions: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    query: Query,
    progress: Progress | None = None,
) -> Float[np.ndarray, " n"]:
    """Compute how alike points of a surface are to a query, as rays see them that meet it straight on.

    Args:
        field: the object of a model with features.
        positions: points on its surface.
        normals: unit normals there, outwards.
        query: what is looked for.
        progress: called with the number of points done and their total.
    """
    assert field.density_and_features is not None
    parts = surface_values(field.density_and_features, positions, normals, field.device, progress)
    return torch.cat([similarity(part, query) for part in parts]).cpu().numpy()


def part_of_members(mesh: Trimesh, members: Bool[np.ndarray, " vertices"], what: str) -> Trimesh:
    """Return the faces of a mesh most of whose corners are members, an open surface, with its attributes.

    Args:
        mesh: a mesh.
        members: which vertices belong to the part.
        what: how a message names the part.

    Raises:
        NerfgenError: no face does.
    """
    part = part_of_vertices(mesh, members)
    if part is None:
        raise NerfgenError(f"the object shows no {what}; choose a lower --threshold or another object")
    return part
