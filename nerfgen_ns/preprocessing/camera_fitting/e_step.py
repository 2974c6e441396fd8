"""Poses, coefficients and their uncertainty, the canonical model being known.

For each identity, the most likely coefficients and cameras of its photographs under Student's t noise of the
landmarks, unit normal coefficients and the prior of poses; by Levenberg and Marquardt's method on all
identities of a chunk side by side. The poses are eliminated first, which leaves k unknowns an identity.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from nerfgen_ns.preprocessing.camera_fitting.canonical_model import (
    DEPTH_TRUST,
    TAILS,
    CanonicalModel,
    Linearized,
    Observations,
    Posterior,
    linearize,
)

AT_REST = 1e-7
"""A step that lowers the cost by less than this part of it is the last."""
LONGEST_TURN = 0.3
"""Radians that a camera may turn in one step."""


def _cost(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    residual: Float[np.ndarray, "n d m"],
    stretch_precision: float,
) -> Float[np.ndarray, "g"]:
    """−2 log of the posterior density of each identity, but for a constant."""
    trust = observations.confidence * model.independence
    squared = (residual[:, :2] ** 2).sum(axis=1) / model.noise**2
    cost = ((TAILS + 2) * trust * np.log1p(squared / TAILS)).sum(axis=1)
    if residual.shape[1] == 3:
        squared = residual[:, 2] ** 2 / model.depth_noise**2
        cost += (DEPTH_TRUST * (TAILS + 1) * trust * np.log1p(squared / TAILS)).sum(axis=1)
    if model.prior is not None:
        turns = model.prior.turns(posterior.rotation)
        places = model.prior.displacements(posterior.rotation, posterior.translation)
        cost += ((turns @ model.prior.turn_precision) * turns).sum(axis=1)
        cost += ((places @ model.prior.place_precision) * places).sum(axis=1)
    if stretch_precision:
        cost += stretch_precision * posterior.stretch**2
    cost = np.where(posterior.translation[:, 2] < 0, cost, np.inf)
    by_identity = _by_group(cost, observations.group, len(posterior.coefficients))
    return by_identity + (posterior.coefficients**2).sum(axis=1)


def find_posterior(
    observations: Observations,
    model: CanonicalModel,
    start: Posterior,
    steps: int,
    stretch_precision: float | None = None,
) -> tuple[Posterior, Linearized]:
    """The most likely poses and coefficients of a chunk of photographs, from a start.

    Args:
        steps: at most so many; it stops when nothing moves any more.
        stretch_precision: prior precision of the log focal length; None: focal lengths are fixed.

    Returns:
        The posterior, without its covariance (see `with_covariance`), and the linearization there.
    """
    group, free = observations.group, stretch_precision is not None
    precision, motions = stretch_precision or 0.0, 7 if free else 6
    posterior = start
    damping = np.full(len(start.coefficients), 1e-3)
    linearized = linearize(observations, model, posterior, free)
    for _ in range(steps):
        cost = _cost(observations, model, posterior, linearized.residual, precision)
        system = _normal_equations(linearized, observations, model, posterior, precision, motions)
        step, coefficient_step, _ = _solve(system, posterior, group, damping, motions)
        length = np.linalg.norm(step[:, :3], axis=1, keepdims=True)
        step[:, :3] *= np.minimum(1.0, LONGEST_TURN / np.maximum(length, 1e-12))
        tried = Posterior(
            Rotation.from_rotvec(step[:, :3]).as_matrix() @ posterior.rotation,
            posterior.translation + step[:, 3:6],
            posterior.stretch + (step[:, 6] if free else 0.0),
            posterior.coefficients + coefficient_step,
        )
        with np.errstate(all="ignore"):
            tried_linearized = linearize(observations, model, tried, free)
            # Both are measured by the old distance: a nearer camera would make every residual smaller.
            unit = posterior.translation[:, 2] / tried.translation[:, 2]
            tried_cost = _cost(
                observations, model, tried, tried_linearized.residual * unit[:, None, None], precision
            )
        better = tried_cost <= cost
        if better.all():
            posterior, linearized = tried, tried_linearized
        elif better.any():
            chosen = better[group]
            posterior = Posterior(
                np.where(chosen[:, None, None], tried.rotation, posterior.rotation),
                np.where(chosen[:, None], tried.translation, posterior.translation),
                np.where(chosen, tried.stretch, posterior.stretch),
                np.where(better[:, None], tried.coefficients, posterior.coefficients),
            )
            linearized = linearize(observations, model, posterior, free)
        damping = np.where(better, damping * 0.1, damping * 10).clip(1e-9, 1e9)
        moved = np.where(better, (cost - tried_cost) / (1 + np.abs(cost)), 1.0)
        if (moved < AT_REST).all() or damping.min() > 1e8:
            break
    return posterior, linearized


def improbability(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    linearized: Linearized,
    stretch_precision: float | None = None,
) -> Float[np.ndarray, "g"]:
    """−2 log of the posterior density of each identity, but for a constant."""
    return _cost(observations, model, posterior, linearized.residual, stretch_precision or 0.0)


def with_covariance(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    linearized: Linearized,
    stretch_precision: float | None = None,
) -> Posterior:
    """The posterior with its covariance, by Laplace's approximation at the linearization."""
    motions = 6 if stretch_precision is None else 7
    system = _normal_equations(linearized, observations, model, posterior, stretch_precision or 0.0, motions)
    undamped = np.zeros(len(posterior.coefficients))
    covariance = _solve(system, posterior, observations.group, undamped, motions)[2]
    return replace(posterior, covariance=covariance)


