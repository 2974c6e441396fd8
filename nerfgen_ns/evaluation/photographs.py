"""The photographs of a prepared folder, and the rows of the latent table that they show."""

from __future__ import annotations

from pathlib import Path

from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.datamanagers.transforms import read_frames, rows_of_frames, transforms_path
from nerfgen_ns.run import quiet_console


def open_dataset(folder: Path, downscale_factor: int = 1) -> NerfgenDataset:
    """All photographs of a prepared folder, with their mattes and cameras."""
    config = NerfgenDataParserConfig(data=folder, downscale_factor=downscale_factor)
    with quiet_console():
        return NerfgenDataset(config.setup().get_dataparser_outputs(split="train"))


def row_of_identity(folder: Path) -> dict[int, int]:
    """The row of the latent table for each identity of the folder that a run was trained on."""
    frames = read_frames(transforms_path(folder))
    identities = (frame.get("identity", place) for place, frame in enumerate(frames))
    return dict(zip(identities, rows_of_frames(frames), strict=True))
