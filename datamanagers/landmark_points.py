"""Points of the objects whose distance is known: landmarks in 3D, as camera fitting has found them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.datamanagers.data_record import DataRecord
from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.camera_fitting.canonical_model import CanonicalModel

VISIBLE = 0.4
"""Cosine between a landmark's direction from the middle of the class and that to the camera, from which on
the landmark is taken to be visible."""


class Seen(NamedTuple):
    """Landmarks that cameras see, each with the pixel that shows it."""

    pixels: Int[Tensor, "landmarks 2"]
    """Row and column."""
    distance: Float[Tensor, "landmarks 1"]
    """From the camera, along the ray, in the class's units."""
    std: Float[Tensor, "landmarks 1"]
    """Its standard deviation; infinite where the landmark is not visible."""


class LandmarkPoints:
    """Draws landmarks of photographs, with the pixels that show them and their distances.

    The landmarks of a photograph are those of its own shape: canonical landmarks and coefficients of the
    basis, from the joint fit of the collection. Their standard deviation is that of the relative depth in the
    fit. What is hidden is told by the direction from the middle of the class: objects are taken to be
    roughly convex.

    Args:
        record: the photographs, with their coefficients and the canonical landmarks.
        cameras: of the photographs, at the size at which they train.
        device: where landmarks are drawn.

    Raises:
        UsageError: the data has no canonical landmarks that can be used.
    """

    def __init__(self, record: DataRecord, cameras: Cameras, device: torch.device | str = "cpu") -> None:
        model = _canonical_model(record)
        coefficients = record.coefficients
        if coefficients is None:
            coefficients = np.zeros((len(record.images), len(model.basis)))
        rotation, shift = record.transform[:, :3].double(), record.transform[:, 3].double()
        scale = record.scale
        self.canonical = ((torch.from_numpy(model.canonical) @ rotation.T + shift) * scale).float()
        self.basis = (torch.from_numpy(model.basis) @ rotation.T * scale).float()
        self.std = (torch.from_numpy(model.depth_noise_std) * scale).float()
        self.coefficients = torch.from_numpy(coefficients).float()
        self.poses = cameras.camera_to_worlds.cpu()
        # A column each: focal lengths, principal point, size.
        self.intrinsics = torch.cat(
            [getattr(cameras, name).cpu().float() for name in ("fx", "fy", "cx", "cy", "width", "height")], 1
        )
        for name, values in vars(self).items():
            setattr(self, name, values.to(device))

    def draw(self, image: Int[Tensor, " landmarks"], generator: torch.Generator | None = None) -> Seen:
        """Draw a random landmark of each of the photographs."""
        landmark = torch.randint(
            len(self.canonical), image.shape, generator=generator, device=self.canonical.device
        )
        positions = self.canonical[landmark] + torch.einsum(
            "lk,kld->ld", self.coefficients[image], self.basis[:, landmark]
        )
        pose, (fx, fy, cx, cy, width, height) = self.poses[image], self.intrinsics[image].unbind(-1)
        to_camera = pose[:, :, 3] - positions
        x, y, z = torch.einsum("lij,li->lj", pose[:, :, :3], -to_camera).unbind(-1)
        column, row = cx - fx * x / z, cy + fy * y / z
        inside = (z < 0) & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        faces_camera = F.cosine_similarity(positions, to_camera, dim=-1) > VISIBLE
        pixels = torch.stack([torch.where(inside, row, 0.0), torch.where(inside, column, 0.0)], dim=-1)
        return Seen(
            pixels.long(),
            to_camera.norm(dim=-1, keepdim=True),
            torch.where(inside & faces_camera, self.std[landmark], torch.inf)[:, None],
        )


def _canonical_model(record: DataRecord) -> CanonicalModel:
    contents: dict[str, Any] | None = record.canonical_landmarks
    fix = "leave --pipeline.datamanager.pixel-sampler.landmark-fraction out, or prepare the folder"
    if contents is None:
        raise UsageError(f"{record.data}: has no canonical_landmarks.json; {fix}")
    try:
        return CanonicalModel.from_dict(contents)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{record.data}: its canonical_landmarks.json cannot be used ({error}); {fix}"
        ) from error
