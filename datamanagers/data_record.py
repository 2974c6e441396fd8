"""What a run keeps of its photographs: all that rendering needs, and a fingerprint of the rest."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from PIL import Image
from torch import Tensor

from nerfgen_ns.dataset_format.transforms import read_transforms, rows_of_frames, transforms_path
from nerfgen_ns.errors import UsageError
from nerfgen_ns.utils.files import digest_of, read_json, read_whole, replace_file, write_json
from nerfgen_ns.utils.spacing import evenly_spaced

if TYPE_CHECKING:
    from nerfgen_ns.datamanagers.dataset import NerfgenDataset


MOST_THUMBNAILS = 256
"""Largest number of thumbnails: decoding every photograph of a large data set takes minutes."""
THUMBNAIL = 8
"""Pixels along each side of a thumbnail."""
ALIKE = 6.0
"""Two thumbnails show the same photograph, stored at any size, up to this mean difference, of 255 levels.
For one portrait at 256 and at 128 pixels it is below 0.5; for two people at least 9, and 40 in the median."""
SHOWN = 3
"""Largest number of files that a message names."""


@dataclass(frozen=True)
class Fingerprint:
    """Digests of all photographs, and thumbnails of some of them.

    A digest changes when a file is written again; a thumbnail stays about the same as long as the photograph
    does, whatever its size.
    """

    rows: Int[np.ndarray, " photographs"]
    """The row of the latent table that each photograph shows."""
    digests: Int[np.ndarray, " photographs"]
    """The digest of each file, see `digest_of`."""
    thumbnail_rows: Int[np.ndarray, " thumbnails"]
    """Rows with a thumbnail, evenly spread."""
    thumbnails: UInt8[np.ndarray, "thumbnails values"]
    """The first photograph of each of these rows, made small."""

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Return the fingerprint as it enters a checkpoint."""
        return {f"{prefix}{name}": torch.from_numpy(array) for name, array in vars(self).items()}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor], prefix: str) -> Fingerprint | None:
        """Return the fingerprint in a checkpoint; None if it has none."""
        names = cls.__dataclass_fields__
        if not all(f"{prefix}{name}" in tensors for name in names):
            return None
        return cls(**{name: tensors[f"{prefix}{name}"].cpu().numpy() for name in names})

    def rows_of_others(self, before: Fingerprint) -> list[int]:
        """Return the rows of the latent table that show other objects than before.

        A row is the same if one of its files is. If none is, the thumbnails decide whether its photograph was
        stored again. Rows without thumbnails are treated like those with them.
        """
        known = set(zip(before.rows.tolist(), before.digests.tolist(), strict=True))
        present = zip(self.rows.tolist(), self.digests.tolist(), strict=True)
        same = {row for row, digest in present if (row, digest) in known}
        changed = sorted(set(self.rows.tolist()) - same)
        earlier = dict(zip(before.thumbnail_rows.tolist(), before.thumbnails.astype(float), strict=True))
        now = dict(zip(self.thumbnail_rows.tolist(), self.thumbnails.astype(float), strict=True))
        compared = [row for row in changed if row in earlier and row in now]
        if not compared:
            return changed
        return [row for row in compared if np.abs(now[row] - earlier[row]).mean() > ALIKE]


def fingerprint_of(dataset: NerfgenDataset) -> Fingerprint:
    """Compute the fingerprint of a data set's photographs from their files."""
    assert dataset.cameras.metadata is not None
    rows = dataset.cameras.metadata["cam_idx"].flatten().numpy().astype(np.int64)
    shown, first = np.unique(rows, return_index=True)
    chosen = evenly_spaced(len(shown), MOST_THUMBNAILS)
    thumbnails = [
        np.asarray(
            Image.fromarray(dataset.get_numpy_image(int(number))).resize(
                (THUMBNAIL, THUMBNAIL), Image.Resampling.BOX
            )
        ).reshape(-1)
        for number in first[chosen]
    ]
    return Fingerprint(
        rows, digests_of(dataset.image_filenames), shown[chosen].astype(np.int64), np.stack(thumbnails)
    )


def digests_of(files: Sequence[Path]) -> Int[np.ndarray, " files"]:
    """Compute the digest of each file."""
    return np.array([digest_of(file) for file in files], dtype=np.int64)


def check_files(files: Sequence[Path], digests: Int[np.ndarray, " files"]) -> None:
    """Check that the files still have these digests.

    Raises:
        UsageError: some are gone, or others are in their place.
    """
    changed = np.flatnonzero(digests_of(files) != digests)
    if len(changed) > 0:
        names = ", ".join(str(files[number]) for number in changed[:SHOWN])
        raise UsageError(
            f"{len(changed)} of the {len(files)} photographs that the run was trained on are gone or have "
            f"changed: {names}{', …' if len(changed) > SHOWN else ''}; put them back"
        )


