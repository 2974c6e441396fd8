"""The joint estimate of a whole collection: its cameras, canonical landmarks, shape basis and focal length.

The model is estimated on an even selection of the photographs, whose number does not grow with the collection:
a rigid start from the landmarks alone, then a basis that grows for as long as landmarks that it was not fitted
to become easier to foretell. Every photograph is then fitted to that model by itself, chunk by chunk.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from nerfgen_ns.capture.basis_estimation import (
    chunks,
    estimate,
    expect,
    grown,
    independence,
    unexplained,
)
from nerfgen_ns.capture.cameras import Cameras, project
from nerfgen_ns.capture.class_frame import estimate_prior, into_class_frame
from nerfgen_ns.capture.collection_posterior import (
    Observations,
    Posterior,
    find_posterior,
    improbability,
)
from nerfgen_ns.capture.factorisation import factorise, mirrored_in_depth, placed_by, pose
from nerfgen_ns.capture.landmark_scheme import LandmarkScheme
from nerfgen_ns.capture.shape_basis import CanonicalModel

FocalMode = Literal["fixed", "shared", "per-image"]

MOST_PHOTOGRAPHS = 512
"""More photographs than this do not make the model better by much: an even selection estimates it."""
HELD_OUT = 0.1
"""Part of the landmarks that the basis is not fitted to while its size is chosen."""
GROWTH, MOST_MODES = 4, 24
WORTH = 0.99
"""Modes are kept if they bring the error of held-out landmarks below this part of what it was."""
LEAST_SPREAD = 0.9
"""Modes are not kept if the cameras' turns are spread by less than this part of what they were."""
RIGID_ROUNDS, GROWTH_ROUNDS, LAST_ROUNDS, CALIBRATION_ROUNDS = 12, 10, 12, 6
FIRST_STEPS, STEPS = 4, 20
STRETCH = 0.1
"""Standard deviation of the log focal lengths of a collection's photographs before anything is known of it."""
LEAST_STRETCH = 0.02


@dataclass
class Collection:
    """What is known of n photographs."""

    landmarks: Float[np.ndarray, "n m 3"]
    """Pixels, and relative depth in pixels (growing away from the camera), which is NaN where it is unknown."""
    confidence: Float[np.ndarray, "n m"]
    """0 where a landmark is missing, which may then be NaN; 1 where it is as sure as they come."""
    focal: Float[np.ndarray, "n"]
    """Focal length in pixels: a first guess, or the truth, by the mode."""
    centre: Float[np.ndarray, "n 2"]
    """Principal point in pixels."""
    identity: Int[np.ndarray, "n"] | None = None
    """Photographs of one number share one shape; None: each is one of its own."""

    def __len__(self) -> int:
        return len(self.landmarks)


@dataclass
class CollectionFit:
    """Cameras and shapes of a collection in the class frame."""

    cameras: Cameras
    model: CanonicalModel
    coefficients: Float[np.ndarray, "n k"]
    error: Float[np.ndarray, "n"]
    """Root mean square distance of landmarks from their reprojection in pixels; NaN without any landmark."""

    @property
    def canonical(self) -> Float[np.ndarray, "m 3"]:
        """The canonical landmarks."""
        return self.model.canonical

    @property
    def basis(self) -> Float[np.ndarray, "k m 3"]:
        """The modes of the shape basis."""
        return self.model.basis

    def shapes(self, which: slice) -> Float[np.ndarray, "p m 3"]:
        """Canonical landmarks of some photographs' identities."""
        return self.model.shapes(self.coefficients[which])


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
    group = _check(collection, scheme)
    stretch_precision = None
    focal = np.asarray(collection.focal, dtype=np.float64)
    if given is None:
        selected = _selection(collection, group)
        model, factor, spread = estimate_model(
            _observations(collection, focal, group, selected, scheme.has_depth), scheme, focal_mode
        )
        focal = focal * factor
        if focal_mode == "per-image":
            stretch_precision = spread**-2
    else:
        model = given
        if focal_mode == "per-image":
            stretch_precision = STRETCH**-2
    return _fit_all(collection, group, focal, model, scheme.has_depth, stretch_precision)


def estimate_model(
    observations: Observations, scheme: LandmarkScheme, focal_mode: FocalMode = "fixed"
) -> tuple[CanonicalModel, float, float]:
    """The canonical model of some photographs, the factor of their focal lengths, and its spread (log)."""
    factor, spread = 1.0, STRETCH
    model, posterior = _rigid(observations, scheme)
    if focal_mode != "fixed":
        observations, model, posterior, factor, spread = _refocused(
            observations, model, posterior, scheme, spread, focal_mode, RIGID_ROUNDS
        )
    model, posterior = _with_basis(observations, model, posterior, scheme)
    if focal_mode != "fixed" and len(model.basis):
        observations, model, posterior, change, spread = _refocused(
            observations, model, posterior, scheme, spread, focal_mode, GROWTH_ROUNDS
        )
        factor *= change
    precision = spread**-2 if focal_mode == "per-image" else None
    model, posterior = estimate(observations, model, posterior, scheme, LAST_ROUNDS, precision)
    model, posterior = _calibrated(observations, model, posterior, scheme, precision)
    return model, factor, spread


