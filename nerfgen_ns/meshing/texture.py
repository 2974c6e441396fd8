"""A texture for a mesh: each pair of faces has a square of its own on the image, one half for each face."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from nerfgen_ns.errors import UsageError
from nerfgen_ns.meshing.field import ObjectField, Progress, surface_colors
from nerfgen_ns.meshing.mesh import Mesh, Texture, unit

LEAST_SQUARE = 5
"""Pixels along a square, at least: fewer do not hold two triangles whose pixels are apart."""
LARGEST_TEXTURE = 4096


def bake_texture(mesh: Mesh, field: ObjectField, size: int, progress: Progress | None = None) -> Mesh:
    """The mesh with a texture whose every pixel has been asked of the field.

    Args:
        mesh: a mesh of the object.
        field: the object.
        size: width and height of the texture in pixels.
        progress: called with the number of pixels done and their total.

    Raises:
        UsageError: the texture is too small for so many faces, or larger than most programs take.
    """
    pairs = (len(mesh.faces) + 1) // 2
    squares = math.ceil(math.sqrt(pairs))
    side = size // squares
    if side < LEAST_SQUARE or size > LARGEST_TEXTURE:
        raise UsageError(
            f"a texture of {size} pixels does not fit {len(mesh.faces)} faces: choose a size from "
            f"{squares * LEAST_SQUARE} to {LARGEST_TEXTURE}, or a lower resolution"
        )
    corners = _corners(side)
    pixels, half, shares = _pixels_of_square(side, corners)
    faces = np.arange(len(mesh.faces))
    rows, columns = np.divmod(faces // 2, squares)
    origins = np.stack([columns, rows], axis=-1) * side
    coordinates = (origins[:, None] + corners[faces % 2]) / size
    image = np.zeros((size, size, 3), dtype=np.uint8)
    own_half = [half == which for which in (0, 1)]
    positions, normals, places = [], [], []
    for which in (0, 1):
        own = mesh.faces[which::2]
        weights = shares[own_half[which]].astype(np.float32)
        positions.append(np.einsum("pc,fcd->fpd", weights, mesh.vertices[own]).reshape(-1, 3))
        normals.append(np.einsum("pc,fcd->fpd", weights, mesh.normals[own]).reshape(-1, 3))
        places.append((origins[which::2, None] + pixels[own_half[which]]).reshape(-1, 2))
    place = np.concatenate(places)
    image[place[:, 1], place[:, 0]] = surface_colors(
        field, np.concatenate(positions), unit(np.concatenate(normals)), progress
    )
    return replace(mesh, texture=Texture(image, coordinates.astype(np.float32)))


def _corners(side: int) -> Float[np.ndarray, "2 3 2"]:
    """Where the corners of the two triangles of a square lie, in pixels from its upper left corner.

    They are so far apart that bilinear interpolation within one never meets a pixel of the other.
    """
    low, length = 0.5, float(side - 3)
    upper_left = np.array([[low, low], [low + length, low], [low, low + length]])
    return np.stack([upper_left, side - upper_left])


def _pixels_of_square(
    side: int, corners: Float[np.ndarray, "2 3 2"]
) -> tuple[Int[np.ndarray, "pixels 2"], Int[np.ndarray, "pixels"], Float[np.ndarray, "pixels 3"]]:
    """The pixels of a square (column, row), the triangle that each belongs to, and its place within that one.

    A place is the share of each corner, extrapolated for the pixels around a triangle.
    """
    rows, columns = np.divmod(np.arange(side * side), side)
    pixels = np.stack([columns, rows], axis=-1)
    half = (columns + rows >= side).astype(int)
    start, first, second = corners[half].transpose(1, 0, 2)
    along = (pixels + 0.5 - start) / ((first - start) + (second - start))
    return pixels, half, np.concatenate([1.0 - along.sum(axis=1, keepdims=True), along], axis=1)
