"""Which pixels a step trains on: some pixels each of some images, and square patches."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
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
    patch_fraction: float = 0.0
    """Share of the rays in square patches of photographs, one patch or more; they are for the losses of
    --pipeline.model.losses.perceptual-loss-mult and normal-smoothness-loss-mult. Such rays are never drawn
    again or through landmarks."""
    patch_size: int = 16
    """Rays along each side of a patch."""
    patch_stride: int = 1
    """Largest distance of neighboring rays of a patch, in pixels; each patch draws its own, from 1 on. With
    a large one a patch shows a larger part of its photograph."""
    keep_full_image: tyro.conf.Suppress[bool] = False
    is_equirectangular: tyro.conf.Suppress[bool] = False
    ignore_mask: tyro.conf.Suppress[bool] = True
    fisheye_crop_radius: tyro.conf.Suppress[float | None] = None
    rejection_sample_mask: tyro.conf.Suppress[bool] = False
    max_num_iterations: tyro.conf.Suppress[int] = 100


def draw_patches(
    store: PixelStore, count: int, size: int, stride: int, generator: torch.Generator | None = None
) -> Int[Tensor, "rays 3"]:
    """Draw square patches of photographs: (image, row, column) row by row, one patch after another.

    A patch is inside its photograph. Where it would not fit, its rays are closer together, so that it has the
    photograph's shorter side; where that has fewer pixels than the patch has rays, some pixels repeat.
    Patches of several scales are the idea of Schwarz et al., "GRAF" (NeurIPS 2020), 3.2.

    Args:
        store: the photographs.
        count: how many patches.
        size: rays along each side of a patch.
        stride: largest distance of neighboring rays in pixels; each patch draws its own.
        generator: where the random numbers come from; torch's own, unless given.
    """
    image = store.images[torch.randint(len(store), (count,), generator=generator, device=store.device)]
    strides = torch.randint(1, stride + 1, (count,), generator=generator, device=store.device)
    sides = torch.stack([store.heights[image], store.widths[image]], dim=-1)
    span = torch.minimum((size - 1) * strides, sides.amin(dim=-1) - 1)[:, None]
    begin = (torch.rand(count, 2, generator=generator, device=store.device) * (sides - span)).long()
    steps = torch.arange(size, device=store.device) * span // (size - 1)
    rows, columns = begin[:, :1] + steps, begin[:, 1:] + steps
    places = [
        image[:, None, None].expand(-1, size, size),
        rows[:, :, None].expand(-1, -1, size),
        columns[:, None, :].expand(-1, size, -1),
    ]
    return torch.stack(places, dim=-1).reshape(-1, 3)


class ImagewisePixelSampler(PixelSampler):
    """Draws images, then pixels uniformly from each: LOLNeRF (CVPR 2022, section 4), 4096 × 32 a step."""

    config: ImagewisePixelSamplerConfig
    generator: torch.Generator | None = None
    """Where the random numbers come from; torch's own, unless set."""
    landmarks: LandmarkPoints | None = None
    """The landmarks of the photographs, where some rays go through them."""

    @property
    def num_patches(self) -> int:
        """Return how many patches a batch has: none, or as many as its share comes to, at least one."""
        if self.config.patch_fraction <= 0:
            return 0
        most = self.num_rays_per_batch // self.config.patch_size**2
        return min(max(1, round(self.config.patch_fraction * most)), most)

    def sample(self, image_batch: PixelStore) -> dict[str, Tensor]:  # type: ignore[override]
        """Draw a batch of `num_rays_per_batch` pixels, with their (image, row, column) under "indices".

        With landmarks it also has "distance" (rays, 1), that of the surface from the camera, and its standard
        deviation, "distance_std" (rays, 1), which is infinite where the distance is unknown. With patches,
        which come first, it has "patches" (patches, size, size): the number of each of their rays.
        """
        store = image_batch.for_a_step(self.generator)
        size, patches = self.config.patch_size, self.num_patches
        in_patches = patches * size**2
        batch: dict[str, Tensor] = {}
        indices = self.sample_indices(store)
        # Every ray gets a second pixel, whether it takes it or not: to ask which do would wait for the GPU.
        if self.config.background_redraw_fraction > 0 and store.has_mattes:
            outside = store.gather(indices)["matte"] == 0
            redrawn = outside & self._chance(store, len(indices), self.config.background_redraw_fraction)
            _replace(indices, redrawn, store.draw(indices[:, 0], self.generator))
        if self.landmarks is not None:
            chosen = self._chance(store, len(indices), self.config.landmark_fraction)
            seen = self.landmarks.draw(indices[:, 0], self.generator)
            _replace(indices, chosen, seen.pixels)
            unknown = (0, 0, in_patches, 0)
            batch["distance"] = F.pad(seen.distance, unknown)
            batch["distance_std"] = F.pad(torch.where(chosen, seen.std, torch.inf), unknown, value=torch.inf)
        if patches > 0:
            drawn = draw_patches(store, patches, size, self.config.patch_stride, self.generator)
            indices = torch.cat([drawn, indices])
            batch["patches"] = torch.arange(in_patches, device=store.device).view(patches, size, size)
        return {**batch, **store.gather(indices), "indices": indices}

    def _chance(self, store: PixelStore, rays: int, chance: float) -> Bool[Tensor, "rays 1"]:
        return torch.rand(rays, 1, generator=self.generator, device=store.device) < chance

    def sample_indices(self, store: PixelStore) -> Int[Tensor, "rays 3"]:
        """Draw random (image, row, column), `pixels_per_image` rays in a row from the same image.

        They are the rays of a batch that are in no patch.
        """
        pixels = self.config.pixels_per_image
        rays = self.num_rays_per_batch - self.num_patches * self.config.patch_size**2
        drawn = torch.randint(
            len(store), (-(-rays // pixels),), generator=self.generator, device=store.device
        )
        image = store.images[drawn].repeat_interleave(pixels)[:rays]
        return torch.cat([image[:, None], store.draw(image, self.generator)], dim=-1)


def _replace(
    indices: Int[Tensor, "rays 3"], chosen: Bool[Tensor, "rays 1"], pixels: Int[Tensor, "rays 2"]
) -> None:
    indices[:, 1:] = torch.where(chosen, pixels, indices[:, 1:])