def _with_basis(
    observations: Observations, model: CanonicalModel, posterior: Posterior, scheme: LandmarkScheme
) -> tuple[CanonicalModel, Posterior]:
    """The model with as many modes as foretell the landmarks that they were not fitted to.

    Where landmarks err with the pose, as those of a landmark model do, modes would explain the poses instead
    of the shapes: what the spread of the poses loses to them tells it.
    """
    generator = np.random.default_rng(0)
    held_out = generator.random(observations.confidence.shape) < HELD_OUT
    fitted = replace(observations, confidence=np.where(held_out, 0.0, observations.confidence))
    trial, trial_posterior = estimate(fitted, model, posterior, scheme, GROWTH_ROUNDS)
    error, spread = unexplained(observations, held_out, trial, trial_posterior), _turn_spread(trial)
    most = _most_modes(observations)
    while len(trial.basis) < most:
        count = min(GROWTH, most - len(trial.basis))
        trial, trial_posterior = grown(trial, fitted, trial_posterior, scheme.mirror_partners, count)
        trial, trial_posterior = estimate(fitted, trial, trial_posterior, scheme, GROWTH_ROUNDS)
        trial_error = unexplained(observations, held_out, trial, trial_posterior)
        if not trial_error < WORTH * error or (_turn_spread(trial) < LEAST_SPREAD * spread).any():
            break
        error, model, posterior = trial_error, trial, trial_posterior
    return model, posterior


def _turn_spread(model: CanonicalModel) -> Float[np.ndarray, "3"]:
    assert model.prior is not None
    return np.sqrt(np.diagonal(np.linalg.inv(model.prior.turn_precision)))


def _calibrated(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    scheme: LandmarkScheme,
    stretch_precision: float | None,
) -> tuple[CanonicalModel, Posterior]:
    """The model as sure of itself as its residuals allow, which err alike, and the prior that goes with it."""
    _, statistics = expect(observations, model, posterior, stretch_precision)
    model = replace(model, independence=independence(statistics))
    for _ in range(CALIBRATION_ROUNDS):
        posterior, _ = expect(observations, model, posterior, stretch_precision, steps=3)
        model = replace(model, prior=estimate_prior(posterior, model.prior, scheme))
    return model, posterior


def _rigid(observations: Observations, scheme: LandmarkScheme) -> tuple[CanonicalModel, Posterior]:
    """One shape for all photographs, and their cameras."""
    points, rotation, translation = factorise(observations, scheme.radius)
    starts = [(points, rotation, translation)]
    if observations.depth is None:
        other, turned = mirrored_in_depth(points, rotation)
        starts.append((other, turned, translation))
    answers = []
    identities = int(observations.group.max()) + 1
    for points, rotation, translation in starts:
        model = CanonicalModel.rigid(points)
        posterior = Posterior(
            rotation, translation, np.zeros(len(rotation)), np.zeros((identities, 0)), None
        )
        model, posterior = into_class_frame(model, posterior, observations.group, scheme)
        model.prior = None
        posterior, statistics = expect(observations, model, posterior, None, steps=5)
        answers.append(estimate(observations, model, posterior, scheme, RIGID_ROUNDS))
    # Near things look larger: of the two mirrored in depth, the right one explains that.
    return min(answers, key=lambda answer: np.log(answer[0].noise).sum())


def _refocused(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    scheme: LandmarkScheme,
    spread: float,
    focal_mode: FocalMode,
    rounds: int,
) -> tuple[Observations, CanonicalModel, Posterior, float, float]:
    """Rounds in which focal lengths are free, each divided by what they then have in common."""
    factor = 1.0
    for _ in range(rounds):
        width = spread if focal_mode == "per-image" else STRETCH
        model, posterior = estimate(observations, model, posterior, scheme, 1, width**-2)
        assert posterior.covariance is not None
        stretch, variance = posterior.stretch, posterior.covariance[:, 6, 6]
        # What each photograph says by itself: the prior, a normal of mean zero, divided out.
        told = np.maximum(1 / variance - width**-2, 0.0)
        common = float(np.clip((stretch / variance).sum() / max(told.sum(), 1e-9), -0.3, 0.3))
        translation = posterior.translation.copy()
        if focal_mode == "shared":
            translation[:, 2] *= np.exp(common - stretch)
            stretch = np.zeros(len(observations))
        else:
            stretch = stretch - common
            spread = float(np.clip(np.sqrt((stretch**2 + variance).mean()), LEAST_STRETCH, STRETCH))
        depth = observations.depth
        observations = replace(
            observations,
            slopes=observations.slopes / np.exp(common),
            depth=None if depth is None else depth / np.exp(common),
        )
        posterior = replace(posterior, translation=translation, stretch=stretch, covariance=None)
        factor *= float(np.exp(common))
    return observations, model, posterior, factor, spread


