"""A rigid shape and its cameras from observed landmarks alone: the start of everything else.

Under weak perspective the landmarks of all photographs, one row for each coordinate, are a matrix of rank
three: Tomasi and Kanade, "Shape and motion from image streams under orthography", 1992. Its factors are known
except for a 3×3 matrix. The cameras' axes are perpendicular and equally long, which determines the matrix
except for a mirroring in depth.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from nerfgen_ns.preprocessing.camera_fitting.canonical_model import Observations

MIN_KNOWN_SHARE = 0.5
"""Photographs that show a smaller part of the landmarks are left out if there are enough others."""
FILLING_ROUNDS = 60
OUTLIER_ROUNDS = 4
OUTLIER_RATIO = 6.0
"""Coordinates further from the rank-three approximation than this times the median are left out."""
MIN_EXTENT_RATIO = 0.02
"""Lower limit of the ratio of a shape's thinnest extent to its thickest."""


def factorize(
    observations: Observations, radius: float
) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 3"]]:
    """Compute points (mean at the origin, rms distance from it `radius`), rotations and translations.

    If the observations have depth, it counts as a third coordinate. Otherwise it is left to chance whether
    the shape is mirrored in depth: see `reverse_depth`.
    """
    known = observations.confidence > 0
    good = known.mean(axis=1) >= MIN_KNOWN_SHARE
    good = good if good.sum() >= 3 else np.ones(len(good), bool)
    rows = observations.image_points[good]
    if observations.depth is not None:
        rows = np.concatenate([rows, -observations.depth[good, None]], axis=1)
    size = _spread(rows, known[good])
    measured = rows / size[:, None, None]
    filled = _without_outliers(
        measured.reshape(-1, known.shape[1]), np.repeat(known[good], rows.shape[1], axis=0)
    )
    points = np.linalg.svd(filled - filled.mean(axis=1, keepdims=True), full_matrices=False)[2][:3].T
    motion = (filled @ points).reshape(*rows.shape[:2], 3)[:, :2]
    metric = _metric(motion)
    values, vectors = np.linalg.eigh(metric)
    values = np.maximum(values, MIN_EXTENT_RATIO**2 * values.max())
    # motion · root has orthogonal rows of one length; points get the inverse.
    root = vectors * np.sqrt(values)
    points = points @ np.linalg.inv(root).T
    points = points - points.mean(axis=0)
    points *= radius / np.sqrt((points**2).sum(axis=1).mean())
    if observations.depth is not None:
        points = _choose_depth_sign(points, measured, known[good])
    return points, *affine_poses(observations, points)


def reverse_depth(
    points: Float[np.ndarray, "m 3"], rotation: Float[np.ndarray, "n 3 3"]
) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "n 3 3"]]:
    """Return the other shape and cameras that weak perspective cannot distinguish from these."""
    mean = Rotation.from_matrix(rotation).mean().as_matrix()
    flip = np.diag([1.0, 1.0, -1.0])
    other = mean.T @ flip @ mean
    return points @ other, flip @ rotation @ other


