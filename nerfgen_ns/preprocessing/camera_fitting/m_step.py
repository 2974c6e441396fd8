"""The M-step: canonical landmarks, their basis and their noise, from sums over a collection."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from nerfgen_ns.preprocessing.camera_fitting.canonical_model import (
    MIRROR,
    CanonicalModel,
    Observations,
    Posterior,
    linearize,
)
from nerfgen_ns.preprocessing.camera_fitting.class_frame import into_class_frame
from nerfgen_ns.preprocessing.camera_fitting.e_step import Statistics, chunks, e_step, statistics_at
from nerfgen_ns.preprocessing.landmarks.models import LandmarkScheme

COMPLETION_ROUNDS = 6
POOLED_SHARE = 0.5
MAX_LINEAR_CHANGE = 0.2
MIN_NOISE = 1e-5
"""Noise is assumed to be at least this part of the landmarks' radius."""


def m_step(
    model: CanonicalModel, statistics: Statistics, partners: Int[np.ndarray, " m"] | None
) -> CanonicalModel:
    """Compute the canonical landmarks, basis and noise that fit the statistics best."""
    num_modes, num_landmarks = model.basis.shape[:2]
    size = 3 * (num_modes + 1)
    normal = statistics.normal.reshape(num_landmarks, 3, 3, num_modes + 1, num_modes + 1)
    normal = normal.transpose(0, 3, 1, 4, 2).reshape(num_landmarks, size, size)
    gradient = statistics.gradient.reshape(num_landmarks, size)
    squared, squared_depth, seen = (
        statistics.squared_residuals,
        statistics.squared_depth_residuals,
        statistics.seen,
    )
    if partners is not None:
        sign = (np.append(1.0, model.parity)[:, None] * MIRROR).ravel()
        normal = normal + sign[:, None] * sign * normal[partners]
        gradient = gradient + sign * gradient[partners]
        squared, squared_depth, seen = (part + part[partners] for part in (squared, squared_depth, seen))
    # A mode's values at the landmarks have a normal prior: those of rarely seen ones stay near zero.
    rows = np.arange(size)
    ridge = np.full((num_landmarks, size), 1e-9) * np.trace(normal, axis1=1, axis2=2)[:, None] + 1e-9
    if num_modes:
        precision = 1 / ((model.basis**2).mean() + 1e-12)
        ridge[:, 3:] += precision
        gradient = gradient.copy()
        gradient[:, 3:] -= precision * model.basis.transpose(1, 0, 2).reshape(num_landmarks, -1)
    normal[:, rows, rows] += ridge
    step = np.linalg.solve(normal, gradient[..., None]).reshape(num_landmarks, num_modes + 1, 3)
    radius = np.sqrt(((model.canonical - model.canonical.mean(axis=0)) ** 2).sum(axis=1).mean())
    least = MIN_NOISE * radius
    return CanonicalModel(
        canonical=model.canonical + step[:, 0],
        basis=model.basis + step[:, 1:].transpose(1, 0, 2),
        parity=model.parity,
        noise_std=_pooled(squared, seen) + least,
        depth_noise_std=_pooled(squared_depth, seen) + least,
        independence=model.independence,
        prior=model.prior,
    )


