"""Into the class frame: what no landmark tells, settled by convention and by the collection as a whole.

One frame for all: x is the normal of the plane of symmetry, y is up as the cameras see it on average, z
points to them; mean and radius are the scheme's. And one for each mode of the basis: a shape that changes
while it turns looks like one that changes while its camera turns back. Modes are therefore freed of turns,
shifts and scale, and then given what turn and shift go with their coefficients in the collection: how a thing
is made and how it is photographed are independent of each other.
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
from nerfgen_ns.preprocessing.camera_fitting.e_step import pivot_motion
from nerfgen_ns.preprocessing.landmarks.models import LandmarkScheme

TURN_OF_MODE = 0.5
"""A mode's turn is expected to be this part of its own size, seen as an angle from the landmarks' mean."""
SHIFT_OF_MODE = 0.1
LEAST_TURN, LEAST_SHIFT = 0.02, 0.02
"""Collections are not believed to be spread less than this: radians, and parts of the landmarks' radius."""


def into_class_frame(
    model: CanonicalModel, posterior: Posterior, group: Int[np.ndarray, "n"], scheme: LandmarkScheme
) -> tuple[CanonicalModel, Posterior]:
    """The same model and cameras in the class frame, the prior of the poses estimated there.

    The landmarks stay where they were seen, to first order in the coefficients: the next steps make it exact.
    """
    model, posterior = _whitened(model, posterior, group, scheme)
    model, posterior = _placed(model, posterior, scheme)
    if len(model.basis):
        model, posterior = _without_motion(model, posterior, group, scheme)
        model.prior = estimate_prior(posterior, model.prior, scheme)
        model, posterior = _with_their_motion(model, posterior, group, scheme)
    model.prior = estimate_prior(posterior, model.prior, scheme)
    return model, posterior


def _whitened(
    model: CanonicalModel, posterior: Posterior, group: Int[np.ndarray, "n"], scheme: LandmarkScheme
) -> tuple[CanonicalModel, Posterior]:
    """The basis in which coefficients have zero mean and unit covariance, largest modes first."""
    modes = len(model.basis)
    if not modes:
        return model, posterior
    coefficients = posterior.coefficients
    assert posterior.covariance is not None
    first = np.unique(group, return_index=True)[1]
    second = coefficients.T @ coefficients / len(coefficients)
    second += posterior.covariance[first, -modes:, -modes:].mean(axis=0)
    basis, sizes, parities = [], [], []
    turned = []
    for parity in np.unique(model.parity):
        which = np.flatnonzero(model.parity == parity)
        spread = np.linalg.cholesky(second[np.ix_(which, which)] + 1e-9 * np.eye(len(which)))
        own = np.tensordot(spread.T, model.basis[which], axes=1)
        size, axes = np.linalg.eigh(np.einsum("kmd,lmd->kl", own, own))
        basis.append(np.tensordot(axes.T, own, axes=1))
        turned.append(coefficients[:, which] @ np.linalg.solve(spread.T, axes))
        sizes.append(size)
        parities.append(np.full(len(which), parity))
    order = np.argsort(-np.concatenate(sizes))
    basis_array = np.concatenate(basis)[order]
    parity_array = np.concatenate(parities)[order]
    coefficients = np.concatenate(turned, axis=1)[:, order]
    mean = coefficients.mean(axis=0)
    if scheme.mirror_partners is not None:
        mean = np.where(parity_array > 0, mean, 0.0)
    canonical = model.canonical + np.tensordot(mean, basis_array, axes=1)
    return (
        replace(model, canonical=canonical, basis=basis_array, parity=parity_array),
        replace(posterior, coefficients=coefficients - mean),
    )


