"""Poses, coefficients and their uncertainty, given the canonical model.

For each identity, the E-step finds the most likely coefficients and the cameras of its photographs. The noise
of the landmarks is Student's t, coefficients are unit normal, and poses have a prior. Levenberg and
Marquardt's method works on all identities of a chunk side by side. The poses are eliminated first, which
leaves k unknowns an identity.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from nerfgen_ns.preprocessing.camera_fitting.canonical_model import (
    DEPTH_WEIGHT,
    DOF,
    CanonicalModel,
    Linearized,
    Observations,
    Posterior,
    linearize,
)

TOLERANCE = 1e-7
"""A step that lowers the cost by less than this part of it is the last."""
MAX_ROTATION_STEP = 0.3
"""Radians that a camera may turn in one step."""


def posterior_cost(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    residual: Float[np.ndarray, "n d m"],
    focal_precision: float | None,
) -> Float[np.ndarray, " g"]:
    """Return −2 log of the posterior density of each identity, up to a constant.

    cost = Σ confidence · independence · (ν + 2) log(1 + |r|²/(ν σ²)) + ‖coefficients‖² + the prior's
    squares, with Student's t residuals r of ν degrees of freedom.
    """
    confidence = observations.confidence * model.independence
    squared = (residual[:, :2] ** 2).sum(axis=1) / model.noise_std**2
    cost = ((DOF + 2) * confidence * np.log1p(squared / DOF)).sum(axis=1)
    if residual.shape[1] == 3:
        squared = residual[:, 2] ** 2 / model.depth_noise_std**2
        cost += (DEPTH_WEIGHT * (DOF + 1) * confidence * np.log1p(squared / DOF)).sum(axis=1)
    if model.prior is not None:
        rotvecs = model.prior.rotvecs(posterior.rotation)
        offsets = model.prior.pivot_offsets(posterior.rotation, posterior.translation)
        cost += ((rotvecs @ model.prior.rotation_precision) * rotvecs).sum(axis=1)
        cost += ((offsets @ model.prior.pivot_precision) * offsets).sum(axis=1)
    if focal_precision:
        cost += focal_precision * posterior.log_focal_scale**2
    cost = np.where(posterior.translation[:, 2] < 0, cost, np.inf)
    by_identity = _sum_by_identity(cost, observations.identity, len(posterior.coefficients))
    return by_identity + (posterior.coefficients**2).sum(axis=1)


def find_posterior(
    observations: Observations,
    model: CanonicalModel,
    start: Posterior,
    steps: int,
    focal_precision: float | None = None,
) -> tuple[Posterior, Linearized]:
    """Find the most likely poses and coefficients of a chunk of photographs, from a start.

    Args:
        steps: at most this many; it stops when nothing moves any more.
        focal_precision: prior precision of the log focal length; None: focal lengths are fixed.

    Returns:
        The posterior, without its covariance (see `with_covariance`), and the linearization there.
    """
    identity, free = observations.identity, focal_precision is not None
    precision, num_pose = focal_precision or 0.0, 7 if free else 6
    posterior = start
    damping = np.full(len(start.coefficients), 1e-3)
    linearized = linearize(observations, model, posterior, free)
    for _ in range(steps):
        cost = posterior_cost(observations, model, posterior, linearized.residual, precision)
        system = _normal_equations(linearized, observations, model, posterior, precision, num_pose)
        step, coefficient_step, _ = _solve(system, posterior, identity, damping, num_pose)
        length = np.linalg.norm(step[:, :3], axis=1, keepdims=True)
        step[:, :3] *= np.minimum(1.0, MAX_ROTATION_STEP / np.maximum(length, 1e-12))
        tried = Posterior(
            Rotation.from_rotvec(step[:, :3]).as_matrix() @ posterior.rotation,
            posterior.translation + step[:, 3:6],
            posterior.log_focal_scale + (step[:, 6] if free else 0.0),
            posterior.coefficients + coefficient_step,
        )
        with np.errstate(all="ignore"):
            tried_linearized = linearize(observations, model, tried, free)
            # Both are measured by the old distance: a nearer camera would make every residual smaller.
            unit = posterior.translation[:, 2] / tried.translation[:, 2]
            tried_cost = posterior_cost(
                observations, model, tried, tried_linearized.residual * unit[:, None, None], precision
            )
        better = tried_cost <= cost
        if better.all():
            posterior, linearized = tried, tried_linearized
        elif better.any():
            chosen = better[identity]
            posterior = Posterior(
                np.where(chosen[:, None, None], tried.rotation, posterior.rotation),
                np.where(chosen[:, None], tried.translation, posterior.translation),
                np.where(chosen, tried.log_focal_scale, posterior.log_focal_scale),
                np.where(better[:, None], tried.coefficients, posterior.coefficients),
            )
            linearized = linearize(observations, model, posterior, free)
        damping = np.where(better, damping * 0.1, damping * 10).clip(1e-9, 1e9)
        moved = np.where(better, (cost - tried_cost) / (1 + np.abs(cost)), 1.0)
        if (moved < TOLERANCE).all() or damping.min() > 1e8:
            break
    return posterior, linearized


def with_covariance(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    linearized: Linearized,
    focal_precision: float | None = None,
) -> Posterior:
    """Return the posterior with its covariance, by Laplace's approximation at the linearization."""
    num_pose = 6 if focal_precision is None else 7
    system = _normal_equations(linearized, observations, model, posterior, focal_precision or 0.0, num_pose)
    undamped = np.zeros(len(posterior.coefficients))
    covariance = _solve(system, posterior, observations.identity, undamped, num_pose)[2]
    return replace(posterior, covariance=covariance)


