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
"""The field of a frame that holds each kind of truth."""


@dataclass(frozen=True)
class TestFolder:
    """Photographs with cameras in the class frame, numbered in the order of the data set."""

    name: str
    """Its name in reports."""
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
    """The code of each photograph, where it was fitted together with its camera."""

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
        """How a message names the file that holds the frames."""
        return str(self.transforms) if self.codes is None else "they are raw photographs"

    def file_of(self, number: int) -> str:
        """Return the photograph's file: the one in the folder, or the user's own for raw photographs."""
        frame = self.frames[number]
        return frame.source or frame.file_path if self.codes is not None else frame.file_path

    def camera(self, number: int) -> Cameras:
        """Return the photograph's camera, of shape (1,)."""
        return self.dataset.cameras[number : number + 1]

    def matte(self, number: int) -> Float[Tensor, "height width"] | None:
        """Return the photograph's matte, in [0, 1]; None where it has none."""
        matte = self.dataset.get_numpy_matte(number)
        return None if matte is None else from_bytes(matte)

    def missing(self, truth: Truth, numbers: Sequence[int]) -> str | None:
        """Return None if all photographs have this truth; otherwise one line that says what is missing."""
        key = KEYS[truth]
        without = [number for number in numbers if getattr(self.frames[number], key) is None]
        if not without:
            return None
        return f'{len(without)} of {len(numbers)} frames have no "{key}": {self.where}'

    def depth(self, number: int) -> Float[Tensor, "height width"]:
        """Read the true z-depth, infinite where there is none, at the size at which the photograph is judged.

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
        # A value that is not finite and positive means that there is no depth.
        depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(np.inf))
        return torch.from_numpy(shrink_depth(depth, self.downscale_factor))

    def landmarks3d(self, number: int) -> Float[np.ndarray, "landmarks 3"]:
        """Return the landmarks in the world's frame; NaN for those that are marked as not visible.

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
        """Read the label of each pixel of the photograph as it is judged: the one at the pixel's middle.

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
                # The value of a pixel is its label, also where a palette gives it a color.
                numbers = file if file.mode == "P" else file.convert("L")
                labels = np.array(numbers.resize(size, Image.Resampling.NEAREST))
                return torch.from_numpy(labels.astype(np.int64))
        except (OSError, SyntaxError) as error:
            raise UsageError(f"{path}: not a readable image of labels ({error})") from error


def open_test_folder(
    path: Path, name: str, downscale_factor: int = 1, codes: Float[Tensor, "photographs latent"] | None = None
) -> TestFolder:
    """Open a folder with cameras; see `TestFolder`.

    Raises:
        UsageError: it is not such a folder, only some of its frames have an identity, or identities are of
            two kinds.
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
    """Its data; the training photographs are judged."""
    set_aside: TestFolder | None
    """Its data; the photographs set aside by `--eval-fraction` are judged. None where there are none."""
    rows: dict[int | str, int]
    """The row of the latent table of each identity with a training photograph."""

    @property
    def files(self) -> set[Path]:
        """The training photographs."""
        names = self.trained.dataset.image_filenames
        return {names[number].resolve() for number in self.trained.chosen}


def open_training_folder(run: Run, downscale_factor: int) -> TrainingFolder:
    """Open the data of a run, at the size at which it is judged.

    Raises:
        UsageError: it can no longer be read.
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
