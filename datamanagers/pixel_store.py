"""All pixels that train, as bytes."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfgen_ns.datamanagers.dataset import NerfgenDataset


class PixelStore:
    """Colours and mattes of a data set's images, four bytes a pixel, images of any sizes one after another.

    Images are decoded one at a time; as floats they never exist together.

    Args:
        dataset: where the images come from.
        images: the numbers of the images to hold.
    """

    def __init__(self, dataset: NerfgenDataset, images: np.ndarray) -> None:
        cameras = dataset.cameras
        self.images = torch.as_tensor(images, dtype=torch.long)
        self.heights = cameras.height.flatten().long()
        self.widths = cameras.width.flatten().long()
        sizes = torch.zeros_like(self.heights)
        sizes[self.images] = self.heights[self.images] * self.widths[self.images]
        self.offsets = sizes.cumsum(0) - sizes
        self.values = np.empty((int(sizes.sum()), 4), dtype=np.uint8)
        self.has_mattes = True
        for image in images.tolist():
            span = slice(int(self.offsets[image]), int(self.offsets[image] + sizes[image]))
            self.values[span, :3] = dataset.get_numpy_image(image).reshape(-1, 3)
            matte = dataset.get_numpy_matte(image)
            self.has_mattes &= matte is not None
            if matte is not None:
                self.values[span, 3] = matte.reshape(-1)

    def __len__(self) -> int:
        return len(self.images)

    def gather(self, indices: Int[Tensor, "rays 3"]) -> dict[str, Float[Tensor, "rays channels"]]:
        """Pixels in [0, 1] at (image, row, column): "image" and, where there are mattes, "matte"."""
        image, row, column = indices.unbind(-1)
        places = self.offsets[image] + row * self.widths[image] + column
        pixels = torch.from_numpy(self.values[places.numpy()]).float() / 255.0
        batch = {"image": pixels[:, :3]}
        if self.has_mattes:
            batch["matte"] = pixels[:, 3:]
        return batch