def _pooled(squares: Float[np.ndarray, " m"], seen: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Compute each landmark's noise, half its own and half that of all: none is trusted blindly."""
    usual = squares.sum() / max(seen.sum(), 1e-9)
    own = np.where(seen > 0, squares / np.maximum(seen, 1e-9), usual)
    return np.sqrt(POOLED_SHARE * usual + (1 - POOLED_SHARE) * own)


def apply_linear_map(
    model: CanonicalModel, statistics: Statistics, partners: Int[np.ndarray, " m"] | None
) -> CanonicalModel:
    """Apply to all shapes the linear map that fits the statistics best if the poses respond to it.

    Alternation between the shapes' depth and the cameras' turns is slowest to resolve their ambiguity, the
    bas-relief ambiguity. This map resolves it faster.
    """
    free = np.arange(9) if partners is None else np.array([0, 4, 5, 7, 8])  # keeps the mirror symmetry
    normal = statistics.map_normal[np.ix_(free, free)]
    normal = normal + 1e-3 * np.trace(normal) / len(free) * np.eye(len(free))
    change = np.zeros(9)
    change[free] = np.linalg.solve(normal, statistics.map_gradient[free])
    change *= min(1.0, MAX_LINEAR_CHANGE / max(np.abs(change).max(), 1e-12))
    matrix = np.eye(3) + change.reshape(3, 3)
    mean = model.canonical.mean(axis=0)
    return replace(model, canonical=(model.canonical - mean) @ matrix.T + mean, basis=model.basis @ matrix.T)


def add_modes(
    model: CanonicalModel,
    observations: Observations,
    posterior: Posterior,
    partners: Int[np.ndarray, " m"] | None,
    num_modes: int,
) -> tuple[CanonicalModel, Posterior]:
    """Add `num_modes` modes to the model: those along which the unexplained rest varies most."""
    shifts = np.zeros((len(observations), *model.canonical.shape))
    for rows in chunks(observations.identity):
        part = observations.part(rows)
        here = posterior.part(rows, np.unique(observations.identity[rows]))
        linearized = linearize(part, model, here, free_focal=False)
        point_jacobian = linearized.point_jacobian()
        weighted = point_jacobian * linearized.weight[:, :, None]
        normal = np.einsum("nrim,nrjm->nmij", weighted, point_jacobian, optimize=True)
        normal += np.eye(3) / np.median(model.noise_std) ** 2
        pull = np.einsum("nrim,nrm->nmi", weighted, linearized.residual)
        shifts[rows] = np.linalg.solve(normal, pull[..., None])[..., 0]
    halves = [(1.0, shifts)]
    if partners is not None:
        mirror = shifts[:, partners] * MIRROR
        halves = [(1.0, (shifts + mirror) / 2), (-1.0, (shifts - mirror) / 2)]
    found = []
    for parity, half in halves:
        _, size, direction = np.linalg.svd(half.reshape(len(half), -1), full_matrices=False)
        found += [(s / np.sqrt(len(half)), parity, mode) for s, mode in zip(size, direction, strict=True)]
    found = sorted(found, key=lambda mode: -mode[0])[:num_modes]
    new = np.array([size * mode for size, _, mode in found]).reshape(-1, *model.canonical.shape)
    model = CanonicalModel(
        model.canonical,
        np.concatenate([model.basis, new]),
        np.append(model.parity, [parity for _, parity, _ in found]),
        model.noise_std,
        model.depth_noise_std,
        model.independence,
        model.prior,
    )
    coefficients = np.zeros((len(posterior.coefficients), len(model.basis)))
    coefficients[:, : posterior.coefficients.shape[1]] = posterior.coefficients
    return model, Posterior(
        posterior.rotation, posterior.translation, posterior.log_focal_scale, coefficients
    )


def run_em(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    scheme: LandmarkScheme,
    num_rounds: int,
    focal_precision: float | None = None,
) -> tuple[CanonicalModel, Posterior]:
    """Run some rounds of expectation and maximization, each brought back into the class frame."""
    for _ in range(num_rounds):
        posterior, statistics = e_step(observations, model, posterior, focal_precision)
        if not len(model.basis):
            model = apply_linear_map(model, statistics, scheme.mirror_partners)
            model, posterior = into_class_frame(model, posterior, observations.identity, scheme)
            posterior, statistics = e_step(observations, model, posterior, focal_precision, steps=2)
        model = m_step(model, statistics, scheme.mirror_partners)
        model, posterior = into_class_frame(model, posterior, observations.identity, scheme)
    return model, posterior


def extend_to_all_landmarks(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    index: Int[np.ndarray, " s"],
    scheme: LandmarkScheme,
) -> CanonicalModel:
    """Extend the model of some landmarks, at places `index`, to all, given the posterior under it."""
    num_modes, mean = len(model.basis), model.canonical.mean(axis=0)
    whole = CanonicalModel(
        canonical=np.tile(mean, (scheme.count, 1)),
        basis=np.zeros((num_modes, scheme.count, 3)),
        parity=model.parity,
        noise_std=np.full(scheme.count, model.noise_std.mean()),
        depth_noise_std=np.full(scheme.count, model.depth_noise_std.mean()),
        prior=model.prior,
    )
    whole.canonical[index], whole.basis[:, index] = model.canonical, model.basis
    for _ in range(COMPLETION_ROUNDS):
        whole = m_step(whole, statistics_at(observations, whole, posterior), scheme.mirror_partners)
    whole.independence = model.independence * len(index) / scheme.count
    return into_class_frame(whole, posterior, observations.identity, scheme)[0]


def held_out_error(
    observations: Observations,
    held_out: Bool[np.ndarray, "n m"],
    model: CanonicalModel,
    posterior: Posterior,
) -> float:
    """Compute the mean error, in class units, of landmarks that nothing was fitted to."""
    held = Observations(
        observations.image_points,
        None,
        held_out.astype(float) * observations.confidence,
        observations.identity,
    )
    total = 0.0
    for rows in chunks(observations.identity):
        here = posterior.part(rows, np.unique(observations.identity[rows]))
        linearized = linearize(held.part(rows), model, here, free_focal=False)
        total += (np.linalg.norm(linearized.residual, axis=1) * held.confidence[rows]).sum()
    return float(total / max(held.confidence.sum(), 1e-9))