def _most_modes(observations: Observations) -> int:
    """No more modes than there are coordinates in a photograph, or photographs, to tell them from poses."""
    landmarks = int(np.median((observations.confidence > 0).sum(axis=1)))
    identities = int(observations.group.max()) + 1
    return int(np.clip(min((2 * landmarks - 6) // 6, identities // 8), 0, MOST_MODES))


def _fit_all(
    collection: Collection,
    group: Int[np.ndarray, "n"],
    focal: Float[np.ndarray, "n"],
    model: CanonicalModel,
    has_depth: bool,
    stretch_precision: float | None,
) -> CollectionFit:
    n, modes = len(collection), len(model.basis)
    cameras = Cameras(
        np.empty((n, 3, 3)), np.empty((n, 3)), focal.copy(), np.asarray(collection.centre, dtype=np.float64)
    )
    coefficients, error = np.empty((n, modes)), np.empty(n)
    for places in chunks(group):
        part = _observations(collection, focal, group, places, has_depth)
        found = _fit_chunk(part, model, stretch_precision)
        cameras.rotation[places], cameras.translation[places] = found.rotation, found.translation
        cameras.focal[places] = focal[places] * np.exp(found.stretch)
        coefficients[places] = found.coefficients[part.group]
        here = Cameras(
            found.rotation, found.translation, cameras.focal[places], cameras.centre[places]
        )
        known = part.confidence > 0
        distance = project(here, model.shapes(coefficients[places])) - collection.landmarks[places, :, :2]
        squared = np.where(known, (distance**2).sum(axis=2), 0.0).sum(axis=1)
        count = known.sum(axis=1)
        error[places] = np.sqrt(np.where(count > 0, squared / np.maximum(count, 1), np.nan))
    return CollectionFit(cameras, model, coefficients, error)


def _fit_chunk(
    observations: Observations, model: CanonicalModel, stretch_precision: float | None
) -> Posterior:
    """The better of two starts: the affine map of the canonical landmarks, and the collection's mean rotation."""
    identities = int(observations.group.max()) + 1
    usual = np.eye(3) if model.prior is None else model.prior.rotation
    answers, costs = [], []
    for rotation, translation in (
        pose(observations, model.canonical),
        placed_by(observations, model.canonical, usual),
    ):
        start = Posterior(
            rotation, translation, np.zeros(len(rotation)), np.zeros((identities, len(model.basis)))
        )
        found, linearised = find_posterior(observations, model, start, FIRST_STEPS, stretch_precision)
        answers.append(found)
        costs.append(improbability(observations, model, found, linearised, stretch_precision))
    first, second = answers
    better = costs[1] < costs[0]
    chosen = better[observations.group]
    best = Posterior(
        np.where(chosen[:, None, None], second.rotation, first.rotation),
        np.where(chosen[:, None], second.translation, first.translation),
        np.where(chosen, second.stretch, first.stretch),
        np.where(better[:, None], second.coefficients, first.coefficients),
    )
    return find_posterior(observations, model, best, STEPS, stretch_precision)[0]


def _observations(
    collection: Collection,
    focal: Float[np.ndarray, "n"],
    group: Int[np.ndarray, "n"],
    places: Int[np.ndarray, "p"],
    has_depth: bool,
) -> Observations:
    landmarks = np.asarray(collection.landmarks[places], dtype=np.float64)
    confidence = np.asarray(collection.confidence[places], dtype=np.float64)
    confidence = np.where(np.isfinite(landmarks[..., :2]).all(axis=2), confidence, 0.0)
    known = confidence > 0
    slopes = (landmarks[..., :2] - collection.centre[places, None]) * [1.0, -1.0] / focal[places, None, None]
    slopes = np.where(known[..., None], slopes, 0.0)
    depth = None
    if has_depth:
        depth = np.where(known & np.isfinite(landmarks[..., 2]), landmarks[..., 2], 0.0)
        depth = depth / focal[places, None]
    return Observations(
        np.ascontiguousarray(np.moveaxis(slopes, 2, 1)),
        depth,
        confidence,
        np.unique(group[places], return_inverse=True)[1],
    )


def _selection(collection: Collection, group: Int[np.ndarray, "n"]) -> Int[np.ndarray, "p"]:
    """An even selection of photographs with four landmarks or more, those of one identity together."""
    usable: Bool[np.ndarray, "n"] = np.concatenate(
        [
            (collection.confidence[first : first + 4096] > 0).sum(axis=1) >= 4
            for first in range(0, len(group), 4096)
        ]
    )
    if not usable.any():
        raise ValueError("no photograph shows four landmarks or more")
    identities = np.unique(group[usable])
    wanted = max(1, int(len(identities) * min(1.0, MOST_PHOTOGRAPHS / usable.sum())))
    chosen = identities[np.linspace(0, len(identities) - 1, wanted).round().astype(int)]
    return np.flatnonzero(usable & np.isin(group, chosen))


def _check(collection: Collection, scheme: LandmarkScheme) -> Int[np.ndarray, "n"]:
    n = len(collection)
    expected = {
        "landmarks": (n, scheme.count, 3),
        "confidence": (n, scheme.count),
        "focal": (n,),
        "centre": (n, 2),
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
