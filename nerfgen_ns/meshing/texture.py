"""A texture for a mesh: an atlas of charts; the field gives the color of every pixel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int
from PIL import Image, ImageDraw

from nerfgen_ns.errors import UsageError
from nerfgen_ns.meshing.field import ObjectField, Progress, surface_colors
from nerfgen_ns.meshing.mesh import matte

if TYPE_CHECKING:
    from trimesh import Trimesh

LEAST_PIXELS = 4
"""Pixels of the image for each face, at least; the charts cover about half of them."""
LARGEST_TEXTURE = 4096
PADDING = 4
"""Pixels between charts; xatlas makes the atlas up to a third larger than requested, and it is shrunk."""
SCALE = 100.0
"""xatlas drops faces with an area below 1e-7: in the class's units, slivers of marching cubes are smaller."""
CHART_AREA = 0.02
"""Largest area of a chart. With this, and without xatlas's weights for the outlines of charts, 60k faces take
4 s in place of 58 s, and 99 % of the faces get at least 97 % of the mean's pixels for their area."""


def bake_texture(mesh: Trimesh, field: ObjectField, size: int, progress: Progress | None = None) -> Trimesh:
    """Return the mesh with a texture; vertices at the seams of its charts are doubled.

    Args:
        mesh: a mesh of the object, with normals.
        field: the object.
        size: width and height of the texture in pixels.
        progress: called with the number of pixels done and their total.

    Raises:
        UsageError: the texture is too small for the number of faces, or larger than most programs take.
    """
    from scipy import ndimage
    from trimesh import Trimesh
    from trimesh.util import unitize
    from trimesh.visual.texture import TextureVisuals

    least = math.ceil(math.sqrt(LEAST_PIXELS * len(mesh.faces)))
    if not least <= size <= LARGEST_TEXTURE:
        raise UsageError(
            f"a texture of {size} pixels does not fit {len(mesh.faces)} faces: choose a size from "
            f"{least} to {LARGEST_TEXTURE}, or a lower resolution"
        )
    source, faces, uv = _atlas(mesh, size)
    vertices, normals = mesh.vertices[source], mesh.vertex_normals[source]
    pixels, face, shares = _pixels(uv[faces] * (size, -size) + (0, size), size)
    corners = faces[face]
    positions, directions = (
        np.einsum("pc,pcd->pd", shares, values.astype(np.float32)[corners]) for values in (vertices, normals)
    )
    image = np.zeros((size, size, 3), dtype=np.uint8)
    image[pixels] = surface_colors(field, positions, unitize(directions), progress)
    empty = np.ones((size, size), dtype=bool)
    empty[pixels] = False
    # Pixels between charts are like the nearest ones, for programs that interpolate or shrink the image.
    nearest = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
    material = matte(baseColorTexture=Image.fromarray(image[tuple(nearest)]))
    visual = TextureVisuals(uv, material)
    return Trimesh(vertices, faces, vertex_normals=normals, visual=visual, process=False)


def _atlas(
    mesh: Trimesh, size: int
) -> tuple[Int[np.ndarray, " atlas"], Int[np.ndarray, "faces 3"], Float[np.ndarray, "atlas 2"]]:
    """Return the mesh's vertex of each atlas vertex, the faces, and the vertices' places on the image.

    A place is a share of its width from the left and of its height from the bottom.
    """
    import xatlas

    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_chart_area = CHART_AREA * SCALE**2
    charts.straightness_weight = charts.roundness_weight = 0.0
    packing.resolution, packing.padding = size, PADDING
    atlas = xatlas.Atlas()
    atlas.add_mesh((SCALE * mesh.vertices).astype(np.float32), mesh.faces.astype(np.uint32))
    atlas.generate(charts, packing)
    source, faces, uv = atlas[0]
    return source.astype(np.int64), faces.astype(np.int64), uv


def _pixels(
    corners: Float[np.ndarray, "faces 3 2"], size: int
) -> tuple[
    tuple[Int[np.ndarray, " pixels"], Int[np.ndarray, " pixels"]],
    Int[np.ndarray, " pixels"],
    Float[np.ndarray, "pixels 3"],
]:
    """Return the pixels that faces touch (rows, columns), the face of each, and the shares of its corners.

    Args:
        corners: column and row of each corner of each face, in pixels from the upper left corner.
        size: width and height of the image.
    """
    start, first, second = corners.transpose(1, 0, 2)
    first, second = first - start, second - start
    doubled_area = _cross(first, second)
    owner = Image.new("I", (size, size))
    draw = ImageDraw.Draw(owner)
    # Pillow counts from the middle of the first pixel. The largest last: slivers take no other face's pixels.
    outlines = (corners - 0.5).reshape(-1, 6).tolist()
    for number in np.argsort(np.abs(doubled_area)).tolist():
        draw.polygon(outlines[number], fill=number + 1)
    numbers = np.asarray(owner)
    rows, columns = np.nonzero(numbers)
    face = numbers[rows, columns] - 1
    along = np.stack([columns, rows], axis=-1) + 0.5 - start[face]
    with np.errstate(divide="ignore", invalid="ignore"):
        second_share = _cross(first[face], along) / doubled_area[face]
        first_share = _cross(along, second[face]) / doubled_area[face]
    shares = np.stack([1.0 - first_share - second_share, first_share, second_share], axis=-1)
    # The middle of a pixel that a face touches may be outside the face.
    shares = np.nan_to_num(shares).clip(0.0, 1.0).astype(np.float32)
    return (rows, columns), face, shares / shares.sum(axis=-1, keepdims=True)


def _cross(first: Float[np.ndarray, "n 2"], second: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