def _normal_equations(
    linearized: Linearized,
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    stretch_precision: float,
    motions: int,
) -> tuple[Float[np.ndarray, "n q q"], Float[np.ndarray, "n q"]]:
    n, size = linearized.design.shape[:2]
    design = linearized.design.reshape(n, size, -1)
    weighted = design * linearized.weight.reshape(n, 1, -1)
    normal = weighted @ design.transpose(0, 2, 1)
    gradient = (weighted @ linearized.residual.reshape(n, -1, 1))[..., 0]
    places = np.arange(motions)
    # The smallest of priors, so that photographs with too few landmarks still have an answer.
    normal[:, places, places] += 1e-6 * normal[:, places, places] + 1e-6
    if motions == 7:
        normal[:, 6, 6] += stretch_precision
        gradient[:, 6] -= stretch_precision * posterior.stretch
    prior = model.prior
    if prior is not None:
        normal[:, :3, :3] += prior.turn_precision
        gradient[:, :3] -= prior.turns(posterior.rotation) @ prior.turn_precision
        moves = pivot_motion(posterior.rotation, prior.pivot)
        weighted = moves.transpose(0, 2, 1) @ prior.place_precision
        displacement = prior.displacements(posterior.rotation, posterior.translation)
        normal[:, :6, :6] += weighted @ moves
        gradient[:, :6] -= (weighted @ displacement[..., None])[..., 0]
    return normal, gradient


def pivot_motion(
    rotation: Float[np.ndarray, "n 3 3"], pivot: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "n 3 6"]:
    """Derivative of the pivot's place in the camera frame by the turn and the translation of each camera."""
    arm = rotation @ pivot
    moves = np.zeros((len(rotation), 3, 6))
    moves[:, :, 3:] = np.eye(3)
    moves[:, [0, 1, 2], [1, 2, 0]] = arm[:, [2, 0, 1]]
    moves[:, [0, 1, 2], [2, 0, 1]] = -arm[:, [1, 2, 0]]
    return moves


def _solve(
    system: tuple[Float[np.ndarray, "n q q"], Float[np.ndarray, "n q"]],
    posterior: Posterior,
    group: Int[np.ndarray, "n"],
    damping: Float[np.ndarray, "g"],
    motions: int,
) -> tuple[Float[np.ndarray, "n p"], Float[np.ndarray, "g k"], Float[np.ndarray, "n q q"]]:
    """Steps of the motions and the coefficients, and the covariance of both, photograph by photograph."""
    normal, gradient = system
    identities, modes = posterior.coefficients.shape
    own = normal[:, :motions, :motions].copy()
    places = np.arange(motions)
    own[:, places, places] *= 1 + damping[group][:, None]
    own_inverse = np.linalg.inv(own)
    cross = normal[:, :motions, motions:]
    carried = own_inverse @ cross
    shared = _by_group(normal[:, motions:, motions:] - cross.transpose(0, 2, 1) @ carried, group, identities)
    places = np.arange(modes)
    shared[:, places, places] = (shared[:, places, places] + 1) * (1 + damping[:, None])
    pull = gradient[:, motions:] - (carried.transpose(0, 2, 1) @ gradient[:, :motions, None])[..., 0]
    pull = _by_group(pull, group, identities) - posterior.coefficients
    shared_inverse = np.linalg.inv(shared)
    coefficient_step = (shared_inverse @ pull[..., None])[..., 0]
    motion = gradient[:, :motions] - (cross @ coefficient_step[group][..., None])[..., 0]
    step = (own_inverse @ motion[..., None])[..., 0]
    covariance = np.empty_like(normal)
    uncertain = shared_inverse[group]
    spread = carried @ uncertain
    covariance[:, motions:, motions:] = uncertain
    covariance[:, :motions, motions:] = -spread
    covariance[:, motions:, :motions] = -spread.transpose(0, 2, 1)
    covariance[:, :motions, :motions] = own_inverse + spread @ carried.transpose(0, 2, 1)
    return step, coefficient_step, covariance


def _by_group(
    values: Float[np.ndarray, "n *d"], group: Int[np.ndarray, "n"], count: int
) -> Float[np.ndarray, "g *d"]:
    if len(values) == count:
        return values[np.argsort(group)] if (np.diff(group) < 0).any() else values.copy()
    total = np.zeros((count, *values.shape[1:]))
    np.add.at(total, group, values)
    return total
