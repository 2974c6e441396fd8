"""The data set: an image with its matte, made smaller as it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from nerfstudio.data.datasets.base_dataset import InputDataset
from PIL import Image
from torch import Tensor

from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.utils.console import quiet_console
from nerfgen_ns.utils.files import digest_of


def open_dataset(folder: Path, downscale_factor: int = 1) -> NerfgenDataset:
    """Open all photographs of a prepared folder, with their mattes and cameras."""
    config = NerfgenDataParserConfig(data=folder, downscale_factor=downscale_factor)
    with quiet_console():
        return NerfgenDataset(config.setup().get_dataparser_outputs(split="train"))


GRAY = 128
"""The shade that is shown in place of a photograph that is gone."""


class NerfgenDataset(InputDataset):
    """Images at the size of their cameras, as RGB, and beside each, under "matte", its matte.

    The matte comes from the file that the data parser names, or else from the image's alpha channel; where
    there is neither, there is no "matte".

    A run that is opened shows its cameras whether or not its photographs are there: those that are gone or
    have changed since are gray and have no matte.
    """

    def is_gone(self, image_idx: int) -> bool:
        """Return whether a photograph of a run that is opened is gone or has changed."""
        digests = self.metadata.get("digests")
        return digests is not None and digest_of(self.image_filenames[image_idx]) != digests[image_idx]

    def get_numpy_image(self, image_idx: int) -> UInt8[np.ndarray, "height width 3"]:
        """Return the colors of one image, 0–255."""
        if self.is_gone(image_idx):
            camera = self.cameras[image_idx]
            return np.full((int(camera.height), int(camera.width), 3), GRAY, dtype=np.uint8)
        return np.asarray(self._read(self.image_filenames[image_idx], image_idx).convert("RGB"))

    def get_numpy_matte(self, image_idx: int) -> UInt8[np.ndarray, "height width"] | None:
        """Return the matte of one image, 0–255, or None if the data has none."""
        if self.is_gone(image_idx):
            return None
        filenames = self.metadata["matte_filenames"]
        if filenames is not None:
            return np.asarray(self._read(filenames[image_idx], image_idx).convert("L"))
        image = self._read(self.image_filenames[image_idx], image_idx)
        return np.asarray(image.getchannel("A")) if "A" in image.getbands() else None

    def get_metadata(self, data: dict) -> dict[str, Float[Tensor, "height width 1"]]:
        """Return the matte in [0, 1], if there is one."""
        matte = self.get_numpy_matte(data["image_idx"])
        return {} if matte is None else {"matte": torch.from_numpy(matte / np.float32(255))[..., None]}

    def _read(self, path: Path, image_idx: int) -> Image.Image:
        camera = self.cameras[image_idx]
        size = (int(camera.width), int(camera.height))
        try:
            with Image.open(path) as file:
                image: Image.Image = file
                _check_shape(path, image.size, size)
                # Pillow averages over areas only in modes that hold shades.
                if image.mode in ("1", "P", "LA", "PA"):
                    has_alpha = "transparency" in image.info or "A" in image.mode
                    image = image.convert("RGBA" if has_alpha else "RGB")
                return image.copy() if image.size == size else image.resize(size, Image.Resampling.BOX)
        except (OSError, SyntaxError) as error:
            raise NerfgenError(f"{path}: not a readable image ({error}); prepare the folder again") from error


def _check_shape(path: Path, size: tuple[int, int], wanted: tuple[int, int]) -> None:
    """Check that an image of any size has the shape of its camera, to a pixel."""
    stretch = (size[0] / size[1]) / (wanted[0] / wanted[1])
    if abs(stretch - 1.0) > 1.0 / wanted[0] + 1.0 / wanted[1]:
        raise NerfgenError(
            f"{path}: {size[0]}×{size[1]} pixels are of another shape than the {wanted[0]}×{wanted[1]} of "
            'its camera; correct "w" and "h" in the transforms.json, or prepare the folder again'
        )