def _placed(
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
    turned = rotation @ axes.T
    # R p + t = R A' (p' − center)/s + R mean + t, and cameras scale with the class.
    translation = scale * (rotation @ mean + posterior.translation) - turned @ scheme.center
    return (
        replace(
            model,
            canonical=placed + scheme.center,
            basis=basis,
            noise=model.noise * scale,
            depth_noise=model.depth_noise * scale,
        ),
        replace(posterior, rotation=turned, translation=translation),
    )


def _without_motion(
    model: CanonicalModel, posterior: Posterior, group: Int[np.ndarray, "n"], scheme: LandmarkScheme
) -> tuple[CanonicalModel, Posterior]:
    """The basis without turns, shifts and scale, which go over to the cameras; steady landmarks decide."""
    modes, count = model.basis.shape[:2]
    points = model.canonical - scheme.center
    motions = np.stack(
        [np.cross(axis, points).ravel() for axis in np.eye(3)]
        + [np.tile(axis, (count, 1)).ravel() for axis in np.eye(3)]
        + [points.ravel()]
    )
    weight = np.repeat((model.noise**2 + (model.basis**2).sum(axis=(0, 2)) / 3) ** -2.0, 3)
    weight /= weight.max()
    weighted = motions * weight
    # Landmarks in one plane leave a motion open: the least one is taken.
    held = np.linalg.lstsq(weighted @ motions.T, weighted @ model.basis.reshape(modes, -1).T, rcond=1e-9)[0]
    basis = (model.basis.reshape(modes, -1) - held.T @ motions).reshape(model.basis.shape)
    moved = posterior.coefficients[group] @ held.T
    return replace(model, basis=basis), _compensated(posterior, moved[:, :3], moved[:, 3:6], scheme.center)


def _with_their_motion(
    model: CanonicalModel, posterior: Posterior, group: Int[np.ndarray, "n"], scheme: LandmarkScheme
) -> tuple[CanonicalModel, Posterior]:
    """The basis with the turns and shifts that coefficients and poses have in common in the collection.

    A linear regression of the poses on the coefficients, weighted by the prior of the poses; turns and shifts
    are themselves expected to be small against the mode.
    """
    prior = model.prior
    assert prior is not None
    modes = len(model.basis)
    coefficients = posterior.coefficients[group]
    arm = prior.pivot - scheme.center
    lever = np.array([[0, arm[2], -arm[1]], [-arm[2], 0, arm[0]], [arm[1], -arm[0], 0]])
    rotation = posterior.rotation
    turn = np.concatenate([rotation, np.zeros_like(rotation)], axis=2)
    shift = np.concatenate([rotation @ lever, rotation], axis=2)
    normal, gradient = np.zeros((6 * modes, 6 * modes)), np.zeros(6 * modes)
    for effect, precision, seen in (
        (turn, prior.turn_precision, prior.turns(rotation)),
        (shift, prior.place_precision, prior.displacements(rotation, posterior.translation)),
    ):
        design = (coefficients[:, None, :, None] * effect[:, :, None]).reshape(len(rotation), 3, -1)
        weighted = (precision @ design).reshape(-1, 6 * modes)
        normal += weighted.T @ design.reshape(-1, 6 * modes)
        gradient += weighted.T @ seen.ravel()
    size = np.sqrt((model.basis**2).sum(axis=2).mean(axis=1)) + 1e-9
    expected = np.repeat(size[:, None], 6, axis=1) * SHIFT_OF_MODE
    expected[:, :3] = size[:, None] * TURN_OF_MODE / scheme.radius
    normal[np.diag_indices(6 * modes)] += expected.ravel() ** -2
    free = np.ones((modes, 6), bool)
    if scheme.mirror_partners is not None:
        # Modes that equal their mirror image nod, and move up and down and to and fro; the others turn aside.
        free = (model.parity[:, None] > 0) == np.array([1, 0, 0, 0, 1, 1], bool)
    places = np.flatnonzero(free)
    motion = np.zeros(6 * modes)
    motion[places] = np.linalg.solve(normal[np.ix_(places, places)], gradient[places])
    turns, shifts = motion.reshape(modes, 6)[:, :3], motion.reshape(modes, 6)[:, 3:]
    basis = model.basis + np.cross(turns[:, None], (model.canonical - scheme.center)[None]) + shifts[:, None]
    return (
        replace(model, basis=basis),
        _compensated(posterior, -coefficients @ turns, -coefficients @ shifts, scheme.center),
    )


def _compensated(
    posterior: Posterior,
    turns: Float[np.ndarray, "n 3"],
    shifts: Float[np.ndarray, "n 3"],
    center: Float[np.ndarray, "3"],
) -> Posterior:
    """Cameras that see things turned about the center, and shifted, as they were seen before."""
    rotation = posterior.rotation @ Rotation.from_rotvec(turns).as_matrix()
    translation = posterior.translation + (posterior.rotation - rotation) @ center
    translation += (rotation @ shifts[..., None])[..., 0]
    return replace(posterior, rotation=rotation, translation=translation)


def estimate_prior(posterior: Posterior, before: PosePrior | None, scheme: LandmarkScheme) -> PosePrior:
    """Mean and spread of the poses, those of the mirror images included where there are any."""
    mirror = scheme.mirror_partners is not None
    left, _, right = np.linalg.svd(posterior.rotation.mean(axis=0))
    mean = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    if mirror:
        mean = Rotation.from_rotvec(Rotation.from_matrix(mean).as_rotvec() * [1.0, 0.0, 0.0]).as_matrix()
    rotation, translation = posterior.rotation, posterior.translation
    n = len(rotation)
    turns = Rotation.from_matrix(rotation @ mean.T).as_rotvec()
    places = [1, 2] if mirror else [0, 1, 2]
    precision = np.eye(3) if before is None or not before.place_precision.any() else before.place_precision
    pivot, place = np.zeros(3), np.zeros(3)
    # Translation + rotation · pivot − place is to vanish: linear in both.
    for _ in range(3):
        design = np.concatenate(
            [rotation[:, :, places], -np.tile(np.eye(3)[:, places], (n, 1, 1))], axis=2
        ).reshape(-1, 2 * len(places))
        weighted = (precision @ design.reshape(n, 3, -1)).reshape(design.shape)
        # Cameras that hardly turn leave the pivot open: it is then the landmarks' center.
        ridge = np.repeat([1e-5, 1e-9], len(places)) * np.trace(weighted.T @ design)
        target = np.zeros(2 * len(places))
        target[: len(places)] = scheme.center[places]
        normal, gradient = weighted.T @ design, -weighted.T @ translation.ravel()
        if posterior.covariance is not None:
            uncertain, pull = _uncertain_lever(rotation, posterior.covariance[:, :6, :6], precision)
            normal[: len(places), : len(places)] += uncertain[np.ix_(places, places)]
            gradient[: len(places)] -= pull[places]
        answer = np.linalg.solve(normal + np.diag(ridge), gradient + ridge * target)
        pivot[places], place[places] = answer[: len(places)], answer[len(places) :]
        spread = np.zeros((3, 3))
        if posterior.covariance is not None:
            moves = pivot_motion(rotation, pivot)
            spread = (moves @ posterior.covariance[:, :6, :6] @ moves.transpose(0, 2, 1)).mean(axis=0)
        displacements = translation + rotation @ pivot - place
        precision = _precision(displacements, spread, mirror, LEAST_SHIFT * scheme.radius)
    spread = (
        np.zeros((3, 3)) if posterior.covariance is None else posterior.covariance[:, :3, :3].mean(axis=0)
    )
    return PosePrior(mean, _precision(turns, spread, mirror, LEAST_TURN), pivot, place, precision)


def _uncertain_lever(
    rotation: Float[np.ndarray, "n 3 3"],
    covariance: Float[np.ndarray, "n 6 6"],
    precision: Float[np.ndarray, "3 3"],
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """Quadratic and linear part, in the pivot, of what the poses' uncertainty adds to its displacement.

    Poses err about the landmarks' middle, which would otherwise be taken for the pivot.
    """
    cross = np.array([np.cross(axis, np.eye(3)).T for axis in np.eye(3)])  # cross[k] @ v = e_k × v
    turned = np.einsum("kia,nab->nkib", cross, rotation)
    quadratic = np.einsum(
        "nkib,ij,nljc,nkl->bc", turned, precision, turned, covariance[:, :3, :3], optimize=True
    )
    linear = np.einsum("nkib,ij,nkj->b", turned, precision, covariance[:, :3, 3:], optimize=True)
    return quadratic, linear


def _precision(
    values: Float[np.ndarray, "n 3"], spread: Float[np.ndarray, "3 3"], mirror: bool, least: float
) -> Float[np.ndarray, "3 3"]:
    covariance = values.T @ values / len(values) + spread
    if mirror:
        covariance = covariance * [[1, 0, 0], [0, 1, 1], [0, 1, 1]]
    return np.linalg.inv(covariance + least**2 * np.eye(3))
