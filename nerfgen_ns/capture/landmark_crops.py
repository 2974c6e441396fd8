"""Crops of photographs whose landmarks come from a file, by a first fit of all cameras."""

import numpy as np
from jaxtyping import Int

from nerfgen_ns.capture.collection_fit import Collection, fit_collection
from nerfgen_ns.capture.crops import Crop, crop_of_landmarks, crops_from_cameras, principal_point
from nerfgen_ns.capture.landmark_files import FileLandmarks
from nerfgen_ns.capture.shape_basis import CanonicalModel

ROUNDS = 2
"""Focal lengths go with the scale of the crops, which is rough at first: of few landmarks, the wrong ones can
make a class that is inside out, whose size is right all the same."""


def crops_of_file_landmarks(
    found: FileLandmarks,
    size: int,
    focal: float,
    identity: Int[np.ndarray, "n"] | None = None,
    given: CanonicalModel | None = None,
) -> list[Crop | None]:
    """The crop of each photograph, centred on the origin of the class frame, upright and of one scale.

    The cameras are fitted in crops that every photograph's landmarks call for by themselves, then in those
    that these cameras call for.

    Args:
        size: pixels on a side of the crops.
        focal: focal length as a multiple of the crop's side.
        identity: see `Collection`.
        given: the class that exists already, if it does.

    Returns:
        None of the photographs that have too few landmarks for a camera, or cannot be read.
    """
    usable = np.flatnonzero(found.usable & np.isfinite(found.sizes).all(axis=1))
    crops: list[Crop | None] = [None] * len(found.landmarks)
    if len(usable) == 0:
        return crops
    fitted = [crop_of_landmarks(found.landmarks[place], found.scheme, size) for place in usable]
    for _ in range(ROUNDS):
        pixels = np.array(
            [crop.to_crop(found.landmarks[at]) for crop, at in zip(fitted, usable, strict=True)]
        )
        collection = Collection(
            landmarks=np.concatenate([pixels, np.full((*pixels.shape[:2], 1), np.nan)], axis=2),
            confidence=found.confidence[usable],
            focal=np.full(len(usable), focal * size),
            centre=np.array(
                [principal_point(crop, *found.sizes[at]) for crop, at in zip(fitted, usable, strict=True)]
            ),
            identity=None if identity is None else identity[usable],
        )
        cameras = fit_collection(collection, found.scheme, given=given).cameras
        own = crops_from_cameras(cameras, size)
        fitted = [crop.then(other) for crop, other in zip(fitted, own, strict=True)]
    for place, crop in zip(usable, fitted, strict=True):
        crops[place] = crop
    return crops
