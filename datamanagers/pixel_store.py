"""All pixels that train: as bytes in memory, on the device that trains, or in a file read page by page."""

from __future__ import annotations

import copy
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float, Int, UInt8, UInt32
from nerfstudio.utils.rich_utils import CONSOLE
from rich.progress import track
from torch import Tensor

from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.utils.files import hash_of, replace_file

BYTES_OF_PIXEL = 4
"""Red, green, blue and the matte."""
MOST_AT_ONCE = 8
"""Largest number of images that are decoded, and in memory, at the same time."""


class PixelStore:
    """Colors and mattes of a data set's images, four bytes a pixel, images of any sizes one after another.

    Images are decoded a few at a time; they are never in memory as floats all together.

    Args:
        dataset: where the images come from.
        images: the numbers of the images to hold.
        device: where the pixels are. On a GPU steps draw and gather them there, and wait for nothing.
    """

    has_mattes: bool

    def __init__(
        self,
        dataset: NerfgenDataset,
        images: Int[np.ndarray, " chosen"],
        device: torch.device | str = "cpu",
    ) -> None:
        cameras = dataset.cameras
        self.device = torch.device(device)
        self.images = torch.as_tensor(images, dtype=torch.long)
        self.heights = cameras.height.flatten().long().cpu()
        self.widths = cameras.width.flatten().long().cpu()
        self.sizes = torch.zeros_like(self.heights)
        self.sizes[self.images] = self.heights[self.images] * self.widths[self.images]
        self.offsets = self.sizes.cumsum(0) - self.sizes
        self._hold(dataset)

    def _hold(self, dataset: NerfgenDataset) -> None:
        """Read all pixels."""
        values = np.empty((int(self.sizes.sum()), BYTES_OF_PIXEL), dtype=np.uint8)
        self.has_mattes = True
        for image, (pixels, has_matte) in self._decoded(dataset):
            values[int(self.offsets[image]) :][: len(pixels)] = pixels
            self.has_mattes &= has_matte
        self.values = torch.from_numpy(values).to(self.device)
        for name in ("images", "heights", "widths", "sizes", "offsets"):
            setattr(self, name, getattr(self, name).to(self.device))

    def _decoded(self, dataset: NerfgenDataset) -> Iterator[tuple[int, tuple[np.ndarray, bool]]]:
        """Yield the images in the order in which they are held: number, pixels, whether there is a matte."""
        threads = min(os.cpu_count() or 1, MOST_AT_ONCE)
        with ThreadPoolExecutor(threads) as pool:
            for some in self.images.sort().values.split(threads):
                numbers = some.tolist()
                yield from zip(numbers, pool.map(lambda n: read_pixels(dataset, n), numbers), strict=True)

    def __len__(self) -> int:
        return len(self.images)

    def for_a_step(self, generator: torch.Generator | None = None) -> PixelStore:
        """Return the store that one step draws from; see `FilePixelStore`."""
        return self

    def draw(
        self, image: Int[Tensor, " rays"], generator: torch.Generator | None = None
    ) -> Int[Tensor, "rays 2"]:
        """Draw a random (row, column) in each of the images."""
        size = torch.stack([self.heights[image], self.widths[image]], dim=-1)
        return (torch.rand(size.shape, generator=generator, device=self.device) * size).long()

    def gather(self, indices: Int[Tensor, "rays 3"]) -> dict[str, Float[Tensor, "rays channels"]]:
        """Return pixels in [0, 1] at (image, row, column): "image" and, where there are mattes, "matte"."""
        image, row, column = indices.unbind(-1)
        pixels = self._bytes_of(image, row * self.widths[image] + column).float() / 255.0
        batch = {"image": pixels[:, :3]}
        if self.has_mattes:
            batch["matte"] = pixels[:, 3:]
        return batch

    def _bytes_of(self, image: Int[Tensor, " rays"], pixel: Int[Tensor, " rays"]) -> UInt8[Tensor, "rays 4"]:
        """Return the bytes of pixels, counted row by row within their image."""
        return self.values[self.offsets[image] + pixel]


