"""All pixels that train, in a file: a step reads few places of it, however many pixels it takes there."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from nerfstudio.utils.rich_utils import CONSOLE
from rich.progress import track
from torch import Tensor

from nerfgen_ns.datamanagers import pixel_file
from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.datamanagers.pixel_store import PixelStore

WINDOW = 256
"""Pixels of an image that one step draws from: they lie side by side in the file, a kilobyte."""
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


class FilePixelStore(PixelStore):
    """A pixel store that is laid out in a file once, and read from there.

    A disk reads whole pages. So that all pixels that a step takes from an image come with one of them, an
    image's pixels are scattered: its place p holds pixel p·stride modulo the number of pixels, the stride
    near the golden section of that number, which spreads any run of places evenly over the image (Weyl's
    sequence). A step draws from a run of `WINDOW` places that begins anywhere, so that each of its pixels is
    uniform over the image.

    Args:
        dataset: where the images come from.
        images: the numbers of the images to hold.
        folder: where the file goes, or lies from another time.
    """

    def __init__(self, dataset: NerfgenDataset, images: Int[np.ndarray, "chosen"], folder: Path) -> None:
        self.folder = folder
        super().__init__(dataset, images)

    def _hold(self, dataset: NerfgenDataset) -> None:
        # Images that are not held have no pixels.
        sizes, kinds = self.sizes.clamp(min=1).unique(return_inverse=True)
        strides = [stride_of(size) for size in sizes.tolist()]
        self.strides = torch.tensor(strides)[kinds]
        inverses = [pow(stride, -1, size) for stride, size in zip(strides, sizes.tolist(), strict=True)]
        self.inverses = torch.tensor(inverses)[kinds]
        self._window = 0

        names = [dataset.image_filenames[image] for image in self.images.tolist()]
        mattes = dataset.metadata["matte_filenames"] or []
        names += [mattes[image] for image in self.images.tolist()] if mattes else []
        name = pixel_file.name_of(names, self.images.numpy(), self.heights.numpy(), self.widths.numpy())
        path, count = self.folder / f"{name}.pixels", int(self.sizes.sum())
        if not path.exists():
            CONSOLE.print(f"Laying out {len(self)} photographs once in {path}, {4e-9 * count:.1f} GB.")
        pixel_file.write(path, count, self._scattered(dataset))
        self._file = pixel_file.PixelFile(path, count)
        self.has_mattes = self._file.has_mattes

    def _scattered(self, dataset: NerfgenDataset) -> Iterator[tuple[UInt8[np.ndarray, "pixels 4"], bool]]:
        order: dict[int, Int[np.ndarray, "pixels"]] = {}
        decoded = track(self._decoded(dataset), "photographs", len(self), console=CONSOLE, transient=True)
        for image, (pixels, has_matte) in decoded:
            size = len(pixels)
            if size not in order:
                order[size] = np.arange(size)
                order[size] *= int(self.strides[image])
                order[size] %= size
            yield pixels[order[size]], has_matte

    def for_a_step(self, generator: torch.Generator | None = None) -> FilePixelStore:
        """The store with a new window in each image, from which `draw` then draws."""
        step = copy.copy(self)
        step._window = int(torch.randint(1 << 31, (), generator=generator))
        return step

    def draw(
        self, image: Int[Tensor, "rays"], generator: torch.Generator | None = None
    ) -> Int[Tensor, "rays 2"]:
        """A random (row, column) in the window of each of the images."""
        # Another image's window begins elsewhere.
        begin = self._window + image * 0x9E3779B1
        drawn = torch.randint(WINDOW, image.shape, generator=generator)
        pixel = (begin + drawn) % self.sizes[image] * self.strides[image] % self.sizes[image]
        return torch.stack([pixel // self.widths[image], pixel % self.widths[image]], dim=-1)

    def _bytes_of(
        self, image: Int[Tensor, "rays"], pixel: Int[Tensor, "rays"]
    ) -> UInt8[np.ndarray, "rays 4"]:
        place = pixel * self.inverses[image] % self.sizes[image]
        return self._file.take((self.offsets[image] + place).numpy())


def stride_of(count: int) -> int:
    """The first number from the golden section of `count` on that shares no divisor with it."""
    stride = max(round(GOLDEN * count), 1)
    while math.gcd(stride, count) != 1:
        stride += 1
    return stride
