"""Cameras, canonical landmarks, shape basis and focal length of a whole collection, fitted together."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from nerfgen_ns.cameras.projection import Cameras, project
from nerfgen_ns.preprocessing.camera_fitting.canonical_model import CanonicalModel, Observations, Posterior
from nerfgen_ns.preprocessing.camera_fitting.e_step import chunks, find_posterior, posterior_cost
from nerfgen_ns.preprocessing.camera_fitting.estimation import (
    LOG_FOCAL_STD,
    MAX_LANDMARKS,
    FocalMode,
    estimate_model,
)
from nerfgen_ns.preprocessing.camera_fitting.initialization import affine_poses, poses_of_rotation
from nerfgen_ns.preprocessing.crops import Crop, crop_of_landmarks, crops_from_cameras, principal_point
from nerfgen_ns.preprocessing.landmarks.files import FileLandmarks
from nerfgen_ns.preprocessing.landmarks.models import LandmarkScheme
from nerfgen_ns.utils.spacing import evenly_spaced

MAX_PHOTOGRAPHS = 384
"""More photographs than this do not make the model better by much: an even selection estimates it."""
FIRST_STEPS, STEPS = 4, 20


@dataclass
class Collection:
    """What is known of n photographs."""

    landmarks: Float[np.ndarray, "n m 3"]
    """Pixels, and relative depth in pixels (growing away from the camera); NaN where it is unknown."""
    confidence: Float[np.ndarray, "n m"]
    """0 where a landmark is missing, which may then be NaN; 1 where it is fully sure."""
    focal: Float[np.ndarray, " n"]
    """Focal length in pixels: a first guess or the true one, depending on the mode."""
    center: Float[np.ndarray, "n 2"]
    """Principal point in pixels."""
    identity: Int[np.ndarray, " n"] | None = None
    """Photographs of one number share one shape; None: each has its own."""

    def __len__(self) -> int:
        return len(self.landmarks)


@dataclass
class CollectionFit:
    """Cameras and shapes of a collection in the class frame."""

    cameras: Cameras
    model: CanonicalModel
    coefficients: Float[np.ndarray, "n k"]
    error: Float[np.ndarray, " n"]
    """Root mean square distance of landmarks from their reprojection in pixels; NaN without any landmark."""

    @property
    def canonical(self) -> Float[np.ndarray, "m 3"]:
        """Return the canonical landmarks."""
        return self.model.canonical

    @property
    def basis(self) -> Float[np.ndarray, "k m 3"]:
        """Return the modes of the shape basis."""
        return self.model.basis

    def shapes(self, index: slice) -> Float[np.ndarray, "p m 3"]:
        """Return the canonical landmarks of some photographs' identities."""
        return self.model.shapes(self.coefficients[index])


def fit_collection(
    collection: Collection,
    scheme: LandmarkScheme,
    focal_mode: FocalMode = "fixed",
    given: CanonicalModel | None = None,
) -> CollectionFit:
    """Fit cameras, canonical landmarks, basis and focal lengths to the landmarks of a collection.

    Args:
        focal_mode: `fixed` keeps the collection's focal lengths; `shared` multiplies all by one factor;
            `per-image` fits each, close to their common mean.
        given: a model estimated before: only cameras and coefficients are fitted, into its class frame.

    Raises:
        ValueError: the arrays contradict each other, or no photograph shows four landmarks.
    """
    identity = _check(collection, scheme)
    focal_precision = None
    focal = np.asarray(collection.focal, dtype=np.float64)
    if given is None:
        selected = _selection(collection, identity)
        model, factor, spread = estimate_model(
            _observations(collection, focal, identity, selected, scheme.has_depth), scheme, focal_mode
        )
        focal = focal * factor
        if focal_mode == "per-image":
            focal_precision = spread**-2
    else:
        model = given
        if focal_mode == "per-image":
            focal_precision = LOG_FOCAL_STD**-2
    return _fit_all(collection, identity, focal, model, scheme, focal_precision)


def _fit_all(
    collection: Collection,
    identity: Int[np.ndarray, " n"],
    focal: Float[np.ndarray, " n"],
    model: CanonicalModel,
    scheme: LandmarkScheme,
    focal_precision: float | None,
) -> CollectionFit:
    n, num_modes = len(collection), len(model.basis)
    cameras = Cameras(
        np.empty((n, 3, 3)), np.empty((n, 3)), focal.copy(), np.asarray(collection.center, dtype=np.float64)
    )
    coefficients, error = np.empty((n, num_modes)), np.empty(n)
    index = scheme.selection(MAX_LANDMARKS)
    selected = model.part(index)
    for rows in chunks(identity):
        part = _observations(collection, focal, identity, rows, scheme.has_depth)
        # If some landmarks are missing, all others are used.
        whole = len(index) == scheme.count or not (part.confidence > 0).all()
        found = (
            _fit_chunk(part, model, focal_precision)
            if whole
            else _fit_chunk(part.select_landmarks(index), selected, focal_precision)
        )
        cameras.rotation[rows], cameras.translation[rows] = found.rotation, found.translation
        cameras.focal[rows] = focal[rows] * np.exp(found.log_focal_scale)
        coefficients[rows] = found.coefficients[part.identity]
        here = Cameras(found.rotation, found.translation, cameras.focal[rows], cameras.center[rows])
        known = part.confidence > 0
        distance = project(here, model.shapes(coefficients[rows])) - collection.landmarks[rows, :, :2]
        squared = np.where(known, (distance**2).sum(axis=2), 0.0).sum(axis=1)
        count = known.sum(axis=1)
        error[rows] = np.sqrt(np.where(count > 0, squared / np.maximum(count, 1), np.nan))
    return CollectionFit(cameras, model, coefficients, error)