def read_pixels(dataset: NerfgenDataset, image: int) -> tuple[UInt8[np.ndarray, "pixels 4"], bool]:
    """Read an image's pixels row by row, and whether it has a matte; without one the fourth byte is 0."""
    colors, matte = dataset.get_numpy_image(image), dataset.get_numpy_matte(image)
    pixels = np.zeros((colors.shape[0] * colors.shape[1], BYTES_OF_PIXEL), dtype=np.uint8)
    pixels[:, :3] = colors.reshape(-1, 3)
    if matte is not None:
        pixels[:, 3] = matte.reshape(-1)
    return pixels, matte is not None


PAGE = 1024
"""Pixels that are read together: four kilobytes, the least that a disk reads."""


class PixelFile:
    """Pixels of four bytes each in a file; after them, 1 if there are mattes.

    What was read stays in the system's cache, which the system frees when other programs need memory. The
    file is read and not mapped: each page of a mapped file that is read counts as memory of the process, with
    up to 512 pages around it.

    Args:
        path: a file that `write` made.
        count: how many pixels are in it.

    Raises:
        NerfgenError: it is shorter than that.
    """

    def __init__(self, path: Path, count: int) -> None:
        self._file = path.open("rb")
        self._pixels = count
        flag = np.empty(1, dtype=np.uint32)
        self._read(flag, 4 * self._pixels)
        self.has_mattes = bool(flag[0])
        """Whether the fourth byte of each pixel is a matte."""

    def take(self, places: Int[np.ndarray, " pixels"]) -> UInt8[np.ndarray, "pixels 4"]:
        """Read the pixels at places, counted from the beginning of the file.

        All pages are requested before the first is read, so that a disk serves many at once.
        """
        handle = self._file.fileno()
        pages, page_of_place = np.unique(places // PAGE, return_inverse=True)
        if hasattr(os, "posix_fadvise"):
            for page in pages.tolist():
                os.posix_fadvise(handle, 4 * PAGE * page, 4 * PAGE, os.POSIX_FADV_WILLNEED)
        content = np.empty((len(pages), PAGE), dtype=np.uint32)
        for place, page in enumerate(pages.tolist()):
            self._read_page(content[place], page)
        return content[page_of_place, places % PAGE].view(np.uint8).reshape(-1, 4)

    def _read_page(self, page: UInt32[np.ndarray, " pixels"], number: int) -> None:
        """Read one page; the last of the file may be shorter, and the rest of `page` stays as it is."""
        begin = PAGE * number
        self._read(page[: self._pixels - begin], 4 * begin)

    def _read(self, values: UInt32[np.ndarray, " pixels"], begin: int) -> None:
        """Fill values from the file, from byte `begin` on. The system may give less than it is asked for.

        Raises:
            NerfgenError: the file ends before, or cannot be read.
        """
        wanted = memoryview(values.data).cast("B")
        done = 0
        try:
            while done < len(wanted):
                read = os.preadv(self._file.fileno(), [wanted[done:]], begin + done)
                if read == 0:
                    raise EOFError("it is shorter than it was")
                done += read
        except (OSError, EOFError) as error:
            raise NerfgenError(
                f"{self._file.name}: the pixels cannot be read ({error}); delete the file and train again"
            ) from error


def write(path: Path, count: int, images: Iterable[tuple[UInt8[np.ndarray, "pixels 4"], bool]]) -> None:
    """Write a file of `count` pixels, unless it is there; another process that wants it too waits.

    Args:
        path: where.
        count: how many pixels the images have together.
        images: the pixels of one image after another, and whether it has a matte.

    Raises:
        NerfgenError: the disk has no room for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists() and path.stat().st_size == 4 * (count + 1):
            return
        free = shutil.disk_usage(path.parent).free
        if 4 * count > free:
            raise NerfgenError(
                f"{path.parent}: the pixels take {4 * count / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
                "choose another --pipeline.datamanager.pixel-folder or a larger "
                "--pipeline.datamanager.dataparser.downscale-factor"
            )
        have_mattes = True
        with replace_file(path) as temporary, temporary.open("wb") as file:
            for pixels, has_matte in images:
                file.write(np.ascontiguousarray(pixels).data)
                have_mattes &= has_matte
            file.write(np.uint32(have_mattes).tobytes())


def name_of(files: Iterable[Path], *arrays: Int[np.ndarray, "..."]) -> str:
    """Return a name that changes when one of the files or one of the arrays changes."""
    stamps = []
    for file in files:
        try:
            status = file.stat()
            stamps.append(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n")
        except OSError:
            # The reader reports it, or shows gray in its place.
            stamps.append(f"{file}\0\n")
    return hash_of([*stamps, *(array.tobytes() for array in arrays)])[:20]


WINDOW = 256
"""Pixels of an image that one step draws from: they are side by side in the file, a kilobyte."""
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


class FilePixelStore(PixelStore):
    """A pixel store that is written to a file once, and read from there.

    A disk reads whole pages. An image's pixels are scattered, so that all that a step takes from it are in
    one page: its place p holds pixel p·stride modulo the number of pixels. The stride is near the golden
    section of that number, which spreads any run of places evenly over the image (Weyl's sequence). A step
    draws from a run of `WINDOW` places that begins anywhere, so that each of its pixels is uniform over the
    image.

    Args:
        dataset: where the images come from.
        images: the numbers of the images to hold.
        folder: where the file goes, or is from an earlier run.
    """

    def __init__(self, dataset: NerfgenDataset, images: Int[np.ndarray, " chosen"], folder: Path) -> None:
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
        name = name_of(names, self.images.numpy(), self.heights.numpy(), self.widths.numpy())
        path, count = self.folder / f"{name}.pixels", int(self.sizes.sum())
        if not path.exists():
            CONSOLE.print(f"Laying out {len(self)} photographs once in {path}, {4e-9 * count:.1f} GB.")
        write(path, count, self._scattered(dataset))
        self._file = PixelFile(path, count)
        self.has_mattes = self._file.has_mattes

    def _scattered(self, dataset: NerfgenDataset) -> Iterator[tuple[UInt8[np.ndarray, "pixels 4"], bool]]:
        order: dict[int, Int[np.ndarray, " pixels"]] = {}
        decoded = track(self._decoded(dataset), "photographs", len(self), console=CONSOLE, transient=True)
        for image, (pixels, has_matte) in decoded:
            size = len(pixels)
            if size not in order:
                order[size] = np.arange(size)
                order[size] *= int(self.strides[image])
                order[size] %= size
            yield pixels[order[size]], has_matte

    def for_a_step(self, generator: torch.Generator | None = None) -> FilePixelStore:
        """Return the store with a new window in each image, from which `draw` then draws."""
        step = copy.copy(self)
        step._window = int(torch.randint(1 << 31, (), generator=generator))
        return step

    def draw(
        self, image: Int[Tensor, " rays"], generator: torch.Generator | None = None
    ) -> Int[Tensor, "rays 2"]:
        """Draw a random (row, column) in the window of each of the images."""
        # Another image's window begins elsewhere.
        begin = self._window + image * 0x9E3779B1
        drawn = torch.randint(WINDOW, image.shape, generator=generator)
        pixel = (begin + drawn) % self.sizes[image] * self.strides[image] % self.sizes[image]
        return torch.stack([pixel // self.widths[image], pixel % self.widths[image]], dim=-1)

    def _bytes_of(self, image: Int[Tensor, " rays"], pixel: Int[Tensor, " rays"]) -> UInt8[Tensor, "rays 4"]:
        place = pixel * self.inverses[image] % self.sizes[image]
        return torch.from_numpy(self._file.take((self.offsets[image] + place).numpy()))


def stride_of(count: int) -> int:
    """Return the first number, from the golden section of `count` on, that shares no divisor with it."""
    stride = max(round(GOLDEN * count), 1)
    while math.gcd(stride, count) != 1:
        stride += 1
    return stride