def _normal_equations(
    linearized: Linearized,
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    focal_precision: float,
    num_pose: int,
) -> tuple[Float[np.ndarray, "n q q"], Float[np.ndarray, "n q"]]:
    n, size = linearized.jacobian.shape[:2]
    jacobian = linearized.jacobian.reshape(n, size, -1)
    weighted = jacobian * linearized.weight.reshape(n, 1, -1)
    normal = weighted @ jacobian.transpose(0, 2, 1)
    gradient = (weighted @ linearized.residual.reshape(n, -1, 1))[..., 0]
    diagonal = np.arange(num_pose)
    # A very weak prior, so that photographs with too few landmarks still have an answer.
    normal[:, diagonal, diagonal] += 1e-6 * normal[:, diagonal, diagonal] + 1e-6
    if num_pose == 7:
        normal[:, 6, 6] += focal_precision
        gradient[:, 6] -= focal_precision * posterior.log_focal_scale
    prior = model.prior
    if prior is not None:
        normal[:, :3, :3] += prior.rotation_precision
        gradient[:, :3] -= prior.rotvecs(posterior.rotation) @ prior.rotation_precision
        moves = pivot_jacobian(posterior.rotation, prior.pivot)
        weighted = moves.transpose(0, 2, 1) @ prior.pivot_precision
        pivot_offset = prior.pivot_offsets(posterior.rotation, posterior.translation)
        normal[:, :6, :6] += weighted @ moves
        gradient[:, :6] -= (weighted @ pivot_offset[..., None])[..., 0]
    return normal, gradient


def pivot_jacobian(
    rotation: Float[np.ndarray, "n 3 3"], pivot: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "n 3 6"]:
    """Return the Jacobian of the pivot's position in the camera frame by the pose delta: [−[Rp]× | I]."""
    rotated_pivot = rotation @ pivot
    moves = np.zeros((len(rotation), 3, 6))
    moves[:, :, 3:] = np.eye(3)
    moves[:, [0, 1, 2], [1, 2, 0]] = rotated_pivot[:, [2, 0, 1]]
    moves[:, [0, 1, 2], [2, 0, 1]] = -rotated_pivot[:, [1, 2, 0]]
    return moves


