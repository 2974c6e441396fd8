"""The data parser `nerfgen-data`: a prepared folder, any nerfstudio data set, or a plain folder of photographs."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.nerfstudio_dataparser import Nerfstudio, NerfstudioDataParserConfig

from nerfgen_ns.errors import UsageError
from nerfgen_ns.files import read_json


@dataclass
class NerfgenDataParserConfig(NerfstudioDataParserConfig):
    """Cameras as they are: the class frame is the world frame, so nothing is turned, centred or scaled."""

    _target: type = field(default_factory=lambda: NerfgenDataParser)
    """Target class to instantiate."""
    data: Path = Path()
    """A prepared folder, a transforms.json, or a plain folder of photographs, which is prepared first and cached."""
    downscale_factor: float | None = None
    """How much smaller than the files the images are, averaged over areas as they are read; 1 if not set."""
    orientation_method: Literal["pca", "up", "vertical", "none"] = "none"
    """The method to use for orientation."""
    center_method: Literal["poses", "focus", "none"] = "none"
    """The method to use to center the poses."""
    auto_scale_poses: bool = False
    """Whether to automatically scale the poses to fit in +/- 1 bounding box."""
    eval_fraction: float = 0.0
    """Share of the photographs set aside from training, evenly spread, to be fitted and judged afterwards. With 0
    every photograph trains, and evaluation looks at their reconstruction."""
    eval_mode: tyro.conf.Suppress[Literal["fraction", "filename", "interval", "all"]] = "all"
    train_split_fraction: tyro.conf.Suppress[float] = 1.0
    eval_interval: tyro.conf.Suppress[int] = 8
    depth_unit_scale_factor: tyro.conf.Suppress[float] = 1e-3
    mask_color: tyro.conf.Suppress[tuple[float, float, float] | None] = None
    load_3D_points: tyro.conf.Suppress[bool] = False


@dataclass
class NerfgenDataParser(Nerfstudio):
    """Reads a folder of photographs, one camera and one matte each.

    What nerfstudio calls a mask is a matte here, soft and never a reason to leave pixels out: its files are
    listed in the metadata under "matte_filenames". Each camera carries its row of the latent table in
    `metadata["cam_idx"]`: the place of its identity among all identities of the folder, which is the place of
    the photograph among the frames where each shows an object of its own. The training split holds every frame,
    so that a frame's number names the same photograph everywhere; "training_images" says which of them train.
    """

    config: NerfgenDataParserConfig

    def _generate_dataparser_outputs(self, split: str = "train") -> DataparserOutputs:  # type: ignore[override]
        self.config = replace(self.config, data=find_prepared(self.config.data))
        if not 0.0 <= self.config.eval_fraction < 1.0:
            raise UsageError(f"--eval-fraction must lie in [0, 1), got {self.config.eval_fraction}")
        outputs = super()._generate_dataparser_outputs(split)
        outputs.metadata["matte_filenames"] = outputs.mask_filenames
        outputs.mask_filenames = None

        rows, identities = self._rows_of(outputs.image_filenames)
        outputs.metadata["num_identities"] = identities
        outputs.cameras.metadata = {**(outputs.cameras.metadata or {}), "cam_idx": torch.tensor(rows)[:, None]}
        set_aside = evenly_spread(len(rows), self.config.eval_fraction)
        if split == "train":
            outputs.metadata["training_images"] = np.setdiff1d(np.arange(len(rows)), set_aside)
        elif len(set_aside) > 0:
            outputs = select_frames(outputs, set_aside)
        return outputs

    def _get_fname(self, filepath: Path, data_dir: Path, downsample_folder_prefix: str = "images_") -> Path:
        """The file itself: images are made smaller as they are read, so no folders of smaller copies are needed."""
        if self.downscale_factor is None:
            self.downscale_factor = self.config.downscale_factor or 1  # type: ignore[assignment]
        return data_dir / filepath

    def _rows_of(self, image_filenames: list[Path]) -> tuple[list[int], int]:
        """The row of the latent table of each file, and the number of rows."""
        data = self.config.data
        path = data if data.suffix == ".json" else data / "transforms.json"
        frames = read_json(path)["frames"]
        identities = [frame.get("identity", place) for place, frame in enumerate(frames)]
        row_of_identity = {identity: row for row, identity in enumerate(sorted(set(identities)))}
        row_of_file = {
            path.parent / frame["file_path"]: row_of_identity[identity]
            for frame, identity in zip(frames, identities, strict=True)
        }
        return [row_of_file[name] for name in image_filenames], len(row_of_identity)


def evenly_spread(count: int, fraction: float) -> np.ndarray:
    """About `fraction` of the numbers 0 … count − 1, at even distances."""
    chosen = round(count * fraction)
    return (np.arange(chosen) + 0.5) * count // max(chosen, 1)


def select_frames(outputs: DataparserOutputs, frames: np.ndarray) -> DataparserOutputs:
    """The same outputs with only the given frames."""
    indices = torch.as_tensor(frames, dtype=torch.long)
    metadata: dict[str, Any] = dict(outputs.metadata)
    if metadata["matte_filenames"] is not None:
        metadata["matte_filenames"] = [metadata["matte_filenames"][i] for i in indices]
    return replace(
        outputs,
        image_filenames=[outputs.image_filenames[i] for i in indices],
        cameras=outputs.cameras[indices],
        metadata=metadata,
    )


def find_prepared(data: Path) -> Path:
    """The folder to read for `--data`: the folder itself where it has cameras, else its prepared copy.

    A plain folder of photographs is prepared once into the user's cache folder and never written to.

    Raises:
        UsageError: there is no such folder, or nothing in it can be used.
    """
    if data.suffix == ".json" or (data / "transforms.json").exists():
        if not data.exists():
            raise UsageError(f"{data}: no such file; --data takes a prepared folder or a folder of photographs")
        return data
    if not data.is_dir():
        raise UsageError(f"{data}: no such folder; --data takes a prepared folder or a folder of photographs")

    from nerfgen_ns.capture.prepare import PrepareConfig, prepare

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nerfgen"
    digest = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12]
    output_dir = cache / f"{data.resolve().name}-{digest}"
    prepare(PrepareConfig(data=data, output_dir=output_dir))
    return output_dir
