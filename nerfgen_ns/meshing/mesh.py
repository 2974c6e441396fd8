"""Triangle meshes, and points, with normals and colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8


@dataclass(frozen=True)
class Texture:
    """An image, and where on it the corners of each face lie."""

    image: UInt8[np.ndarray, "height width 3"]
    """Colours, sRGB."""
    coordinates: Float[np.ndarray, "faces 3 2"]
    """Shares of the image's width from the left and of its height from the top."""


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in the class frame (y up, the front towards +z) and in its units."""

    vertices: Float[np.ndarray, "vertices 3"]
    """Positions."""
    faces: Int[np.ndarray, "faces 3"]
    """Vertices of each triangle, counter-clockwise seen from outside."""
    normals: Float[np.ndarray, "vertices 3"]
    """Smoothed unit normals, outwards."""
    colours: UInt8[np.ndarray, "vertices 3"]
    """Colours, sRGB."""
    texture: Texture | None = None
    """Colours between the vertices as well."""


@dataclass(frozen=True)
class Points:
    """Coloured points with normals, in the class frame and in its units."""

    positions: Float[np.ndarray, "points 3"]
    """Positions."""
    normals: Float[np.ndarray, "points 3"]
    """Unit normals, outwards."""
    colours: UInt8[np.ndarray, "points 3"]
    """Colours, sRGB."""