def _solve(
    system: tuple[Float[np.ndarray, "n q q"], Float[np.ndarray, "n q"]],
    posterior: Posterior,
    identity: Int[np.ndarray, " n"],
    damping: Float[np.ndarray, " g"],
    num_pose: int,
) -> tuple[Float[np.ndarray, "n p"], Float[np.ndarray, "g k"], Float[np.ndarray, "n q q"]]:
    """Solve the normal equations by the Schur complement, and invert them.

    For the photographs i of an identity, with Aᵢ the block of the pose, Bᵢ that of pose and coefficients, Cᵢ
    that of the coefficients and (aᵢ, bᵢ) the gradient:

        S = I + Σᵢ (Cᵢ − Bᵢᵀ Aᵢ⁻¹ Bᵢ),   Δα = S⁻¹ (Σᵢ (bᵢ − Bᵢᵀ Aᵢ⁻¹ aᵢ) − α),   Δθᵢ = Aᵢ⁻¹ (aᵢ − Bᵢ Δα).

    Returns:
        The steps Δθ of the poses and Δα of the coefficients, and the covariance of both: S⁻¹ of the
        coefficients, −Aᵢ⁻¹ Bᵢ S⁻¹ between both, Aᵢ⁻¹ + Aᵢ⁻¹ Bᵢ S⁻¹ Bᵢᵀ Aᵢ⁻¹ of the poses.
    """
    normal, gradient = system
    num_identities, num_modes = posterior.coefficients.shape
    pose_block = normal[:, :num_pose, :num_pose].copy()
    diagonal = np.arange(num_pose)
    pose_block[:, diagonal, diagonal] *= 1 + damping[identity][:, None]
    pose_inverse = np.linalg.inv(pose_block)
    cross = normal[:, :num_pose, num_pose:]
    elimination = pose_inverse @ cross
    schur = _sum_by_identity(
        normal[:, num_pose:, num_pose:] - cross.transpose(0, 2, 1) @ elimination, identity, num_identities
    )
    diagonal = np.arange(num_modes)
    schur[:, diagonal, diagonal] = (schur[:, diagonal, diagonal] + 1) * (1 + damping[:, None])
    reduced_gradient = (
        gradient[:, num_pose:] - (elimination.transpose(0, 2, 1) @ gradient[:, :num_pose, None])[..., 0]
    )
    reduced_gradient = _sum_by_identity(reduced_gradient, identity, num_identities) - posterior.coefficients
    schur_inverse = np.linalg.inv(schur)
    coefficient_step = (schur_inverse @ reduced_gradient[..., None])[..., 0]
    pose_gradient = gradient[:, :num_pose] - (cross @ coefficient_step[identity][..., None])[..., 0]
    step = (pose_inverse @ pose_gradient[..., None])[..., 0]
    covariance = np.empty_like(normal)
    own_schur_inverse = schur_inverse[identity]
    spread = elimination @ own_schur_inverse
    covariance[:, num_pose:, num_pose:] = own_schur_inverse
    covariance[:, :num_pose, num_pose:] = -spread
    covariance[:, num_pose:, :num_pose] = -spread.transpose(0, 2, 1)
    covariance[:, :num_pose, :num_pose] = pose_inverse + spread @ elimination.transpose(0, 2, 1)
    return step, coefficient_step, covariance


def _sum_by_identity(
    values: Float[np.ndarray, " n *d"], identity: Int[np.ndarray, " n"], count: int
) -> Float[np.ndarray, " g *d"]:
    if len(values) == count:
        return values[np.argsort(identity)] if (np.diff(identity) < 0).any() else values.copy()
    total = np.zeros((count, *values.shape[1:]))
    np.add.at(total, identity, values)
    return total


CHUNK_SIZE = 64
"""Photographs worked on at a time: their arrays then stay in the processor's cache."""


def chunks(identity: Int[np.ndarray, " n"], size: int = CHUNK_SIZE) -> Iterator[Int[np.ndarray, " p"]]:
    """Yield places of about `size` photographs at a time, those of one identity together."""
    order = np.argsort(identity, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(identity[order])) + 1, len(order))
    first = 0
    while first < len(order):
        last = int(ends[min(int(np.searchsorted(ends, first + size)), len(ends) - 1)])
        yield order[first:last]
        first = last


