"""The photographs that a run is judged on: a test folder, or those of its training."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from PIL import Image
from torch import Tensor

from nerfgen_ns.datamanagers.data_parser import evenly_spread
from nerfgen_ns.datamanagers.dataset import NerfgenDataset, open_dataset
from nerfgen_ns.dataset_format.frame import Frame
from nerfgen_ns.dataset_format.transforms import Transforms, read_transforms
from nerfgen_ns.errors import UsageError
from nerfgen_ns.metrics.geometry import shrink_depth
from nerfgen_ns.runs.run import Run
from nerfgen_ns.utils.images import from_bytes

Truth = Literal["depth", "landmarks3d", "semantics"]
KEYS: dict[Truth, str] = {"depth": "depth_path", "landmarks3d": "landmarks3d", "semantics": "semantic_path"}
"""What a frame may tell beside its photograph, and in which field."""


@dataclass(frozen=True)
class TestFolder:
    """Photographs with cameras in the class frame, numbered in the order of the data set."""

    name: str
    """What it is called in reports."""
    data: Transforms
    """What its transforms.json says."""
    dataset: NerfgenDataset
    """Its photographs, mattes and cameras, as small as they are judged."""
    frames: list[Frame]
    """The frame of each photograph."""
    chosen: list[int]
    """The photographs that are judged; all, unless the folder holds others as well."""
    downscale_factor: int
    """How many times smaller than stored the photographs are."""
    codes: Float[Tensor, "photographs latent"] | None = None
    """The code of each photograph, where it was fitted on the way to its camera."""

    @property
    def has_identities(self) -> bool:
        """Whether every frame says which object it shows."""
        return all(frame.identity is not None for frame in self.frames)

    @property
    def transforms(self) -> Path:
        """Its transforms.json."""
        return self.data.path

    @property
    def where(self) -> str:
        """What a message calls the file that frames stand in."""
        return str(self.transforms) if self.codes is None else "they are raw photographs"

    def file_of(self, number: int) -> str:
        """The photograph's file, as the folder or, before it was cropped, the user names it."""
        frame = self.frames[number]
        return frame.source or frame.file_path if self.codes is not None else frame.file_path

    def camera(self, number: int) -> Cameras:
        """The photograph's camera, of shape (1,)."""
        return self.dataset.cameras[number : number + 1]

    def matte(self, number: int) -> Float[Tensor, "height width"] | None:
        """The photograph's matte, in [0, 1]."""
        matte = self.dataset.get_numpy_matte(number)
        return None if matte is None else from_bytes(matte)

    def missing(self, truth: Truth, numbers: Sequence[int]) -> str | None:
        """None if all of the photographs have something known of them; otherwise what is missing."""
        key = KEYS[truth]
        without = [number for number in numbers if getattr(self.frames[number], key) is None]
        if not without:
            return None
        return f'{len(without)} of {len(numbers)} frames have no "{key}": {self.where}'

    def depth(self, number: int) -> Float[Tensor, "height width"]:
        """The true z-depth, infinite where there is none, made smaller as the photograph is.

        Raises:
            UsageError: it cannot be read, or has another size than the photograph.
        """
        frame = self.frames[number]
        assert frame.depth_path is not None
        path = self.transforms.parent / frame.depth_path
        try:
            with np.load(path, allow_pickle=False) as arrays:
                depth = arrays["depth"]
        except (OSError, EOFError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
            raise UsageError(
                f'{path}: not a readable depth map; give an .npz with z-depths under "depth"'
            ) from error
        if depth.shape != (frame.h, frame.w) or depth.dtype.kind not in "fiu":
            raise UsageError(
                f"{path}: a depth map of {' × '.join(map(str, depth.shape))} where its photograph has "
                f"{frame.h} × {frame.w} rows and columns; give depth at the size of the photograph"
            )
        depth = depth.astype(np.float32)
        # A depth of nothing is no depth, by whichever value it is told.
        depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(np.inf))
        return torch.from_numpy(shrink_depth(depth, self.downscale_factor))

    def landmarks3d(self, number: int) -> Float[np.ndarray, "landmarks 3"]:
        """The landmarks in the world's frame; NaN at those that are said not to be visible.

        Raises:
            UsageError: they are no points, or their number differs from that of the first photograph.
        """
        frame, first = self.frames[number], self.frames[self.chosen[0]]
        points, visible = frame.landmarks3d, frame.landmarks_visible
        assert points is not None and first.landmarks3d is not None
        if len(points) != len(first.landmarks3d) or (visible is not None and len(visible) != len(points)):
            raise UsageError(
                f'{self.transforms}: frame {frame.file_path}: "landmarks3d" holds no x, y, z for each of '
                "the landmarks of the first frame, or landmarks_visible not a 0 or 1 for each"
            )
        return points if visible is None else np.where(visible[:, None] != 0, points, np.nan)

    @property
    def labels(self) -> list[str]:
        """The names of the semantic labels, from 0."""
        return self.data.semantic_labels

    def semantics(self, number: int) -> Int[Tensor, "height width"]:
        """The label of each pixel of the photograph as it is judged: that of the pixel in its middle.

        Raises:
            UsageError: it cannot be read.
        """
        name = self.frames[number].semantic_path
        assert name is not None
        path = self.transforms.parent / name
        camera = self.dataset.cameras[number]
        try:
            with Image.open(path) as file:
                size = (int(camera.width), int(camera.height))
                labels = np.array(file.convert("L").resize(size, Image.Resampling.NEAREST))
                return torch.from_numpy(labels.astype(np.int64))
        except (OSError, SyntaxError) as error:
            raise UsageError(f"{path}: not a readable image of labels ({error})") from error


