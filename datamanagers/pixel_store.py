"""All pixels that train, as bytes in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from nerfgen_ns.datamanagers.dataset import NerfgenDataset

BYTES_OF_PIXEL = 4
"""Red, green, blue and the matte."""
MOST_AT_ONCE = 8
"""Images that are decoded side by side, at most: no more of them exist together."""


class PixelStore:
    """Colours and mattes of a data set's images, four bytes a pixel, images of any sizes one after another.

    Images are decoded a few at a time; as floats they never exist together.

    Args:
        dataset: where the images come from.
        images: the numbers of the images to hold.
    """

    has_mattes: bool

    def __init__(self, dataset: NerfgenDataset, images: Int[np.ndarray, "chosen"]) -> None:
        cameras = dataset.cameras
        self.images = torch.as_tensor(images, dtype=torch.long)
        self.heights = cameras.height.flatten().long()
        self.widths = cameras.width.flatten().long()
        self.sizes = torch.zeros_like(self.heights)
        self.sizes[self.images] = self.heights[self.images] * self.widths[self.images]
        self.offsets = self.sizes.cumsum(0) - self.sizes
        self._hold(dataset)

    def _hold(self, dataset: NerfgenDataset) -> None:
        """Read all pixels."""
        self.values = np.empty((int(self.sizes.sum()), BYTES_OF_PIXEL), dtype=np.uint8)
        self.has_mattes = True
        for image, (pixels, has_matte) in self._decoded(dataset):
            self.values[int(self.offsets[image]) :][: len(pixels)] = pixels
            self.has_mattes &= has_matte

    def _decoded(self, dataset: NerfgenDataset) -> Iterator[tuple[int, tuple[np.ndarray, bool]]]:
        """The images in the order in which they are held: number, pixels, whether there is a matte."""
        threads = min(os.cpu_count() or 1, MOST_AT_ONCE)
        with ThreadPoolExecutor(threads) as pool:
            for some in self.images.sort().values.split(threads):
                numbers = some.tolist()
                yield from zip(numbers, pool.map(lambda n: read_pixels(dataset, n), numbers), strict=True)

    def __len__(self) -> int:
        return len(self.images)

    def for_a_step(self, generator: torch.Generator | None = None) -> PixelStore:
        """The store as one step draws from it; see `FilePixelStore`."""
        return self

    def draw(
        self, image: Int[Tensor, "rays"], generator: torch.Generator | None = None
    ) -> Int[Tensor, "rays 2"]:
        """A random (row, column) in each of the images."""
        size = torch.stack([self.heights[image], self.widths[image]], dim=-1)
        return (torch.rand(size.shape, generator=generator) * size).long()

    def gather(self, indices: Int[Tensor, "rays 3"]) -> dict[str, Float[Tensor, "rays channels"]]:
        """Pixels in [0, 1] at (image, row, column): "image" and, where there are mattes, "matte"."""
        image, row, column = indices.unbind(-1)
        pixels = torch.from_numpy(self._bytes_of(image, row * self.widths[image] + column)).float() / 255.0
        batch = {"image": pixels[:, :3]}
        if self.has_mattes:
            batch["matte"] = pixels[:, 3:]
        return batch

    def _bytes_of(
        self, image: Int[Tensor, "rays"], pixel: Int[Tensor, "rays"]
    ) -> UInt8[np.ndarray, "rays 4"]:
        """The bytes of pixels, counted row by row within their image."""
        return self.values[(self.offsets[image] + pixel).numpy()]


def read_pixels(dataset: NerfgenDataset, image: int) -> tuple[UInt8[np.ndarray, "pixels 4"], bool]:
    """An image's pixels row by row, and whether it has a matte; without one the fourth byte is 0."""
    colours, matte = dataset.get_numpy_image(image), dataset.get_numpy_matte(image)
    pixels = np.zeros((colours.shape[0] * colours.shape[1], BYTES_OF_PIXEL), dtype=np.uint8)
    pixels[:, :3] = colours.reshape(-1, 3)
    if matte is not None:
        pixels[:, 3] = matte.reshape(-1)
    return pixels, matte is not None