@dataclass
class Statistics:
    """What photographs say about the model, as sums over them."""

    normal: Float[np.ndarray, "m 9 e"]
    gradient: Float[np.ndarray, "m k+1 3"]
    squared_residuals: Float[np.ndarray, " m"]
    squared_depth_residuals: Float[np.ndarray, " m"]
    seen: Float[np.ndarray, " m"]
    map_normal: Float[np.ndarray, "9 9"]
    map_gradient: Float[np.ndarray, "9"]
    """Normal equations of a linear map of a rigid shape, to which the poses respond."""
    whitened: list[Float[np.ndarray, "p 2m"]]

    @classmethod
    def of(
        cls, linearized: Linearized, observations: Observations, posterior: Posterior, model: CanonicalModel
    ) -> "Statistics":
        """Compute the statistics of a chunk, whose posterior has its covariance."""
        assert posterior.covariance is not None
        n, _, num_coordinates, num_landmarks = linearized.jacobian.shape
        num_modes = len(model.basis)
        point_jacobian, weight, residual = linearized.point_jacobian(), linearized.weight, linearized.residual
        covariance = posterior.covariance
        coefficients = np.ones((n, num_modes + 1))
        coefficients[:, 1:] = posterior.coefficients[observations.identity]
        second = coefficients[:, :, None] * coefficients[:, None]
        second[:, 1:, 1:] += covariance[:, -num_modes:, -num_modes:] if num_modes else 0.0
        weighted = point_jacobian * weight[:, :, None]
        curvature = (weighted[:, :, :, None] * point_jacobian[:, :, None]).sum(axis=1)
        normal = curvature.reshape(n, 9, num_landmarks).transpose(2, 1, 0) @ second.reshape(n, -1)
        # E[residual · coefficient]: the part due to their common uncertainty is not the model's.
        spread = covariance @ linearized.jacobian.reshape(n, -1, num_coordinates * num_landmarks)
        share = residual[:, None] * coefficients[:, :, None, None]
        if num_modes:
            share[:, 1:] -= spread[:, -num_modes:].reshape(n, num_modes, num_coordinates, num_landmarks)
        gradient = np.einsum("nrjm,nkrm->mkj", weighted, share, optimize=True)
        map_normal, map_gradient = np.zeros((9, 9)), np.zeros(9)
        if not num_modes:
            points = model.canonical - model.canonical.mean(axis=0)
            maps = point_jacobian[:, :, :, None] * points.T
            maps = maps.reshape(n, num_coordinates, 9, num_landmarks).transpose(0, 2, 1, 3).reshape(n, 9, -1)
            weighted_maps = maps * weight.reshape(n, 1, -1)
            jacobian = linearized.jacobian.reshape(n, -1, num_coordinates * num_landmarks)
            response = weighted_maps @ jacobian.transpose(0, 2, 1)
            effect = weighted_maps @ maps.transpose(0, 2, 1)
            effect = effect - response @ covariance @ response.transpose(0, 2, 1)
            map_normal = effect.sum(axis=0)
            map_gradient = (weighted_maps @ residual.reshape(n, -1, 1)).sum(axis=0)[:, 0]
        variance = (linearized.jacobian * spread.reshape(linearized.jacobian.shape)).sum(axis=1)
        confidence, squared = observations.confidence, residual**2 + variance
        robust_weight = (DOF + 2) / (DOF + (residual[:, :2] ** 2).sum(axis=1) / model.noise_std**2)
        squared_residuals = (confidence * robust_weight * squared[:, :2].sum(axis=1)).sum(axis=0) / 2
        squared_depth_residuals = np.zeros(num_landmarks)
        if num_coordinates == 3:
            robust_depth_weight = (DOF + 1) / (DOF + residual[:, 2] ** 2 / model.depth_noise_std**2)
            squared_depth_residuals = (confidence * robust_depth_weight * squared[:, 2]).sum(axis=0)
        whitened = residual[:, :2] * np.sqrt(confidence * robust_weight)[:, None] / model.noise_std
        return cls(
            normal,
            gradient,
            squared_residuals,
            squared_depth_residuals,
            confidence.sum(axis=0),
            map_normal,
            map_gradient,
            [whitened.reshape(n, -1)],
        )

    @classmethod
    def sum(cls, parts: "list[Statistics]") -> "Statistics":
        """Add up the statistics of all photographs from those of the chunks."""
        first, *others = parts
        total = cls(*(value.copy() for value in vars(first).values()))
        for part in others:
            for name, value in vars(part).items():
                setattr(total, name, getattr(total, name) + value)
        return total


def e_step(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    focal_precision: float | None,
    steps: int = 1,
) -> tuple[Posterior, Statistics]:
    """Take some steps from the posterior; return the posterior after them and the statistics there."""
    size = model.basis.shape[0] + (6 if focal_precision is None else 7)
    result = Posterior(
        posterior.rotation.copy(),
        posterior.translation.copy(),
        posterior.log_focal_scale.copy(),
        posterior.coefficients.copy(),
        np.zeros((len(observations), size, size)),
    )
    parts = []
    for rows in chunks(observations.identity):
        part = observations.part(rows)
        num_identities = np.unique(observations.identity[rows])
        start = posterior.part(rows, num_identities)
        found, linearized = find_posterior(part, model, start, steps, focal_precision)
        found = with_covariance(part, model, found, linearized, focal_precision)
        for name in ("rotation", "translation", "log_focal_scale", "covariance"):
            getattr(result, name)[rows] = getattr(found, name)
        result.coefficients[num_identities] = found.coefficients
        parts.append(Statistics.of(linearized, part, found, model))
    return result, Statistics.sum(parts)


def statistics_at(observations: Observations, model: CanonicalModel, posterior: Posterior) -> Statistics:
    """Compute the statistics at the posterior, which has its covariance."""
    assert posterior.covariance is not None
    free_focal = posterior.covariance.shape[1] == 7 + len(model.basis)
    parts = []
    for rows in chunks(observations.identity):
        here = posterior.part(rows, np.unique(observations.identity[rows]))
        part = observations.part(rows)
        parts.append(Statistics.of(linearize(part, model, here, free_focal), part, here, model))
    return Statistics.sum(parts)


def independence(statistics: Statistics) -> float:
    """Compute the residuals' effective number of dimensions over their number: (tr C)² / tr C², over r."""
    whitened = np.concatenate(statistics.whitened)
    n, size = len(whitened), 2 * np.count_nonzero(statistics.seen) - 6  # a pose takes six of them
    products = (whitened @ whitened.T) ** 2
    trace = np.sqrt(np.diagonal(products)).mean()
    squares = (products.sum() - np.trace(products)) / max(n * (n - 1), 1)
    return float(np.clip(trace**2 / max(squares, 1e-30) / size, 1 / size, 1.0))