def open_test_folder(
    path: Path, name: str, downscale_factor: int = 1, codes: Float[Tensor, "photographs latent"] | None = None
) -> TestFolder:
    """Open a folder with cameras; see `TestFolder`.

    Raises:
        UsageError: it is none, or not all of its frames or none have an identity of one kind.
    """
    data = read_transforms(path, allow_outside=True)
    _check_identities(data)
    dataset = open_dataset(path, downscale_factor)
    by_file = dict(zip(data.files, data.frames, strict=True))
    ordered = [by_file[file] for file in dataset.image_filenames]
    return TestFolder(name, data, dataset, ordered, list(range(len(ordered))), downscale_factor, codes)


def _check_identities(data: Transforms) -> None:
    known = sum(frame.identity is not None for frame in data.frames)
    if known not in (0, len(data.frames)):
        raise UsageError(
            f'{data.path}: {known} of {len(data.frames)} frames have an "identity"; '
            "give one to each frame or to none"
        )


@dataclass(frozen=True)
class TrainingFolder:
    """What a run learned from."""

    trained: TestFolder
    """Its data; judged are the photographs that trained."""
    set_aside: TestFolder | None
    """Its data; judged are the photographs set aside by `--eval-fraction`. None where there are none."""
    rows: dict[int | str, int]
    """The row of the latent table of each identity with a photograph that trained."""

    @property
    def files(self) -> set[Path]:
        """The photographs that trained."""
        names = self.trained.dataset.image_filenames
        return {names[number].resolve() for number in self.trained.chosen}


def open_training_folder(run: Run, downscale_factor: int) -> TrainingFolder:
    """The data of a run, at the size at which it is judged.

    Raises:
        UsageError: it cannot be read any more.
    """
    folder = open_test_folder(run.photographs, "training", downscale_factor)
    aside = evenly_spread(len(folder.frames), run.eval_fraction)
    trained = np.setdiff1d(np.arange(len(folder.frames)), aside).tolist()
    metadata: Any = folder.dataset.cameras.metadata
    learned = {int(row) for row in metadata["cam_idx"][trained]}
    return TrainingFolder(
        replace(folder, chosen=trained),
        replace(folder, name="set-aside", chosen=aside.tolist()) if len(aside) else None,
        {identity: row for identity, row in run.record.row_of_identity.items() if row in learned},
    )
