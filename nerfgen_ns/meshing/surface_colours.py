"""Colours of an object: on its surface, where they are what a ray along the normal sees, and inside it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8

from nerfgen_ns.compositing import rendering_weights
from nerfgen_ns.meshing.lattice import Progress
from nerfgen_ns.meshing.object_field import CHUNK, ObjectField

SAMPLES = 6
REACH = (-0.02, 0.04)
"""From where to where the samples of a point lie, along its inward normal; units of the class frame."""


def surface_colours(
    field: ObjectField,
    positions: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    progress: Progress | None = None,
) -> UInt8[np.ndarray, "n 3"]:
    """Colours as the renderer makes them, of rays that meet the surface straight on.

    A pixel mixes the colours through which the density rises, which lie a little inside the surface.

    Args:
        field: the object.
        positions: points on its surface.
        normals: unit normals there, outwards.
        progress: called with the number of points done and their total.
    """
    bounds = torch.linspace(*REACH, SAMPLES + 1, device=field.device)
    middles, lengths = 0.5 * (bounds[1:] + bounds[:-1]), bounds[1:] - bounds[:-1]
    colours = np.empty((len(positions), 3), dtype=np.uint8)
    chunk = CHUNK // SAMPLES
    with torch.no_grad():
        for start in range(0, len(positions), chunk):
            own = slice(start, start + chunk)
            origins = torch.from_numpy(positions[own]).to(bounds)
            inwards = -torch.from_numpy(normals[own]).to(bounds)
            samples = origins[:, None] + inwards[:, None] * middles[:, None]
            density, colour = field.density_and_colour(samples.view(-1, 3))
            # The little that is added keeps the mean defined where a thin part lets the ray through.
            weights = rendering_weights(density.view(-1, SAMPLES) + 1e-3, lengths.expand(len(origins), -1))
            mixed = (weights[..., None] * colour.view(-1, SAMPLES, 3)).sum(dim=1) / weights.sum(dim=1)[
                :, None
            ]
            colours[own] = _bytes(mixed)
            if progress is not None:
                progress(min(start + chunk, len(positions)), len(positions))
    return colours


def colours_at(field: ObjectField, positions: Float[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    """The field's own colours at positions within an object."""
    colours = np.empty((len(positions), 3), dtype=np.uint8)
    with torch.no_grad():
        for start in range(0, len(positions), CHUNK):
            own = slice(start, start + CHUNK)
            _, colour = field.density_and_colour(torch.from_numpy(positions[own]).to(field.device))
            colours[own] = _bytes(colour)
    return colours


def _bytes(colours: Float[torch.Tensor, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    return (colours.clamp(0.0, 1.0) * 255.0).round().byte().cpu().numpy()
