"""Into the class frame: conventions and the collection as a whole settle what landmarks leave open.

There is one frame for all: x is the normal of the plane of symmetry, y is up as the cameras see it on
average, z points to them; mean and radius are the scheme's. There is also one for each mode of the basis: a
shape that changes while it rotates looks like one whose camera rotates back. Rotation, translation and scale
are therefore removed from the modes. Then each mode gets the rotation and translation that correlate with its
coefficient in the collection: shapes and camera poses are independent of each other.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from nerfgen_ns.preprocessing.camera_fitting.canonical_model import (
    CanonicalModel,
    PosePrior,
    Posterior,
    mirrored,
)
from nerfgen_ns.preprocessing.camera_fitting.e_step import pivot_jacobian
from nerfgen_ns.preprocessing.landmarks.models import LandmarkScheme

ROTATION_OF_MODE = 0.5
"""A mode's turn is expected to be this part of its own size, seen as an angle from the landmarks' mean."""
TRANSLATION_OF_MODE = 0.1
MIN_ROTATION_STD, MIN_TRANSLATION_STD = 0.02, 0.02
"""Collections are assumed to spread at least this much: radians, and parts of the landmarks' radius."""

CROSS = np.array([np.cross(axis, np.eye(3)).T for axis in np.eye(3)])
"""CROSS[k] @ v is e_k × v."""


def into_class_frame(
    model: CanonicalModel, posterior: Posterior, identity: Int[np.ndarray, " n"], scheme: LandmarkScheme
) -> tuple[CanonicalModel, Posterior]:
    """Return the same model and cameras in the class frame, with the prior of the poses estimated there.

    The landmarks stay where they were seen, to first order in the coefficients: the next steps make it exact.
    """
    model, posterior = _whiten(model, posterior, identity, scheme)
    model, posterior = _apply_conventions(model, posterior, scheme)
    if len(model.basis):
        model, posterior = _remove_rigid_motion(model, posterior, identity, scheme)
        model.prior = estimate_prior(posterior, model.prior, scheme)
        model, posterior = _add_correlated_motion(model, posterior, identity, scheme)
    model.prior = estimate_prior(posterior, model.prior, scheme)
    return model, posterior


def _whiten(
    model: CanonicalModel, posterior: Posterior, identity: Int[np.ndarray, " n"], scheme: LandmarkScheme
) -> tuple[CanonicalModel, Posterior]:
    """Change to the basis in which coefficients have zero mean and unit covariance, largest modes first."""
    num_modes = len(model.basis)
    if not num_modes:
        return model, posterior
    coefficients = posterior.coefficients
    assert posterior.covariance is not None
    first = np.unique(identity, return_index=True)[1]
    second = coefficients.T @ coefficients / len(coefficients)
    second += posterior.covariance[first, -num_modes:, -num_modes:].mean(axis=0)
    basis, sizes, parities = [], [], []
    rotated = []
    for parity in np.unique(model.parity):
        which = np.flatnonzero(model.parity == parity)
        spread = np.linalg.cholesky(second[np.ix_(which, which)] + 1e-9 * np.eye(len(which)))
        own = np.tensordot(spread.T, model.basis[which], axes=1)
        size, axes = np.linalg.eigh(np.einsum("kmd,lmd->kl", own, own))
        basis.append(np.tensordot(axes.T, own, axes=1))
        rotated.append(coefficients[:, which] @ np.linalg.solve(spread.T, axes))
        sizes.append(size)
        parities.append(np.full(len(which), parity))
    order = np.argsort(-np.concatenate(sizes))
    basis_array = np.concatenate(basis)[order]
    parity_array = np.concatenate(parities)[order]
    coefficients = np.concatenate(rotated, axis=1)[:, order]
    mean = coefficients.mean(axis=0)
    if scheme.mirror_partners is not None:
        mean = np.where(parity_array > 0, mean, 0.0)
    canonical = model.canonical + np.tensordot(mean, basis_array, axes=1)
    return (
        replace(model, canonical=canonical, basis=basis_array, parity=parity_array),
        replace(posterior, coefficients=coefficients - mean),
    )


def _apply_conventions(
    model: CanonicalModel, posterior: Posterior, scheme: LandmarkScheme
) -> tuple[CanonicalModel, Posterior]:
    points, rotation = model.canonical, posterior.rotation
    mean = points.mean(axis=0)
    right, up, back = rotation.mean(axis=0)
    partners = scheme.mirror_partners
    if partners is not None and (partners != np.arange(len(partners))).any():
        sides = points - points[partners]
        normal = np.linalg.eigh(sides.T @ sides)[1][:, -1]
        x = normal * np.sign(normal @ right)
        y = up - x * (up @ x)
        y /= np.linalg.norm(y)
        axes = np.stack([x, y, np.cross(x, y)])
    else:
        left, _, other = np.linalg.svd(np.stack([right, up, back]))
        axes = left @ other
    scale = scheme.radius / np.sqrt(((points - mean) ** 2).sum(axis=1).mean())
    placed = (points - mean) @ axes.T * scale
    basis = model.basis @ axes.T * scale
    if partners is not None:
        placed = (placed + mirrored(placed, partners)) / 2
        basis = (basis + model.parity[:, None, None] * mirrored(basis, partners)) / 2
    rotated = rotation @ axes.T
    # R p + t = R A' (p' − center)/s + R mean + t, and cameras scale with the class.
    translation = scale * (rotation @ mean + posterior.translation) - rotated @ scheme.center
    return (
        replace(
            model,
            canonical=placed + scheme.center,
            basis=basis,
            noise_std=model.noise_std * scale,
            depth_noise_std=model.depth_noise_std * scale,
        ),
        replace(posterior, rotation=rotated, translation=translation),
    )