def _fit_chunk(observations: Observations, model: CanonicalModel, focal_precision: float | None) -> Posterior:
    """Fit from the better of two starts: the landmarks' affine map, and the collection's mean rotation."""
    identities = int(observations.identity.max()) + 1
    usual = np.eye(3) if model.prior is None else model.prior.rotation
    answers, costs = [], []
    for rotation, translation in (
        affine_poses(observations, model.canonical),
        poses_of_rotation(observations, model.canonical, usual),
    ):
        start = Posterior(
            rotation, translation, np.zeros(len(rotation)), np.zeros((identities, len(model.basis)))
        )
        found, linearized = find_posterior(observations, model, start, FIRST_STEPS, focal_precision)
        answers.append(found)
        costs.append(posterior_cost(observations, model, found, linearized.residual, focal_precision))
    first, second = answers
    better = costs[1] < costs[0]
    chosen = better[observations.identity]
    best = Posterior(
        np.where(chosen[:, None, None], second.rotation, first.rotation),
        np.where(chosen[:, None], second.translation, first.translation),
        np.where(chosen, second.log_focal_scale, first.log_focal_scale),
        np.where(better[:, None], second.coefficients, first.coefficients),
    )
    return find_posterior(observations, model, best, STEPS, focal_precision)[0]


def _observations(
    collection: Collection,
    focal: Float[np.ndarray, " n"],
    identity: Int[np.ndarray, " n"],
    rows: Int[np.ndarray, " p"],
    has_depth: bool,
) -> Observations:
    landmarks = np.asarray(collection.landmarks[rows], dtype=np.float64)
    confidence = np.asarray(collection.confidence[rows], dtype=np.float64)
    confidence = np.where(np.isfinite(landmarks[..., :2]).all(axis=2), confidence, 0.0)
    known = confidence > 0
    image_points = (
        (landmarks[..., :2] - collection.center[rows, None]) * [1.0, -1.0] / focal[rows, None, None]
    )
    image_points = np.where(known[..., None], image_points, 0.0)
    depth = None
    if has_depth:
        depth = np.where(known & np.isfinite(landmarks[..., 2]), landmarks[..., 2], 0.0)
        depth = depth / focal[rows, None]
    return Observations(
        np.ascontiguousarray(np.moveaxis(image_points, 2, 1)),
        depth,
        confidence,
        np.unique(identity[rows], return_inverse=True)[1],
    )


def _selection(collection: Collection, identity: Int[np.ndarray, " n"]) -> Int[np.ndarray, " p"]:
    """Select photographs with four landmarks or more evenly, those of one identity together."""
    usable: Bool[np.ndarray, " n"] = np.concatenate(
        [
            (collection.confidence[first : first + 4096] > 0).sum(axis=1) >= 4
            for first in range(0, len(identity), 4096)
        ]
    )
    if not usable.any():
        raise ValueError("confidence: no photograph shows four landmarks or more")
    identities = np.unique(identity[usable])
    wanted = max(1, int(len(identities) * min(1.0, MAX_PHOTOGRAPHS / usable.sum())))
    chosen = identities[evenly_spaced(len(identities), wanted)]
    return np.flatnonzero(usable & np.isin(identity, chosen))


def _check(collection: Collection, scheme: LandmarkScheme) -> Int[np.ndarray, " n"]:
    n = len(collection)
    expected = {
        "landmarks": (n, scheme.count, 3),
        "confidence": (n, scheme.count),
        "focal": (n,),
        "center": (n, 2),
    }
    for name, shape in expected.items():
        if np.shape(getattr(collection, name)) != shape:
            raise ValueError(f"{name} of shape {np.shape(getattr(collection, name))}, expected {shape}")
    if n == 0:
        raise ValueError("no photographs")
    if not (np.isfinite(collection.focal).all() and (collection.focal > 0).all()):
        raise ValueError("focal lengths have to be positive")
    if collection.identity is None:
        return np.arange(n)
    if np.shape(collection.identity) != (n,):
        raise ValueError(f"identity of shape {np.shape(collection.identity)}, expected {(n,)}")
    return np.unique(collection.identity, return_inverse=True)[1]


CROP_ROUNDS = 2
"""Focal lengths depend on the scale of the crops, which is rough at first. With few landmarks, wrong focal
lengths can make a class that is inside out, but its size is still right."""


def crops_of_file_landmarks(
    found: FileLandmarks,
    size: int,
    focal: float,
    identity: Int[np.ndarray, " n"] | None = None,
    given: CanonicalModel | None = None,
) -> list[Crop | None]:
    """Compute each photograph's crop, centered on the origin of the class frame, upright and of one scale.

    The cameras are fitted first in crops from each photograph's landmarks alone, then in crops from these
    cameras.

    Args:
        size: pixels on a side of the crops.
        focal: focal length as a multiple of the crop's side.
        identity: see `Collection`.
        given: the class that exists already, if it does.

    Returns:
        The crops; None for photographs that have too few landmarks for a camera, or cannot be read.
    """
    usable = np.flatnonzero(found.usable & np.isfinite(found.sizes).all(axis=1))
    crops: list[Crop | None] = [None] * len(found.landmarks)
    if len(usable) == 0:
        return crops
    fitted = [crop_of_landmarks(found.landmarks[place], found.scheme, size) for place in usable]
    for _ in range(CROP_ROUNDS):
        pixels = np.array(
            [crop.to_crop(found.landmarks[at]) for crop, at in zip(fitted, usable, strict=True)]
        )
        collection = Collection(
            landmarks=np.concatenate([pixels, np.full((*pixels.shape[:2], 1), np.nan)], axis=2),
            confidence=found.confidence[usable],
            focal=np.full(len(usable), focal * size),
            center=np.array(
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
