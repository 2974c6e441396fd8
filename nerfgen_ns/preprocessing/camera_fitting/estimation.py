"""The canonical model of a class from some photographs.

A rigid shape comes first, from the landmarks alone, then focal lengths if they are not fixed. Then a basis
grows as long as it predicts landmarks that it was not fitted to better than before.
"""

from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize_scalar

from nerfgen_ns.preprocessing.camera_fitting.canonical_model import (
    CanonicalModel,
    Observations,
    Posterior,
    linearize,
)
from nerfgen_ns.preprocessing.camera_fitting.class_frame import estimate_prior, into_class_frame
from nerfgen_ns.preprocessing.camera_fitting.e_step import e_step, independence
from nerfgen_ns.preprocessing.camera_fitting.initialization import factorize, reverse_depth
from nerfgen_ns.preprocessing.camera_fitting.m_step import (
    add_modes,
    extend_to_all_landmarks,
    held_out_error,
    run_em,
)
from nerfgen_ns.preprocessing.landmarks.models import LandmarkScheme

FocalMode = Literal["fixed", "shared", "per-image"]
MAX_LANDMARKS = 128
"""More landmarks than this do not make the cameras better: a selection estimates them."""
HELD_OUT_SHARE = 0.1
"""Part of the landmarks that the basis is not fitted to while its size is chosen."""
MODES_PER_ROUND, MAX_MODES = 2, 24
MAX_ERROR_RATIO = 0.99
"""Modes are kept if they bring the error of held-out landmarks below this part of what it was."""
MIN_SPREAD_RATIO = 0.9
"""Modes are not kept if the cameras' turns are spread by less than this part of what they were."""
RIGID_ROUNDS, FOCAL_ROUNDS, GROWTH_ROUNDS, SPREAD_ROUNDS, LAST_ROUNDS, CALIBRATION_ROUNDS = 10, 6, 5, 4, 12, 3
AMBIGUOUS_LOG_NOISE = 0.02
"""If the log noise of shapes mirrored in depth differs by less, it does not decide between them."""
FOCAL_BOUNDS = (-0.7, 0.7)
"""Logarithms of the factors between which a shared focal length is searched for."""
LOG_FOCAL_STD = 0.1
"""Standard deviation of a collection's log focal lengths before anything is known of it."""
MIN_LOG_FOCAL_STD = 0.02


def estimate_model(
    observations: Observations, scheme: LandmarkScheme, focal_mode: FocalMode = "fixed"
) -> tuple[CanonicalModel, float, float]:
    """Estimate the canonical model of some photographs, the factor of their focal lengths and its log spread.

    If there are many landmarks, a selection is enough to find cameras and basis; the others follow.
    """
    index = scheme.selection(MAX_LANDMARKS)
    selected, part = observations.select_landmarks(index), scheme.part(index)
    factor, spread, precision = 1.0, LOG_FOCAL_STD, None
    model, posterior = _fit_rigid(selected, part)
    if focal_mode != "fixed":
        selected, model, posterior, factor = _fit_focal_scale(selected, model, posterior, part)
    model, posterior = _fit_basis(selected, model, posterior, part)
    if focal_mode != "fixed" and len(model.basis):
        # One shape for all is not enough to separate perspective from the variety of shapes.
        selected, model, posterior, change = _fit_focal_scale(selected, model, posterior, part)
        factor *= change
    if focal_mode == "per-image":
        for _ in range(SPREAD_ROUNDS):
            model, posterior = run_em(selected, model, posterior, part, 1, spread**-2)
            spread = _log_focal_std(posterior)
        precision = spread**-2
    model, posterior = run_em(selected, model, posterior, part, LAST_ROUNDS, precision)
    model, posterior = _calibrate(selected, model, posterior, part, precision)
    if len(index) < scheme.count:
        model = extend_to_all_landmarks(
            observations.with_focal_scale(factor), model, posterior, index, scheme
        )
    return model, factor, spread


def _fit_basis(
    observations: Observations, model: CanonicalModel, posterior: Posterior, scheme: LandmarkScheme
) -> tuple[CanonicalModel, Posterior]:
    """Add modes to the model as long as they predict the landmarks that they were not fitted to better.

    If the errors of landmarks depend on the pose, as those of a landmark model do, modes would explain the
    poses instead of the shapes. A decrease in the spread of the poses shows this, and ends the growth too.
    """
    generator = np.random.default_rng(0)
    held_out = generator.random(observations.confidence.shape) < HELD_OUT_SHARE
    fitted = replace(observations, confidence=np.where(held_out, 0.0, observations.confidence))
    trial, trial_posterior = run_em(fitted, model, posterior, scheme, GROWTH_ROUNDS)
    error, spread = held_out_error(observations, held_out, trial, trial_posterior), _rotation_std(trial)
    max_modes = _max_modes(observations)
    while len(trial.basis) < max_modes:
        count = min(MODES_PER_ROUND, max_modes - len(trial.basis))
        trial, trial_posterior = add_modes(trial, fitted, trial_posterior, scheme.mirror_partners, count)
        trial, trial_posterior = run_em(fitted, trial, trial_posterior, scheme, GROWTH_ROUNDS)
        trial_error = held_out_error(observations, held_out, trial, trial_posterior)
        if (
            not trial_error < MAX_ERROR_RATIO * error
            or (_rotation_std(trial) < MIN_SPREAD_RATIO * spread).any()
        ):
            break
        error, model, posterior = trial_error, trial, trial_posterior
    return model, posterior