def _remove_rigid_motion(
    model: CanonicalModel, posterior: Posterior, identity: Int[np.ndarray, " n"], scheme: LandmarkScheme
) -> tuple[CanonicalModel, Posterior]:
    """Remove turns, shifts and scale from the basis, and adapt the cameras; steady landmarks decide."""
    num_modes, num_landmarks = model.basis.shape[:2]
    points = model.canonical - scheme.center
    num_pose = np.stack(
        [np.cross(axis, points).ravel() for axis in np.eye(3)]
        + [np.tile(axis, (num_landmarks, 1)).ravel() for axis in np.eye(3)]
        + [points.ravel()]
    )
    weight = np.repeat((model.noise_std**2 + (model.basis**2).sum(axis=(0, 2)) / 3) ** -2.0, 3)
    weight /= weight.max()
    weighted = num_pose * weight
    # Landmarks in one plane leave a motion open: the smallest one is taken.
    components = np.linalg.lstsq(
        weighted @ num_pose.T, weighted @ model.basis.reshape(num_modes, -1).T, rcond=1e-9
    )[0]
    basis = (model.basis.reshape(num_modes, -1) - components.T @ num_pose).reshape(model.basis.shape)
    moved = posterior.coefficients[identity] @ components.T
    return replace(model, basis=basis), _compensate(posterior, moved[:, :3], moved[:, 3:6], scheme.center)


def _add_correlated_motion(
    model: CanonicalModel, posterior: Posterior, identity: Int[np.ndarray, " n"], scheme: LandmarkScheme
) -> tuple[CanonicalModel, Posterior]:
    """Add to the basis the turns and shifts that correlate with the coefficients in the collection.

    This is a linear regression of the poses on the coefficients, weighted by the prior of the poses. Turns
    and shifts are themselves expected to be small relative to the mode.
    """
    prior = model.prior
    assert prior is not None
    num_modes = len(model.basis)
    coefficients = posterior.coefficients[identity]
    offset = prior.pivot - scheme.center
    cross_offset = np.array(
        [
            [0, offset[2], -offset[1]],
            [-offset[2], 0, offset[0]],
            [offset[1], -offset[0], 0],
        ]
    )
    rotation = posterior.rotation
    rotation_effect = np.concatenate([rotation, np.zeros_like(rotation)], axis=2)
    translation_effect = np.concatenate([rotation @ cross_offset, rotation], axis=2)
    normal, gradient = np.zeros((6 * num_modes, 6 * num_modes)), np.zeros(6 * num_modes)
    for effect, precision, seen in (
        (rotation_effect, prior.rotation_precision, prior.rotvecs(rotation)),
        (translation_effect, prior.pivot_precision, prior.pivot_offsets(rotation, posterior.translation)),
    ):
        design = (coefficients[:, None, :, None] * effect[:, :, None]).reshape(len(rotation), 3, -1)
        weighted = (precision @ design).reshape(-1, 6 * num_modes)
        normal += weighted.T @ design.reshape(-1, 6 * num_modes)
        gradient += weighted.T @ seen.ravel()
    size = np.sqrt((model.basis**2).sum(axis=2).mean(axis=1)) + 1e-9
    expected = np.repeat(size[:, None], 6, axis=1) * TRANSLATION_OF_MODE
    expected[:, :3] = size[:, None] * ROTATION_OF_MODE / scheme.radius
    normal[np.diag_indices(6 * num_modes)] += expected.ravel() ** -2
    free = np.ones((num_modes, 6), bool)
    if scheme.mirror_partners is not None:
        # Modes that equal their mirror image nod, and move up, down, forward and back; the others turn aside.
        free = (model.parity[:, None] > 0) == np.array([1, 0, 0, 0, 1, 1], bool)
    index = np.flatnonzero(free)
    motion = np.zeros(6 * num_modes)
    motion[index] = np.linalg.solve(normal[np.ix_(index, index)], gradient[index])
    rotvecs, translations = motion.reshape(num_modes, 6)[:, :3], motion.reshape(num_modes, 6)[:, 3:]
    basis = (
        model.basis
        + np.cross(rotvecs[:, None], (model.canonical - scheme.center)[None])
        + translations[:, None]
    )
    return (
        replace(model, basis=basis),
        _compensate(posterior, -coefficients @ rotvecs, -coefficients @ translations, scheme.center),
    )


