"""What is done to one photograph by itself: landmarks, crop and matte."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from nerfgen_ns.preprocessing.crops import (
    Crop,
    crop_around,
    crop_of_landmarks,
    crop_photograph,
    principal_point,
    square_crop,
)
from nerfgen_ns.preprocessing.landmarks.models import (
    FACE_MESH,
    FEWEST_LANDMARKS,
    LandmarkModel,
    Landmarks,
    LandmarkScheme,
    landmark_scheme,
    open_landmark_model,
)
from nerfgen_ns.preprocessing.listing import name_in
from nerfgen_ns.preprocessing.mattes import MatteOptions, MatteSource, Photograph
from nerfgen_ns.preprocessing.photographs import (
    LONGEST_SIDE,
    LONGEST_SIDE_LARGE,
    RejectedError,
    read_photograph,
    stamp_of,
    upright_size,
)
from nerfgen_ns.preprocessing.store import CaptureFiles
from nerfgen_ns.utils.files import hash_of, replace_file, write_text

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
        """Open the folder; landmarks and crops are read when they are needed."""
        names = json.loads((folder / NAMES).read_text(encoding="utf-8"))
        self._places = {name: place for place, name in enumerate(names)}
        self._landmarks = np.load(folder / LANDMARKS, mmap_mode="r")
        self._crops = np.load(folder / CROPS, mmap_mode="r")

    def of(self, name: str) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "2 3"] | None]:
        """Return landmarks with confidence, and the crop's matrix; None: the whole photograph."""
        place = self._places[name]
        crop = np.array(self._crops[place])
        return np.array(self._landmarks[place]), None if np.isnan(crop).any() else crop

    def stamp(self, name: str) -> str:
        """Return a hash that changes whenever something about the photograph does."""
        place = self._places[name]
        return hash_of([self._landmarks[place].tobytes(), self._crops[place].tobytes()])[:16]


FORMAT = 5
"""Increase this when existing captures or prepared folders must not be used any more."""
RUN_LENGTHS = 3
"""zlib's strategy for PNG files: for photographs, faster and smaller than the usual one."""
NOTED_OUTSIDE = 0.3
NOTED_SCALE = 4.0
Find = Callable[[Path], tuple[Photograph, Landmarks, Crop]]
"""Reads a photograph, and finds its landmarks and crop in it."""


@dataclass(frozen=True)
class CapturePhotograph:
    """Landmarks, crop and matte of one photograph at a time; see `workers.CaptureOne`.

    Small and picklable: models are made in the process that uses them, when the first photograph comes.
    """

    size: int
    """Side of the crop in pixels."""
    landmark_model: str = "mediapipe"
    """Name of the landmark model; it is not used if the landmarks are given."""
    landmark_model_file: Path | None = None
    """File that the landmark model is made from, where it needs one."""
    mattes: MatteOptions = field(default_factory=MatteOptions)
    """Where the mattes come from."""
    given: Path | None = None
    """Folder of landmarks and crops that are known already, see `GivenLandmarks`."""
    aligned: bool = False
    """Whether the photographs are taken as they are, padded to a square, and not cropped to the object."""
    data: Path | None = None
    """Folder of the photographs, which `given` names by their paths in it; None: by their file names."""

    @property
    def scheme(self) -> LandmarkScheme:
        """Return the scheme of the landmarks that the landmark model finds."""
        return landmark_scheme(self.landmark_model)

    def __call__(self, photograph: Path, files: CaptureFiles) -> dict[str, Any]:
        """Capture a photograph: write its crop and, if there is one, its matte.

        Returns:
            Either `reason` and `mend` of a rejected photograph, or `landmarks` (m × 2, or with relative depth
            m × 3, in pixels of the crop; NaN where one is missing), `confidence` (m), `principal_point` (see
            there) and `middle` of the photograph (pixels of the crop), `photograph_to_crop` (2 × 3), `notes`.

        Raises:
            UsageError: a matte that was given cannot be used.
            NerfgenError: the crop cannot be written, or a model is missing or fails.
        """
        try:
            return _capture(photograph, self.size, files, *_opened(self))
        except RejectedError as rejected:
            return {"reason": rejected.reason, "mend": rejected.mend}

    def stamp(self, photograph: Path) -> str:
        """Return text that changes whenever another file that the photograph's capture depends on does."""
        parts = []
        matte = self.mattes.file_of(photograph)
        if matte is not None:
            parts.append(stamp_of(matte))
        if self.given is not None:
            parts.append(_open_given(self.given).stamp(name_in(self.data, photograph)))
        return "|".join(parts)


