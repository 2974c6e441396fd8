"""Geometry of triangle meshes: marching cubes, connected parts, normals. Pure functions."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

Vertices = Float[np.ndarray, "vertices 3"]
Faces = Int[np.ndarray, "faces 3"]

BORDER = -0.01
"""Value on the border of the lattice: so little below 0 that the surface is closed right at the border."""
APART = 1e-3
"""How far from 0 values are kept, so that no two corners of the surface fall onto one lattice point."""


def triangulate(lattice: Float[np.ndarray, "n n n"]) -> tuple[Vertices, Faces]:
    """The closed surface around the positive values on a lattice over [−1, 1]³: marching cubes.

    Lewiner et al., "Efficient implementation of Marching Cubes' cases with topological guarantees" (2003).
    What is positive at the border of the lattice is closed there.
    """
    from skimage.measure import marching_cubes

    values = np.where(np.abs(lattice) < APART, -APART, lattice)
    inner = (slice(1, -1),) * 3
    closed = np.minimum(values, BORDER)
    closed[inner] = values[inner]
    spacing = 2.0 / (len(lattice) - 1)
    vertices, faces, _, _ = marching_cubes(closed, 0.0, spacing=(spacing,) * 3, gradient_direction="ascent")
    return (vertices - 1.0).astype(np.float32), faces.astype(np.int32)


def face_normals(vertices: Vertices, faces: Faces) -> Float[np.ndarray, "faces 3"]:
    """Outward normals of the faces, each as long as twice the face's area."""
    first, second, third = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    return np.cross(second - first, third - first)


def enclosed_volumes(vertices: Vertices, faces: Faces) -> Float[np.ndarray, "faces"]:
    """What each face adds to the volume that its surface encloses; around cavities the sum is negative."""
    return (face_normals(vertices, faces) * vertices[faces[:, 0]]).sum(axis=1) / 6.0


def largest_part(vertices: Vertices, faces: Faces) -> tuple[Vertices, Faces]:
    """Of the connected parts of a surface the one that encloses most; crumbs go, and walls of cavities."""
    starts, ends = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
    edges = sparse.coo_matrix((np.ones(len(starts)), (starts, ends)), shape=(len(vertices),) * 2)
    _, part_of_vertex = sparse.csgraph.connected_components(edges, directed=False)
    part_of_face = part_of_vertex[faces[:, 0]]
    kept = part_of_face == np.bincount(part_of_face, enclosed_volumes(vertices, faces)).argmax()
    used, own_faces = np.unique(faces[kept], return_inverse=True)
    return vertices[used], own_faces.reshape(-1, 3).astype(np.int32)


def vertex_normals(vertices: Vertices, faces: Faces, rounds: int = 2) -> Vertices:
    """Unit normals: of each vertex its faces' mean by area, averaged with its neighbours' in some rounds."""
    corners = faces.ravel()
    owners = np.repeat(np.arange(len(faces)), 3)
    faces_of_vertex = sparse.csr_matrix(
        (np.ones(len(corners)), (corners, owners)), shape=(len(vertices), len(faces))
    )
    normals = unit(faces_of_vertex @ face_normals(vertices, faces))
    for _ in range(rounds):
        normals = unit(faces_of_vertex @ normals[faces].sum(axis=1))
    return normals.astype(np.float32)


def unit(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """The same directions, of length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)