def _compensate(
    posterior: Posterior,
    rotvecs: Float[np.ndarray, "n 3"],
    translations: Float[np.ndarray, "n 3"],
    center: Float[np.ndarray, "3"],
) -> Posterior:
    """Return cameras that see things turned about the center, and shifted, as they were seen before."""
    rotation = posterior.rotation @ Rotation.from_rotvec(rotvecs).as_matrix()
    translation = posterior.translation + (posterior.rotation - rotation) @ center
    translation += (rotation @ translations[..., None])[..., 0]
    return replace(posterior, rotation=rotation, translation=translation)


def estimate_prior(posterior: Posterior, before: PosePrior | None, scheme: LandmarkScheme) -> PosePrior:
    """Estimate mean and spread of the poses, including those of the mirror images if there are any."""
    mirror = scheme.mirror_partners is not None
    mean_rotation = Rotation.from_matrix(posterior.rotation).mean()
    if mirror:
        mean_rotation = Rotation.from_rotvec(mean_rotation.as_rotvec() * [1.0, 0.0, 0.0])
    mean = mean_rotation.as_matrix()
    rotation, translation = posterior.rotation, posterior.translation
    n = len(rotation)
    rotvecs = Rotation.from_matrix(rotation @ mean.T).as_rotvec()
    axes = [1, 2] if mirror else [0, 1, 2]
    precision = np.eye(3) if before is None or not before.pivot_precision.any() else before.pivot_precision
    pivot, pivot_position = np.zeros(3), np.zeros(3)
    # Translation + rotation · pivot − pivot position should be zero: linear in both.
    for _ in range(3):
        design = np.concatenate(
            [rotation[:, :, axes], -np.tile(np.eye(3)[:, axes], (n, 1, 1))], axis=2
        ).reshape(-1, 2 * len(axes))
        weighted = (precision @ design.reshape(n, 3, -1)).reshape(design.shape)
        # Cameras that hardly turn leave the pivot open: it is then the landmarks' center.
        ridge = np.repeat([1e-5, 1e-9], len(axes)) * np.trace(weighted.T @ design)
        target = np.zeros(2 * len(axes))
        target[: len(axes)] = scheme.center[axes]
        normal, gradient = weighted.T @ design, -weighted.T @ translation.ravel()
        if posterior.covariance is not None:
            uncertain, pull = _pivot_uncertainty(rotation, posterior.covariance[:, :6, :6], precision)
            normal[: len(axes), : len(axes)] += uncertain[np.ix_(axes, axes)]
            gradient[: len(axes)] -= pull[axes]
        answer = np.linalg.solve(normal + np.diag(ridge), gradient + ridge * target)
        pivot[axes], pivot_position[axes] = answer[: len(axes)], answer[len(axes) :]
        spread = np.zeros((3, 3))
        if posterior.covariance is not None:
            moves = pivot_jacobian(rotation, pivot)
            spread = (moves @ posterior.covariance[:, :6, :6] @ moves.transpose(0, 2, 1)).mean(axis=0)
        pivot_offsets = translation + rotation @ pivot - pivot_position
        precision = _precision(pivot_offsets, spread, mirror, MIN_TRANSLATION_STD * scheme.radius)
    spread = (
        np.zeros((3, 3)) if posterior.covariance is None else posterior.covariance[:, :3, :3].mean(axis=0)
    )
    rotation_precision = _precision(rotvecs, spread, mirror, MIN_ROTATION_STD)
    return PosePrior(mean, rotation_precision, pivot, pivot_position, precision)


def _pivot_uncertainty(
    rotation: Float[np.ndarray, "n 3 3"],
    covariance: Float[np.ndarray, "n 6 6"],
    precision: Float[np.ndarray, "3 3"],
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """Return what the poses' uncertainty adds to the pivot's displacement: its quadratic and linear part.

    Pose errors turn about the landmarks' middle, which would otherwise be taken for the pivot.
    """
    rotated = (CROSS @ rotation[:, None]).reshape(-1, 3)  # rows of e_k × R_n
    n = len(rotation)
    both = covariance[:, :3, :3] @ (precision @ rotated.reshape(n, 3, 3, 3)).reshape(n, 3, 9)
    mixed = covariance[:, :3, 3:] @ precision.T
    return rotated.T @ both.reshape(-1, 3), rotated.T @ mixed.ravel()


def _precision(
    values: Float[np.ndarray, "n 3"], spread: Float[np.ndarray, "3 3"], mirror: bool, least: float
) -> Float[np.ndarray, "3 3"]:
    covariance = values.T @ values / len(values) + spread
    if mirror:
        covariance = covariance * [[1, 0, 0], [0, 1, 1], [0, 1, 1]]
    return np.linalg.inv(covariance + least**2 * np.eye(3))