def _rotation_std(model: CanonicalModel) -> Float[np.ndarray, "3"]:
    assert model.prior is not None
    return np.sqrt(np.diagonal(np.linalg.inv(model.prior.rotation_precision)))


def _calibrate(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    scheme: LandmarkScheme,
    focal_precision: float | None,
) -> tuple[CanonicalModel, Posterior]:
    """Limit the model's certainty to what its correlated residuals allow; estimate the prior under it."""
    _, statistics = e_step(observations, model, posterior, focal_precision)
    model = replace(model, independence=independence(statistics))
    for _ in range(CALIBRATION_ROUNDS):
        posterior, _ = e_step(observations, model, posterior, focal_precision, steps=3)
        model = replace(model, prior=estimate_prior(posterior, model.prior, scheme))
    return model, posterior


def _fit_rigid(observations: Observations, scheme: LandmarkScheme) -> tuple[CanonicalModel, Posterior]:
    """Fit one shape for all photographs, and their cameras."""
    points, rotation, translation = factorize(observations, scheme.radius)
    starts = [(points, rotation, translation)]
    if observations.depth is None:
        other, rotated = reverse_depth(points, rotation)
        starts.append((other, rotated, translation))
    answers = []
    identities = int(observations.identity.max()) + 1
    for points, rotation, translation in starts:
        model = CanonicalModel.rigid(points)
        posterior = Posterior(rotation, translation, np.zeros(len(rotation)), np.zeros((identities, 0)), None)
        model, posterior = into_class_frame(model, posterior, observations.identity, scheme)
        model = replace(_with_residual_noise(observations, model, posterior), prior=None)
        posterior, _ = e_step(observations, model, posterior, None, steps=5)
        answers.append(run_em(observations, model, posterior, scheme, RIGID_ROUNDS))
    # Near things look larger: of the two mirrored in depth, the right one explains that.
    noise = [np.log(model.noise_std).mean() for model, _ in answers]
    if np.ptp(noise) < AMBIGUOUS_LOG_NOISE:
        # Photographs show the outside of a thing, which bulges toward the cameras.
        return max(answers, key=lambda answer: _bulge(answer[0]))
    return answers[int(np.argmin(noise))]


def _bulge(model: CanonicalModel) -> float:
    """Compute how much nearer to the cameras the landmarks' middle is than their rim, in class units."""
    points = model.canonical - model.canonical.mean(axis=0)
    aside = (points[:, :2] ** 2).sum(axis=1)
    return -float((points[:, 2] * (aside - aside.mean())).mean() / (aside.std() + 1e-12))


def _with_residual_noise(
    observations: Observations, model: CanonicalModel, posterior: Posterior
) -> CanonicalModel:
    """Set the noise so that nothing is an outlier yet: a rough start says too little about outliers."""
    residual = linearize(observations, model, posterior, free_focal=False).residual
    squared = (residual**2 * observations.confidence[:, None]).sum(axis=0)
    seen = np.maximum(observations.confidence.sum(axis=0), 1e-9)
    noise_std = np.sqrt(squared[:2].mean(axis=0) / seen)
    depth_noise_std = np.sqrt(squared[2] / seen) if len(squared) == 3 else model.depth_noise_std
    return replace(model, noise_std=noise_std, depth_noise_std=depth_noise_std)


def _fit_focal_scale(
    observations: Observations, model: CanonicalModel, posterior: Posterior, scheme: LandmarkScheme
) -> tuple[Observations, CanonicalModel, Posterior, float]:
    """Fit all to the focal lengths that explain the landmarks best; return also the factor of these."""

    def log_noise(log_focal_scale: float) -> float:
        factor = float(np.exp(log_focal_scale))
        changed, there = _refit_with_focal_scale(
            observations.with_focal_scale(factor), model, posterior, scheme, factor
        )
        # Noise is in class units; times the focal length over the distance, it is in those of photographs.
        return float(
            np.log(changed.noise_std).mean() - np.log(-there.translation[:, 2]).mean() + log_focal_scale
        )

    found = minimize_scalar(log_noise, bounds=FOCAL_BOUNDS, method="bounded", options={"xatol": 0.005})
    factor = float(np.exp(found.x))
    focused = observations.with_focal_scale(factor)
    return focused, *_refit_with_focal_scale(focused, model, posterior, scheme, factor), factor


def _refit_with_focal_scale(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    scheme: LandmarkScheme,
    factor: float,
) -> tuple[CanonicalModel, Posterior]:
    """Fit the model again for focal lengths `factor` times as long: things are as many times further away."""
    translation = posterior.translation * [1.0, 1.0, factor]
    start = replace(posterior, translation=translation)
    return run_em(observations, replace(model, prior=None), start, scheme, FOCAL_ROUNDS)


def _log_focal_std(posterior: Posterior) -> float:
    """Compute how far the focal lengths of single photographs are from their common one (log)."""
    assert posterior.covariance is not None
    squared = (posterior.log_focal_scale**2 + posterior.covariance[:, 6, 6]).mean()
    return float(np.clip(np.sqrt(squared), MIN_LOG_FOCAL_STD, LOG_FOCAL_STD))


def _max_modes(observations: Observations) -> int:
    """Return how many modes the coordinates of a photograph, and the identities, can separate from poses."""
    landmarks = int(np.median((observations.confidence > 0).sum(axis=1)))
    identities = int(observations.identity.max()) + 1
    return int(np.clip(min((2 * landmarks - 6) // 6, identities // 8), 0, MAX_MODES))