@lru_cache(maxsize=1)
def _opened(options: CapturePhotograph) -> tuple[Find, MatteSource | None]:
    """Make the sources of landmarks and mattes, once in a process."""
    if options.given is not None:
        find: Find = _Given(_open_given(options.given), options.size, options.data)
    else:
        model = open_landmark_model(options.landmark_model, options.landmark_model_file)
        find = _Found(model, options.size, options.aligned)
    return find, options.mattes.open()


@lru_cache(maxsize=1)
def _open_given(folder: Path) -> GivenLandmarks:
    return GivenLandmarks(folder)


@dataclass(frozen=True)
class _Given:
    """Landmarks and crops that are known already."""

    given: GivenLandmarks
    size: int
    data: Path | None

    def __call__(self, path: Path) -> tuple[Photograph, Landmarks, Crop]:
        photograph = read_photograph(path)
        rows, matrix = self.given.of(name_in(self.data, path))
        _check_enough(rows[:, 2])
        height, width = photograph.shape[:2]
        crop = square_crop(width, height, self.size) if matrix is None else Crop(matrix, self.size)
        return photograph, Landmarks(rows[:, :2], rows[:, 2]), crop


@dataclass(frozen=True)
class _Found:
    """Landmarks that a model finds, and the crop that follows from them."""

    model: LandmarkModel
    size: int
    aligned: bool

    def __call__(self, path: Path) -> tuple[Photograph, Landmarks, Crop]:
        photograph = read_photograph(path)
        landmarks, crop = self._look(photograph)
        # If an object is small in a large photograph, the file may hold more detail than was read.
        if crop.scale > 1 and max(photograph.shape) == LONGEST_SIDE:
            larger = read_photograph(path, LONGEST_SIDE_LARGE)
            if larger.shape != photograph.shape:
                photograph = larger
                landmarks, crop = self._look(photograph)
        return photograph, landmarks, crop

    def _look(self, photograph: Photograph) -> tuple[Landmarks, Crop]:
        found = self.model(photograph)
        scheme = self.model.scheme
        if found.confidence is not None:
            _check_enough(found.confidence)
        if self.aligned:
            height, width = photograph.shape[:2]
            return found, square_crop(width, height, self.size)
        if scheme is FACE_MESH:
            return found, crop_around(found.points, self.size)
        return found, crop_of_landmarks(found.points[:, :2], scheme, self.size)


def _check_enough(confidence: Float[np.ndarray, " m"]) -> None:
    known = int((confidence > 0).sum())
    if known < FEWEST_LANDMARKS:
        raise RejectedError(
            f"only {known} of its {len(confidence)} landmarks are known" if known else "it has no landmarks",
            f"give at least {FEWEST_LANDMARKS}, better all, or use another photograph",
        )


def _capture(
    path: Path, size: int, files: CaptureFiles, find: Find, matte_source: MatteSource | None
) -> dict[str, Any]:
    photograph, landmarks, crop = find(path)
    image = crop_photograph(photograph, crop)
    written = {files.image: image}
    if matte_source is not None:
        written[files.matte] = matte_source(path, photograph, crop, image)
    for target, array in written.items():
        with replace_file(target) as temporary:
            Image.fromarray(array).save(temporary, compress_level=1, compress_type=RUN_LENGTHS)
    height, width = photograph.shape[:2]
    notes = list(landmarks.notes)
    outside = _part_outside(crop, width, height)
    if outside > NOTED_OUTSIDE:
        notes.append(f"{outside:.0%} of the crop is outside the photograph and is filled from its edge")
    if crop.scale > NOTED_SCALE:
        notes.append(f"the object is small: enlarged {crop.scale:.1f} times")
    points, confidence = landmarks.points, landmarks.confidence
    in_crop = np.column_stack([crop.to_crop(points[:, :2]), points[:, 2:] * crop.scale])
    return {
        "landmarks": in_crop.round(3),
        "confidence": np.isfinite(points).all(axis=1) * 1.0 if confidence is None else confidence,
        "principal_point": principal_point(crop, width, height).round(4).tolist(),
        "middle": crop.to_crop(np.array([width, height]) / 2).round(4).tolist(),
        "photograph_to_crop": _of_file(crop, path, photograph).round(9).tolist(),
        "notes": notes,
    }


def _of_file(crop: Crop, path: Path, photograph: Photograph) -> Float[np.ndarray, "2 3"]:
    """Return the crop's matrix for pixels of the upright file, which may have been read smaller."""
    size = upright_size(path) if max(photograph.shape) in (LONGEST_SIDE, LONGEST_SIDE_LARGE) else None
    if size is None:
        return crop.matrix
    return crop.matrix * [*(np.array(photograph.shape[1::-1]) / size), 1.0]


def _part_outside(crop: Crop, width: int, height: int) -> float:
    ticks = (np.arange(16) + 0.5) / 16 * crop.size
    points = crop.to_photograph(np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2))
    return float(((points < 0) | (points > [width, height])).any(axis=1).mean())
