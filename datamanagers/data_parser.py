"""The data parser `nerfgen-data`: a prepared folder, any nerfstudio data set, or a folder of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.nerfstudio_dataparser import Nerfstudio, NerfstudioDataParserConfig
from nerfstudio.utils.rich_utils import CONSOLE

from nerfgen_ns.datamanagers.data_record import (
    CANONICAL_LANDMARKS,
    DataRecord,
    read_record,
    with_identities_of,
)
from nerfgen_ns.dataset_format.frame import Frame
from nerfgen_ns.dataset_format.transforms import (
    read_transforms,
    row_of_identity,
    rows_of_frames,
    transforms_path,
)
from nerfgen_ns.errors import UsageError
from nerfgen_ns.utils.files import cache_folder, hash_of, read_json, writable_cache_folder
from nerfgen_ns.utils.spacing import evenly_spaced


@dataclass
class NerfgenDataParserConfig(NerfstudioDataParserConfig):
    """Cameras as they are: the class frame is the world frame, so nothing is turned, centered or scaled."""

    _target: type = field(default_factory=lambda: NerfgenDataParser)
    """Target class to instantiate."""
    data: Path = Path()
    """A prepared folder, a transforms.json, or a folder of photographs, then prepared first and cached."""
    downscale_factor: float | None = None  # type: ignore[assignment]
    """How much smaller than the files the images are, averaged over areas as they are read. If it is not set,
    it follows from `training_size`."""
    training_size: int | None = None
    """Pixels of the longer side of the images that the method is made for. Larger files are made smaller by a
    whole factor, unless `downscale_factor` is set; None keeps the size of the files."""
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
    run_dir: tyro.conf.Suppress[Path | None] = None
    """The folder of the run that is opened: its record is used in place of the data's folder.
    Not set in training."""


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
        if not 0.0 <= self.config.eval_fraction < 1.0:
            raise UsageError(f"--eval-fraction must be in [0, 1), got {self.config.eval_fraction}")
        given = self.downscale_factor or self.config.downscale_factor
        outputs = self.record.outputs(self.record.downscale_factor(given, self.config.training_size))
        set_aside = evenly_spread(len(outputs.image_filenames), self.config.eval_fraction)
        if split == "train":
            every = np.arange(len(outputs.image_filenames))
            outputs.metadata["training_images"] = np.setdiff1d(every, set_aside)
        elif len(set_aside) > 0:
            outputs = select_frames(outputs, set_aside)
        return outputs

    @cached_property
    def record(self) -> DataRecord:
        """All photographs: those of the folder or, if a run is opened, those in its record.

        Nothing is prepared for a run that is opened.
        """
        data = self.config.data
        if self.config.run_dir is None:
            return self._read_folder(find_prepared(data), given=str(data))
        kept = read_record(self.config.run_dir)
        if kept.given == str(data):
            return kept
        # `ns-render dataset --data` shows the run's identities by other cameras.
        return with_identities_of(self._read_folder(prepared_already([data]), given=str(data)), kept)

    def _read_folder(self, data: Path, given: str) -> DataRecord:
        path = transforms_path(data)
        transforms = read_transforms(path, allow_outside=True)
        frames, class_name = transforms.frames, transforms.class_name
        row_of_file = dict(zip(transforms.files, rows_of_frames(frames), strict=True))
        sources = {file: frame.source for file, frame in zip(transforms.files, frames, strict=True)}
        identities = list(row_of_identity(frames))
        coefficients = _coefficients(frames, transforms.files)
        # nerfstudio reads the file once more: two copies of many landmarks need not exist together.
        del frames, transforms
        before = self.config, self.downscale_factor
        # Cameras are kept at the size of the files, and made smaller in `DataRecord.outputs`.
        self.config, self.downscale_factor = replace(self.config, data=data), 1
        try:
            outputs = super()._generate_dataparser_outputs("train")
        except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise UsageError(f"{path}: {' '.join(str(error).split())}; prepare the folder again") from error
        finally:
            self.config, self.downscale_factor = before
        own_rows = np.array([row_of_file[name] for name in outputs.image_filenames])
        # nerfstudio sorts by name, in which photograph 10000 comes before photograph 9999.
        order = np.argsort(own_rows, kind="stable")
        images = [outputs.image_filenames[place] for place in order]
        mattes = outputs.mask_filenames
        landmarks = path.parent / CANONICAL_LANDMARKS
        return DataRecord(
            data=data,
            given=given,
            images=images,
            mattes=None if mattes is None else [mattes[place] for place in order],
            sources=[sources[name] or name.name for name in images],
            rows=own_rows[order],
            identities=identities,
            cameras=outputs.cameras[torch.from_numpy(order)],
            scene_box=outputs.scene_box.aabb,
            transform=outputs.dataparser_transform,
            scale=float(outputs.dataparser_scale),
            class_name=class_name,
            canonical_landmarks=read_json(landmarks) if landmarks.is_file() else None,
            coefficients=None if coefficients is None else np.stack([coefficients[name] for name in images]),
        )

    def _get_fname(self, filepath: Path, data_dir: Path, downsample_folder_prefix: str = "images_") -> Path:
        """Return the file itself: images are made smaller as they are read, without folders of copies."""
        return data_dir / filepath


def _coefficients(
    frames: Sequence[Frame], files: Sequence[Path]
) -> dict[Path, Float[np.ndarray, " k"]] | None:
    """Return each file's coefficients of the landmarks' basis, if every frame has equally many."""
    sizes = {None if frame.coefficients is None else len(frame.coefficients) for frame in frames}
    if len(sizes) != 1 or None in sizes:
        return None
    return {file: np.asarray(frame.coefficients) for file, frame in zip(files, frames, strict=True)}


def evenly_spread(count: int, fraction: float) -> Int[np.ndarray, " chosen"]:
    """Choose about `fraction` of the numbers 0 … count − 1, at even distances.

    If the fraction is above 0, at least one number is chosen, and never all of them.
    """
    chosen = min(max(round(count * fraction), 1), count - 1) if fraction > 0 else 0
    return evenly_spaced(count, chosen, "middles")


def select_frames(outputs: DataparserOutputs, frames: Int[np.ndarray, " chosen"]) -> DataparserOutputs:
    """Return the same outputs with only the given frames."""
    indices = torch.as_tensor(frames, dtype=torch.long)
    metadata: dict[str, Any] = dict(outputs.metadata)
    if metadata["matte_filenames"] is not None:
        metadata["matte_filenames"] = [metadata["matte_filenames"][i] for i in indices]
    if metadata["digests"] is not None:
        metadata["digests"] = metadata["digests"][frames]
    return replace(
        outputs,
        image_filenames=[outputs.image_filenames[i] for i in indices],
        cameras=outputs.cameras[indices],
        metadata=metadata,
    )


def number_photographs(cameras: Cameras) -> None:
    """Write into each camera's `metadata["photograph"]` which photograph of the training data it took.

    The parser does not do this: cameras of other folders have no place in the run.
    """
    cameras.metadata = {**(cameras.metadata or {}), "photograph": torch.arange(len(cameras))[:, None]}


def find_prepared(data: Path) -> Path:
    """Return the folder to read for `--data`: the folder itself if it has cameras, else its prepared copy.

    A plain folder of photographs is prepared once into the user's cache folder and never written to.

    Raises:
        UsageError: there is no such folder, it cannot be read, or nothing in it can be used.
        NerfgenError: the cache folder cannot be written.
    """
    try:
        has_cameras = data.suffix == ".json" or transforms_path(data).exists()
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

    from nerfgen_ns.preprocessing.prepare import PrepareConfig, prepare
    from nerfgen_ns.preprocessing.report.prepare_report import summary

    writable_cache_folder()
    output_dir = prepared_copy_of(data)
    for line in summary(prepare(PrepareConfig(data=data, output_dir=output_dir))):
        CONSOLE.print(line, soft_wrap=True, highlight=False)
    return output_dir


def prepared_copy_of(photographs: Path) -> Path:
    """Return where `find_prepared` prepares a folder of photographs: in the user's cache folder."""
    digest = hash_of([str(photographs.resolve())])[:12]
    return cache_folder() / f"{photographs.resolve().name}-{digest}"


def prepared_already(tried: Sequence[Path]) -> Path:
    """Return the first folder that has cameras, else the first prepared copy; prepare nothing.

    Raises:
        UsageError: there is none.
    """
    for path in (*tried, *map(prepared_copy_of, tried)):
        if transforms_path(path).is_file():
            return path
    raise UsageError(f"{tried[-1]}: has no transforms.json; prepare it first, with `nerfgen prepare`")
