"""Landmarks and crops that are known before the photographs are looked at, for worker processes to read.

On disk, and read one photograph at a time: of 100,000 photographs no process holds more than their names.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from nerfgen_ns.capture.crops import Crop
from nerfgen_ns.files import replace_file, write_text

NAMES, LANDMARKS, CROPS = "names.json", "landmarks.npy", "crops.npy"


def write_given_landmarks(
    folder: Path,
    names: Sequence[str],
    landmarks: Float[np.ndarray, "n m 2"],
    confidence: Float[np.ndarray, "n m"],
    crops: Sequence[Crop | None],
) -> None:
    """Write what is known of n photographs into `folder`.

    Args:
        names: of the photographs, see `listing.name_in`.
        landmarks: pixels of the photograph as `read_photograph` gives it; NaN where one is missing.
        crops: the crop of each photograph; None: the whole photograph.
    """
    rows = np.concatenate([landmarks, confidence[..., None]], axis=2)
    matrices = np.array([np.full((2, 3), np.nan) if crop is None else crop.matrix for crop in crops])
    for name, array in ((LANDMARKS, rows), (CROPS, matrices)):
        with replace_file(folder / name) as temporary:
            np.save(temporary, array, allow_pickle=False)
    write_text(folder / NAMES, json.dumps(list(names)))


class GivenLandmarks:
    """What `write_given_landmarks` wrote."""

    def __init__(self, folder: Path) -> None:
        """Open the folder; landmarks and crops are read as they are asked for."""
        names = json.loads((folder / NAMES).read_text(encoding="utf-8"))
        self._places = {name: place for place, name in enumerate(names)}
        self._landmarks = np.load(folder / LANDMARKS, mmap_mode="r")
        self._crops = np.load(folder / CROPS, mmap_mode="r")

    def of(self, name: str) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "2 3"] | None]:
        """Landmarks with confidence, and the crop's matrix; None: the whole photograph."""
        place = self._places[name]
        crop = np.array(self._crops[place])
        return np.array(self._landmarks[place]), None if np.isnan(crop).any() else crop

    def stamp(self, name: str) -> str:
        """Changes whenever something about the photograph does."""
        place = self._places[name]
        content = self._landmarks[place].tobytes() + self._crops[place].tobytes()
        return hashlib.sha256(content).hexdigest()[:16]