def affine_poses(
    observations: Observations, points: Float[np.ndarray, "m 3"]
) -> tuple[Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 3"]]:
    """Compute rotation and translation of each camera by the affine map of the points onto what it sees.

    Photographs with too few landmarks for such a map get the mean rotation of the others.
    """
    weight = np.minimum(observations.confidence, 1.0)
    share = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
    seen_mean = np.einsum("nm,nim->ni", share, _zeroed(observations.image_points, weight > 0))
    points_mean = share @ points
    centered = points[None] - points_mean[:, None]
    normal = np.einsum("nm,nmi,nmj->nij", share, centered, centered, optimize=True)
    normal += 1e-4 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(3) / 3 + 1e-12 * np.eye(3)
    seen = _zeroed(observations.image_points - seen_mean[..., None], weight > 0)
    mixed = np.einsum("nm,nim,nmj->nij", share, seen, centered, optimize=True)
    affine = np.linalg.solve(normal, mixed.transpose(0, 2, 1)).transpose(0, 2, 1)
    left, _, right = np.linalg.svd(affine, full_matrices=False)
    axes = left @ right
    rotation = np.concatenate([axes, np.cross(axes[:, 0], axes[:, 1])[:, None]], axis=1)
    few = ((weight > 0).sum(axis=1) < 4) | ~np.isfinite(rotation).all(axis=(1, 2))
    if few.any():
        rotation[few] = np.eye(3) if few.all() else Rotation.from_matrix(rotation[~few]).mean().as_matrix()
    return rotation, _translation(observations, points, rotation)


def poses_of_rotation(
    observations: Observations, points: Float[np.ndarray, "m 3"], rotation: Float[np.ndarray, "3 3"]
) -> tuple[Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 3"]]:
    """Return cameras with one rotation for all, each at the place and distance that fit its landmarks."""
    rotations = np.tile(rotation, (len(observations), 1, 1))
    return rotations, _translation(observations, points, rotations)


def _translation(
    observations: Observations, points: Float[np.ndarray, "m 3"], rotation: Float[np.ndarray, "n 3 3"]
) -> Float[np.ndarray, "n 3"]:
    weight = np.minimum(observations.confidence, 1.0)
    share = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
    image_points = _zeroed(observations.image_points, weight > 0)
    seen_mean = np.einsum("nm,nim->ni", share, image_points)
    rotated = points @ rotation.transpose(0, 2, 1)
    rotated_mean = np.einsum("nm,nmi->ni", share, rotated)
    seen = image_points - seen_mean[..., None]
    flat = np.moveaxis((rotated - rotated_mean[:, None])[..., :2], -1, 1)
    size = (share[:, None] * seen**2).sum(axis=(1, 2)) / np.maximum(
        (share[:, None] * flat**2).sum(axis=(1, 2)), 1e-12
    )
    depth = 1 / np.sqrt(np.maximum(size, 1e-12))
    return np.column_stack([seen_mean * depth[:, None], -depth]) - rotated_mean


def _zeroed(values: Float[np.ndarray, "n d m"], known: Bool[np.ndarray, "n m"]) -> Float[np.ndarray, "n d m"]:
    return np.where(known[:, None], values, 0.0)


def _spread(rows: Float[np.ndarray, "n d m"], known: Bool[np.ndarray, "n m"]) -> Float[np.ndarray, " n"]:
    count = np.maximum(known.sum(axis=1), 1)
    flat = _zeroed(rows[:, :2], known)
    mean = flat.sum(axis=2) / count[:, None]
    squared = _zeroed((flat - mean[..., None]) ** 2, known).sum(axis=(1, 2)) / count
    return np.sqrt(squared) + 1e-12


def _without_outliers(
    measured: Float[np.ndarray, "r m"], known: Bool[np.ndarray, "r m"]
) -> Float[np.ndarray, "r m"]:
    """Replace missing entries, and those far from the matrix's rank-three approximation, by it."""
    filled = _filled(measured, known)
    for _ in range(OUTLIER_ROUNDS):
        centered = filled - filled.mean(axis=1, keepdims=True)
        points = np.linalg.eigh(centered.T @ centered)[1][:, -3:]
        distance = np.abs(measured - filled + centered - centered @ points @ points.T)
        depth_ratio = distance < OUTLIER_RATIO * np.median(distance[known])
        if depth_ratio[known].all():
            break
        filled = _filled(measured, known & depth_ratio)
    return filled


def _filled(measured: Float[np.ndarray, "r m"], known: Bool[np.ndarray, "r m"]) -> Float[np.ndarray, "r m"]:
    """Fill in the missing entries of the matrix from its own best approximation of rank three."""
    mean = np.where(known, measured, 0.0).sum(axis=1, keepdims=True) / np.maximum(
        known.sum(axis=1, keepdims=True), 1
    )
    filled = np.where(known, measured, mean)
    if known.all():
        return filled
    for _ in range(FILLING_ROUNDS):
        mean = filled.mean(axis=1, keepdims=True)
        centered = filled - mean
        points = np.linalg.eigh(centered.T @ centered)[1][:, -3:]
        filled = np.where(known, measured, mean + centered @ points @ points.T)
    return filled


def _metric(motion: Float[np.ndarray, "n 2 3"]) -> Float[np.ndarray, "3 3"]:
    """Find the symmetric G with aᵀGa = bᵀGb and aᵀGb = 0 for the rows a, b of each camera."""
    i, j = np.triu_indices(3)

    def form(a: Float[np.ndarray, "n 3"], b: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 6"]:
        return (a[:, i] * b[:, j] + a[:, j] * b[:, i]) * np.where(i == j, 0.5, 1.0)

    first, second = motion[:, 0], motion[:, 1]
    square, length = form(first, first) - form(second, second), form(first, first) + form(second, second)
    rows = np.concatenate([square, 2 * form(first, second), length - length.mean(axis=0)])
    mean = length.mean(axis=0)
    # The lengths should be two on average, and about equal.
    answer = np.linalg.lstsq(
        np.concatenate([rows, np.sqrt(len(rows)) * 10 * mean[None]]),
        np.append(np.zeros(len(rows)), np.sqrt(len(rows)) * 20),
        rcond=1e-12,
    )[0]
    metric = np.zeros((3, 3))
    metric[i, j] = metric[j, i] = answer
    return metric


def _choose_depth_sign(
    points: Float[np.ndarray, "m 3"], measured: Float[np.ndarray, "n 3 m"], known: Bool[np.ndarray, "n m"]
) -> Float[np.ndarray, "m 3"]:
    """Return the points, or their mirror image if that fits the measured depth better."""
    fits = []
    for sign in (1.0, -1.0):
        shape = points * [1.0, 1.0, sign]
        left, size, right = np.linalg.svd(np.einsum("nim,mj->nij", _zeroed(measured, known), shape))
        size[:, 2] *= np.linalg.det(left @ right)
        fits.append(size.sum())
    return points * [1.0, 1.0, 1.0 if fits[0] >= fits[1] else -1.0]
