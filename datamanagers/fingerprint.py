"""What tells the photographs of one data set from those of another, in a few bytes each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from nerfgen_ns.errors import UsageError

if TYPE_CHECKING:
    from nerfgen_ns.datamanagers.dataset import NerfgenDataset

HEAD = 1 << 16
"""Bytes at the beginning of a file that its digest covers, beside its size."""
MOST_THUMBNAILS = 256
"""Identities of which a thumbnail is kept: decoding every photograph of a large data set takes minutes."""
THUMBNAIL = 8
"""Pixels along each side of a thumbnail."""
ALIKE = 6.0
"""Mean difference of two thumbnails, of 255, up to which they show one photograph, stored at another size. Of
one portrait at 256 and at 128 pixels it is below 0.5; of two people's at least 9, and 40 in the median."""
SHOWN = 3
"""Files that a message names at most."""


@dataclass(frozen=True)
class Fingerprint:
    """Digests of all photographs, and thumbnails of some of them.

    A digest changes when a file is written again; a thumbnail stays about the same as long as the photograph
    does, whatever its size.
    """

    rows: Int[np.ndarray, "photographs"]
    """The row of the latent table that each photograph shows."""
    digests: Int[np.ndarray, "photographs"]
    """The digest of each file, see `digest_of`."""
    thumbnail_rows: Int[np.ndarray, "thumbnails"]
    """Rows with a thumbnail, evenly spread."""
    thumbnails: UInt8[np.ndarray, "thumbnails values"]
    """The first photograph of each of these rows, made small."""

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """The fingerprint as it enters a checkpoint."""
        return {f"{prefix}{name}": torch.from_numpy(array) for name, array in vars(self).items()}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor], prefix: str) -> Fingerprint | None:
        """The fingerprint in a checkpoint; None where it has none."""
        names = cls.__dataclass_fields__
        if not all(f"{prefix}{name}" in tensors for name in names):
            return None
        return cls(**{name: tensors[f"{prefix}{name}"].cpu().numpy() for name in names})

    def rows_of_others(self, before: Fingerprint) -> list[int]:
        """The rows of the latent table that show other objects than they did before.

        A row is the same where one of its files is. Where none is, the thumbnails tell whether its photograph
        was stored again. Rows without thumbnails are taken to be like those with them.
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
    """The fingerprint of a data set's photographs, which are read from their files."""
    assert dataset.cameras.metadata is not None
    rows = dataset.cameras.metadata["cam_idx"].flatten().numpy().astype(np.int64)
    shown, first = np.unique(rows, return_index=True)
    chosen = np.unique(np.linspace(0, len(shown) - 1, min(len(shown), MOST_THUMBNAILS)).round().astype(int))
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


def digests_of(files: Sequence[Path]) -> Int[np.ndarray, "files"]:
    """The digest of each file."""
    return np.array([digest_of(file) for file in files], dtype=np.int64)


def digest_of(file: Path) -> int:
    """A number that is another when a file's size or beginning is; 0 where there is no such file."""
    try:
        with file.open("rb") as opened:
            head = opened.read(HEAD)
            size = file.stat().st_size
    except OSError:
        return 0
    digest = hashlib.blake2b(size.to_bytes(8, "little") + head, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def check_files(files: Sequence[Path], digests: Int[np.ndarray, "files"]) -> None:
    """Do nothing if files are those that had these digests.

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
