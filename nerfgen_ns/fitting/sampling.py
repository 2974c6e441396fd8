"""The pixels and rays that a step of a fit looks at."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Int
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nerfgen_ns.datamanagers.pixel_sampler import ImagewisePixelSampler, ImagewisePixelSamplerConfig
from nerfgen_ns.datamanagers.pixel_store import PixelStore
from nerfgen_ns.datamanagers.rays import PixelRays

BACKGROUND_REDRAW = 1.0
"""Share of the pixels outside the matte that are drawn once more: fewer of the rays then miss the object."""


@dataclass(frozen=True)
class Views:
    """What is fitted: photographs, each seen with a camera, each of an object.

    A photograph may be there several times, with different cameras or as different objects.
    """

    store: PixelStore
    """The photographs' pixels."""
    photographs: Int[Tensor, "views"]
    """The photograph of each view."""
    cameras: Cameras
    """The camera of each view."""
    objects: Int[Tensor, "views"]
    """The object of each view, numbered from 0 without gaps."""

    def __len__(self) -> int:
        return len(self.photographs)

    @property
    def count_objects(self) -> int:
        """How many objects there are."""
        return int(self.objects.max()) + 1

    def select(self, chosen: Int[Tensor, "chosen"]) -> Views:
        """Only the chosen views; their objects are numbered anew, in their order."""
        _, objects = self.objects[chosen].unique(return_inverse=True)
        return Views(self.store, self.photographs[chosen], self.cameras[chosen], objects)


class ViewSampler:
    """Draws the same number of pixels from every view.

    Args:
        views: what is fitted.
        rays: pixels of each view.
        device: where rays and pixels go.
    """

    def __init__(self, views: Views, rays: int, device: torch.device) -> None:
        config = ImagewisePixelSamplerConfig(
            pixels_per_image=rays,
            num_rays_per_batch=rays * len(views),
            background_redraw_fraction=BACKGROUND_REDRAW,
        )
        self._store = copy.copy(views.store)
        self._store.images = views.photographs
        self._sampler = EveryPhotographSampler(config)
        self._rays = PixelRays(views.cameras.to(device))
        self._view_of_ray = torch.arange(len(views)).repeat_interleave(rays)

    def __call__(self) -> tuple[RayBundle, dict[str, Tensor], Int[Tensor, "rays"]]:
        """The rays, their pixels, and the view of each ray."""
        batch = self._sampler.sample(self._store)
        indices = torch.cat([self._view_of_ray[:, None], batch["indices"][:, 1:]], dim=-1)
        ray_bundle = self._rays(indices)
        device = ray_bundle.origins.device
        return (
            ray_bundle,
            {name: value.to(device) for name, value in batch.items()},
            self._view_of_ray.to(device),
        )


class EveryPhotographSampler(ImagewisePixelSampler):
    """Takes its pixels from every photograph of the store each time, in their order."""

    def sample_indices(self, store: PixelStore) -> Int[Tensor, "rays 3"]:
        """(image, row, column), `pixels_per_image` rays in a row from the same image."""
        image = store.images.repeat_interleave(self.config.pixels_per_image)
        return torch.cat([image[:, None], store.draw(image, self.generator)], dim=-1)
