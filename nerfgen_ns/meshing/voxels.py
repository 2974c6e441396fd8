"""Voxel grids with colours."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from nerfgen_ns.files import replace_file
from nerfgen_ns.meshing.mesh_files import check_suffix


def _class_box() -> Float[np.ndarray, "2 3"]:
    return np.array([[-1.0] * 3, [1.0] * 3], dtype=np.float32)


@dataclass(frozen=True)
class Voxels:
    """A cube of voxels; its axes are x, y and z of the class frame, each rising."""

    occupancy: Bool[np.ndarray, "n n n"]
    """Whether the middle of each voxel lies in the object."""
    colour: UInt8[np.ndarray, "n n n 3"]
    """Colours of the occupied voxels, sRGB; 0 elsewhere."""
    box: Float[np.ndarray, "2 3"] = field(default_factory=_class_box)
    """The least and the greatest corner of the cube in the class frame."""


def largest_body(inside: Bool[np.ndarray, "n n n"]) -> Bool[np.ndarray, "n n n"]:
    """Of the bodies whose voxels touch at faces the largest, its cavities filled."""
    from scipy import ndimage

    bodies, _ = ndimage.label(inside)
    sizes = np.bincount(bodies.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes(bodies == sizes.argmax())


def write_voxels(path: Path, voxels: Voxels) -> None:
    """Write voxels as .npz with the arrays `occupancy`, `colour` and `box`.

    Raises:
        UsageError: another suffix.
        NerfgenError: the file cannot be written.
    """
    check_suffix(path, (".npz",))
    with replace_file(path) as temporary:
        np.savez_compressed(temporary, occupancy=voxels.occupancy, colour=voxels.colour, box=voxels.box)