RECORD = "photographs.npz"
"""The file in the run folder."""
CANONICAL_LANDMARKS = "canonical_landmarks.json"
"""The class's landmarks in 3D and the basis of their shapes, in a prepared folder and in a run folder."""
FORMAT = 1
INTRINSICS = ("fx", "fy", "cx", "cy", "width", "height")


@dataclass(frozen=True)
class DataRecord:
    """The photographs of a data set in the order of the rows of the latent table, each with its camera."""

    data: Path
    """The prepared folder, or its transforms.json, where it is now."""
    given: str
    """What `--data` said in training."""
    images: list[Path]
    """The photographs' files."""
    mattes: list[Path] | None
    """Their mattes' files; None where the data has none."""
    sources: list[str]
    """What each photograph was called before it was prepared; its file's name if that is unknown."""
    rows: Int[np.ndarray, " photographs"]
    """The row of the latent table that each shows."""
    identities: list[int | str]
    """What the data calls the object of each row."""
    cameras: Cameras
    """Their cameras, at the size of their files."""
    scene_box: Float[Tensor, "2 3"]
    """The least and the greatest corner of what is rendered."""
    transform: Float[Tensor, "3 4"]
    """From the world of the data to that of the cameras."""
    scale: float
    """The same for lengths."""
    class_name: str | None
    """What the class is called."""
    canonical_landmarks: dict[str, Any] | None
    """The contents of the class's canonical_landmarks.json, where it has any."""
    fingerprint: Fingerprint | None = None
    """The fingerprint of the photographs; None if no run has recorded them."""
    coefficients: Float[np.ndarray, "photographs k"] | None = None
    """What multiplies the basis of the landmarks in each photograph; None where the data has no basis, and
    in a run that is opened, which does not keep them."""

    @property
    def row_of_identity(self) -> dict[int | str, int]:
        """The row of the latent table by the data's name of the object."""
        return {identity: row for row, identity in enumerate(self.identities)}

    def downscale_factor(self, given: float | None, training_size: int | None) -> float:
        """Return how many times smaller than their files training looks at the photographs.

        Args:
            given: what the user asks for; None or 0 if nothing.
            training_size: if nothing is given, the longer side of the median photograph gets about this many
                pixels, by a whole factor; None for the size of the files.
        """
        if given or training_size is None:
            return given or 1.0
        side = torch.maximum(self.cameras.width, self.cameras.height).median()
        return float(max(1, round(float(side) / training_size)))

    def outputs(self, downscale_factor: float = 1) -> DataparserOutputs:
        """Return all photographs in nerfstudio's form, `downscale_factor` times smaller than their files."""
        cameras = copy.deepcopy(self.cameras)
        cameras.rescale_output_resolution(1.0 / downscale_factor)
        cameras.metadata = {**(cameras.metadata or {}), "cam_idx": torch.from_numpy(self.rows)[:, None]}
        metadata: dict[str, Any] = {
            "matte_filenames": self.mattes,
            "num_identities": len(self.identities),
            "digests": None if self.fingerprint is None else self.fingerprint.digests,
            "downscale_factor": downscale_factor,
        }
        return DataparserOutputs(
            image_filenames=self.images,
            cameras=cameras,
            scene_box=SceneBox(aabb=self.scene_box),
            dataparser_transform=self.transform,
            dataparser_scale=self.scale,
            metadata=metadata,
        )

    def check_photographs(self) -> None:
        """Check that the photographs are those that the run was trained on.

        Raises:
            UsageError: some are gone, or others are in their place.
        """
        if not transforms_path(self.data).is_file():
            raise UsageError(
                f"{self.data}: the photographs that the run was trained on are not there; put them back"
            )
        if self.fingerprint is None:
            return
        check_files(self.images, self.fingerprint.digests)
        transforms = read_transforms(self.data, allow_outside=True)
        listed = dict(zip(transforms.files, rows_of_frames(transforms.frames), strict=True))
        if listed != dict(zip(self.images, self.rows.tolist(), strict=True)):
            raise UsageError(
                f"{transforms.path}: lists other photographs than the {len(self.images)} that the run was "
                f"trained on ({len(listed)}); put it back as it was in training"
            )


