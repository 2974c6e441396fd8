"""Crops of photographs whose landmarks come from a file, by a first fit of all cameras."""

import numpy as np
from jaxtyping import Float, Int

from nerfgen_ns.capture.cameras import Cameras
from nerfgen_ns.capture.collection_fit import Collection, fit_collection
from nerfgen_ns.capture.crops import Crop, crop_side_guess, crops_from_cameras
from nerfgen_ns.capture.landmark_files import FileLandmarks
from nerfgen_ns.capture.shape_basis import CanonicalModel


def crops_of_file_landmarks(
    found: FileLandmarks,
    size: int,
    focal: float,
    identity: Int[np.ndarray, "n"] | None = None,
    given: CanonicalModel | None = None,
) -> list[Crop | None]:
    """The crop of each photograph, centred on the origin of the class frame, upright and of one scale.

    The cameras are fitted in the photographs' own pixels, and forgotten: in the crops all have one focal
    length, with which they are fitted again.

    Args:
        size: pixels on a side of the crops.
        focal: focal length as a multiple of the crop's side.
        identity: see `Collection`.
        given: the class that exists already, if it does.

    Returns:
        None of the photographs that have too few landmarks for a camera.
    """
    usable = np.flatnonzero(found.usable)
    crops: list[Crop | None] = [None] * len(found.landmarks)
    if len(usable) == 0:
        return crops
    landmarks, confidence = found.landmarks[usable], found.confidence[usable]
    collection = Collection(
        landmarks=np.concatenate([landmarks, np.full((*landmarks.shape[:2], 1), np.nan)], axis=2),
        confidence=confidence,
        focal=focal * crop_side_guess(landmarks, found.scheme),
        centre=_middles(landmarks),
        identity=None if identity is None else identity[usable],
    )
    cameras: Cameras = fit_collection(collection, found.scheme, given=given).cameras
    for place, crop in zip(usable, crops_from_cameras(cameras, size), strict=True):
        crops[place] = crop
    return crops


def _middles(landmarks: Float[np.ndarray, "n m 2"]) -> Float[np.ndarray, "n 2"]:
    """Each object is looked at as if it were in the middle of its photograph, as it will be of its crop."""
    return np.nanmean(landmarks, axis=1)
