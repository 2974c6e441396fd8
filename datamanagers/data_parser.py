"""The data parser `nerfgen-data`: a prepared folder, any nerfstudio data set, or a folder of photographs."""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from jaxtyping import Int
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.nerfstudio_dataparser import Nerfstudio, NerfstudioDataParserConfig

from nerfgen_ns.datamanagers.transforms import read_frames, rows_of_frames, transforms_path
from nerfgen_ns.errors import UsageError
from nerfgen_ns.files import writable_cache_folder


@dataclass
class NerfgenDataParserConfig(NerfstudioDataParserConfig):
    """Cameras as they are: the class frame is the world frame, so nothing is turned, centred or scaled."""

    _target: type = field(default_factory=lambda: NerfgenDataParser)
    """Target class to instantiate."""
    data: Path = Path()
    """A prepared folder, a transforms.json, or a folder of photographs, then prepared first and cached."""
    downscale_factor: float | None = None  # type: ignore[assignment]
    """How much smaller than the files the images are, averaged over areas as they are read; 1 if not set."""
    orientation_method: Literal["pca", "up", "vertical", "none"] = "none"
    """The method to use for orientation."""
    center_method: Literal["poses", "focus", "none"] = "none"
    """The method to use to center the poses."""
    auto_scale_poses: bool = False
    """Whether to automatically scale the poses to fit in +/- 1 bounding box."""
    eval_fraction: float = 0.0
    """Share of the photographs set aside from training, evenly spread, to be fitted and judged afterwards.
    With 0 every photograph trains, and evaluation looks at their reconstruction."""
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
    the photograph among the frames where each shows an object of its own. Frames come in the order of their
    rows, and the training split holds all of them, so that a frame's number names the same photograph
    everywhere; "training_images" says which of them train.
    """

    config: NerfgenDataParserConfig

    def _generate_dataparser_outputs(self, split: str = "train") -> DataparserOutputs:  # type: ignore[override]
        self.config = replace(self.config, data=find_prepared(self.config.data))
        if not 0.0 <= self.config.eval_fraction < 1.0:
            raise UsageError(f"--eval-fraction must lie in [0, 1), got {self.config.eval_fraction}")
        path = transforms_path(self.config.data)
        with without_collection():
            frames = read_frames(path)
            rows = rows_of_frames(frames)
            row_of_file = {
                path.parent / frame["file_path"]: row for frame, row in zip(frames, rows, strict=True)
            }
        # nerfstudio reads the file once more: two copies of many landmarks need not exist together.
        del frames
        try:
            with without_collection():
                outputs = super()._generate_dataparser_outputs(split)
        except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise UsageError(f"{path}: {' '.join(str(error).split())}; prepare the folder again") from error
        outputs.metadata["matte_filenames"] = outputs.mask_filenames
        outputs.mask_filenames = None

        own_rows = np.array([row_of_file[name] for name in outputs.image_filenames])
        outputs.metadata["num_identities"] = max(rows) + 1
        outputs.cameras.metadata = {
            **(outputs.cameras.metadata or {}),
            "cam_idx": torch.from_numpy(own_rows)[:, None],
        }
        # nerfstudio sorts by name, in which photograph 10000 comes before photograph 9999.
        outputs = select_frames(outputs, np.argsort(own_rows, kind="stable"))
        set_aside = evenly_spread(len(own_rows), self.config.eval_fraction)
        if split == "train":
            outputs.metadata["training_images"] = np.setdiff1d(np.arange(len(own_rows)), set_aside)
        elif len(set_aside) > 0:
            outputs = select_frames(outputs, set_aside)
        return outputs

    def _get_fname(self, filepath: Path, data_dir: Path, downsample_folder_prefix: str = "images_") -> Path:
        """The file itself: images are made smaller as they are read, without folders of smaller copies."""
        if self.downscale_factor is None:
            self.downscale_factor = self.config.downscale_factor or 1  # type: ignore[assignment]
        return data_dir / filepath


@contextmanager
def without_collection() -> Iterator[None]:
    """Within the block Python looks for no cycles of objects.

    Among the numbers of a large transforms.json there are none, and looking takes longer than reading them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def evenly_spread(count: int, fraction: float) -> Int[np.ndarray, "chosen"]:
    """About `fraction` of the numbers 0 … count − 1, at even distances.

    Of a fraction above 0 it is at least one number, and never all of them.
    """
    chosen = min(max(round(count * fraction), 1), count - 1) if fraction > 0 else 0
    return ((2 * np.arange(chosen) + 1) * count) // max(2 * chosen, 1)


def select_frames(outputs: DataparserOutputs, frames: Int[np.ndarray, "chosen"]) -> DataparserOutputs:
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


def number_photographs(cameras: Cameras) -> None:
    """Tell each camera in `metadata["photograph"]` which photograph of the training data it took.

    Not what the parser does: cameras of other folders have no place in the run.
    """
    cameras.metadata = {**(cameras.metadata or {}), "photograph": torch.arange(len(cameras))[:, None]}


def find_prepared(data: Path) -> Path:
    """The folder to read for `--data`: the folder itself where it has cameras, else its prepared copy.

    A plain folder of photographs is prepared once into the user's cache folder and never written to.

    Raises:
        UsageError: there is no such folder, it cannot be read, or nothing in it can be used.
        NerfgenError: the cache folder cannot be written.
    """
    try:
        has_cameras = data.suffix == ".json" or (data / "transforms.json").exists()
    except OSError as error:
        raise UsageError(f"{data}: cannot be read ({error.strerror}); make it readable") from error
    if has_cameras:
        if not data.exists():
            raise UsageError(
                f"{data}: no such file; --data takes a prepared folder or a folder of photographs"
            )
        return data
    if not data.is_dir():
        raise UsageError(f"{data}: no such folder; --data takes a prepared folder or a folder of photographs")

    from nerfgen_ns.capture.prepare import PrepareConfig, prepare

    digest = hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:12]
    output_dir = writable_cache_folder() / f"{data.resolve().name}-{digest}"
    prepare(PrepareConfig(data=data, output_dir=output_dir))
    return output_dir