def write_record(
    folder: Path, record: DataRecord, fingerprint: Fingerprint | None, location: Path | None = None
) -> None:
    """Write what a run keeps into its folder, and the canonical landmarks beside it.

    Args:
        folder: where to write.
        record: what the run keeps.
        fingerprint: the fingerprint of the photographs.
        location: where the folder will be at the end, if the photographs are outside it.

    Raises:
        NerfgenError: the folder cannot be written.
    """
    root = transforms_path(record.data).parent

    def named(files: list[Path]) -> list[str]:
        # Files of the folder move with it.
        return [str(file.relative_to(root) if file.is_relative_to(root) else file) for file in files]

    text, arrays = parts_of(replace(record, fingerprint=fingerprint))
    places = {
        "data": str(record.data.resolve()),
        "beside": os.path.relpath(record.data.resolve(), (location or folder).resolve()),
        "images": named(record.images),
        "mattes": None if record.mattes is None else named(record.mattes),
    }
    with replace_file(folder / RECORD) as temporary:
        encoded = np.frombuffer(json.dumps({**text, **places}, ensure_ascii=False).encode(), dtype=np.uint8)
        np.savez_compressed(temporary, text=encoded, **arrays)
    if record.canonical_landmarks is not None:
        write_json(folder / CANONICAL_LANDMARKS, record.canonical_landmarks)


def parts_of(record: DataRecord) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what a record holds except places of files, as JSON and as arrays; see `record_of`."""
    text = {
        "format": FORMAT,
        "given": record.given,
        "sources": record.sources,
        "identities": record.identities,
        "class_name": record.class_name,
        "scale": record.scale,
    }
    cameras = record.cameras
    arrays = {
        "rows": record.rows,
        "camera_to_worlds": cameras.camera_to_worlds.numpy(),
        "camera_type": cameras.camera_type.numpy(),
        **{name: getattr(cameras, name).numpy() for name in INTRINSICS},
        "scene_box": record.scene_box.numpy(),
        "transform": record.transform.numpy(),
    }
    if cameras.distortion_params is not None:
        arrays["distortion_params"] = cameras.distortion_params.numpy()
    if record.fingerprint is not None:
        fingerprint = record.fingerprint.tensors("fingerprint.")
        arrays |= {name: tensor.numpy() for name, tensor in fingerprint.items()}
    return text, arrays


def read_record(folder: Path) -> DataRecord:
    """Read what the run in a folder has kept. Nothing is unpickled.

    The photographs are looked for first relative to the run folder, as both may have been moved together, and
    then where they were in training.

    Raises:
        UsageError: the folder has kept nothing.
        NerfgenError: the file is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        raise UsageError(f"{path}: not there, and without it a run cannot be opened; copy the run as a whole")
    landmarks = folder / CANONICAL_LANDMARKS
    with read_whole(path, "copy the whole run folder again, or train again"):
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        text = json.loads(arrays.pop("text").tobytes().decode())
        before, beside = Path(text["data"]), Path(os.path.normpath(folder / text["beside"]))
        data = beside if transforms_path(beside).is_file() else before
        root = transforms_path(data).parent
        return record_of(
            text,
            arrays,
            data=data,
            images=[root / name for name in text["images"]],
            mattes=text["mattes"] and [root / name for name in text["mattes"]],
            canonical_landmarks=read_json(landmarks) if landmarks.is_file() else None,
        )


def record_of(text: Mapping[str, Any], arrays: Mapping[str, np.ndarray], **places: Any) -> DataRecord:
    """Make a record from the two results of `parts_of`.

    Args:
        text: JSON.
        arrays: by their names.
        places: the fields of `DataRecord` that name files, and the canonical landmarks.

    Raises:
        KeyError, TypeError, ValueError: something is missing, or is of another kind or format.
    """
    if text["format"] != FORMAT:
        raise ValueError(f"its format is {text['format']}, not {FORMAT}")
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    intrinsics: dict[str, Any] = {name: tensors[name] for name in INTRINSICS}
    return DataRecord(
        given=text["given"],
        sources=text["sources"],
        rows=arrays["rows"],
        identities=text["identities"],
        cameras=Cameras(
            camera_to_worlds=tensors["camera_to_worlds"],
            camera_type=tensors["camera_type"],
            distortion_params=tensors.get("distortion_params"),
            **intrinsics,
        ),
        scene_box=tensors["scene_box"],
        transform=tensors["transform"],
        scale=text["scale"],
        class_name=text["class_name"],
        fingerprint=Fingerprint.of_tensors(tensors, "fingerprint."),
        **places,
    )


def with_identities_of(record: DataRecord, kept: DataRecord) -> DataRecord:
    """Return the record of another folder with the identities that a run knows."""
    return replace(record, identities=kept.identities)
