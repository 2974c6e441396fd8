"""Which pixels a step trains on: some pixels each of some images."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import tyro
from jaxtyping import Bool, Int
from nerfstudio.data.pixel_samplers import PixelSampler, PixelSamplerConfig
from torch import Tensor

from nerfgen_ns.datamanagers.landmark_points import LandmarkPoints
from nerfgen_ns.datamanagers.pixel_store import PixelStore


@dataclass
class ImagewisePixelSamplerConfig(PixelSamplerConfig):
    """N images × P pixels a step; N follows from the rays a step."""

    _target: type = field(default_factory=lambda: ImagewisePixelSampler)
    """Target class to instantiate."""
    pixels_per_image: int = 32
    """Pixels a step takes from each of the images that it takes at all."""
    background_redraw_fraction: float = 0.0
    """Share of the pixels outside the matte that are drawn once more, so that more rays fall on the objects.
    Without mattes nothing is drawn again."""
    landmark_fraction: float = 0.0
    """Share of the rays through landmarks, whose distance camera fitting has found: it guides the surface
    where few photographs show it from the side. The weight is
    --pipeline.model.losses.landmark-depth-loss-mult. Data without canonical landmarks has no such rays."""
    keep_full_image: tyro.conf.Suppress[bool] = False
    is_equirectangular: tyro.conf.Suppress[bool] = False
    ignore_mask: tyro.conf.Suppress[bool] = True
    fisheye_crop_radius: tyro.conf.Suppress[float | None] = None
    rejection_sample_mask: tyro.conf.Suppress[bool] = False
    max_num_iterations: tyro.conf.Suppress[int] = 100


class ImagewisePixelSampler(PixelSampler):
    """Draws images, then pixels uniformly from each: LOLNeRF (CVPR 2022, section 4), 4096 × 32 a step."""

    config: ImagewisePixelSamplerConfig
    generator: torch.Generator | None = None
    """Where the random numbers come from; torch's own, unless set."""
    landmarks: LandmarkPoints | None = None
    """The landmarks of the photographs, where some rays go through them."""

    def sample(self, image_batch: PixelStore) -> dict[str, Tensor]:  # type: ignore[override]
        """Draw a batch of `num_rays_per_batch` pixels, with their (image, row, column) under "indices".

        With landmarks it also has "distance" (rays, 1), that of the surface from the camera, and its standard
        deviation, "distance_std" (rays, 1), which is infinite where the distance is unknown.
        """
        store = image_batch.for_a_step(self.generator)
        indices = self.sample_indices(store)
        # Every ray gets a second pixel, whether it takes it or not: to ask which do would wait for the GPU.
        if self.config.background_redraw_fraction > 0 and store.has_mattes:
            outside = store.gather(indices)["matte"] == 0
            redrawn = outside & self._chance(store, len(indices), self.config.background_redraw_fraction)
            _replace(indices, redrawn, store.draw(indices[:, 0], self.generator))
        batch: dict[str, Tensor] = {}
        if self.landmarks is not None:
            chosen = self._chance(store, len(indices), self.config.landmark_fraction)
            seen = self.landmarks.draw(indices[:, 0], self.generator)
            _replace(indices, chosen, seen.pixels)
            batch["distance"] = seen.distance
            batch["distance_std"] = torch.where(chosen, seen.std, torch.inf)
        return {**batch, **store.gather(indices), "indices": indices}

    def _chance(self, store: PixelStore, rays: int, chance: float) -> Bool[Tensor, "rays 1"]:
        return torch.rand(rays, 1, generator=self.generator, device=store.device) < chance

    def sample_indices(self, store: PixelStore) -> Int[Tensor, "rays 3"]:
        """Draw random (image, row, column), `pixels_per_image` rays in a row from the same image."""
        pixels = self.config.pixels_per_image
        count = -(-self.num_rays_per_batch // pixels)
        drawn = torch.randint(len(store), (count,), generator=self.generator, device=store.device)
        image = store.images[drawn].repeat_interleave(pixels)[: self.num_rays_per_batch]
        return torch.cat([image[:, None], store.draw(image, self.generator)], dim=-1)


def _replace(
    indices: Int[Tensor, "rays 3"], chosen: Bool[Tensor, "rays 1"], pixels: Int[Tensor, "rays 2"]
) -> None:
    indices[:, 1:] = torch.where(chosen, pixels, indices[:, 1:])
