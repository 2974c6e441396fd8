"""Camera fitting: the pose of each camera by robust least squares, the canonical landmarks being known.

min over T of Σ ρ(‖ℓ − π(K, T, p)‖), by Levenberg and Marquardt's method on all cameras side by side: each has
its own step and its own damping, and the work is a handful of array operations whatever their number.
"""

import numpy as np
from jaxtyping import Bool, Float

from nerfgen_ns.capture.cameras import Cameras, first_guess, motion_jacobian, observe

DEPTH_WEIGHT = 0.3
"""Weight of the landmark model's relative depth against its pixels: it is a guess, but not a useless one."""
OUTLIER = 0.005
"""Residuals count by their square up to this part of the focal length, and linearly beyond."""
CHUNK = 32
"""Cameras worked on at a time: their arrays then stay in the processor's cache."""


def residuals(
    cameras: Cameras, points: Float[np.ndarray, "m 3"], landmarks: Float[np.ndarray, "n m 3"]
) -> Float[np.ndarray, "n m 3"]:
    """Landmarks less projections, in pixels; relative depth, from its mean, weighs `DEPTH_WEIGHT`."""
    difference = landmarks - observe(cameras, points)
    difference[..., 2] -= difference[..., 2].mean(axis=1, keepdims=True)
    difference[..., 2] *= DEPTH_WEIGHT
    return difference


def robust_weights(
    difference: Float[np.ndarray, "n m 3"], outlier: Float[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n"]]:
    """Weights of iterated reweighting and the cost of each camera, under Huber's loss."""
    distance = np.linalg.norm(difference, axis=-1)
    limit = outlier[:, None]
    cost = np.where(distance <= limit, distance**2, 2 * limit * distance - limit**2).sum(axis=1)
    return np.minimum(1.0, limit / np.maximum(distance, 1e-12)), cost


def fit_cameras(
    landmarks: Float[np.ndarray, "n m 3"],
    points: Float[np.ndarray, "m 3"],
    start: Cameras,
    steps: int = 30,
) -> Cameras:
    """Poses that bring the canonical landmarks `points` onto the `landmarks` of each camera.

    Args:
        landmarks: pixels and relative depth in pixels (see `observe`).
        start: first guess (see `first_guess`); focal lengths and principal points are kept.
        steps: at most so many; it stops when no camera moves any more.
    """
    parts = [
        _fit_chunk(landmarks[first : first + CHUNK], points, start[first : first + CHUNK], steps)
        for first in range(0, len(start), CHUNK)
    ]
    return Cameras(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in Cameras.__dataclass_fields__)
    )


def fit_camera(
    landmarks: Float[np.ndarray, "m 3"],
    points: Float[np.ndarray, "m 3"],
    focal: float,
    centre: tuple[float, float],
) -> Cameras:
    """Fit one camera from nothing but its landmarks: `first_guess`, then `fit_cameras`."""
    guess = first_guess(landmarks[None], points, np.array([focal]), np.array([centre]))
    return fit_cameras(landmarks[None], points, guess)


def _fit_chunk(
    landmarks: Float[np.ndarray, "n m 3"], points: Float[np.ndarray, "m 3"], cameras: Cameras, steps: int
) -> Cameras:
    outlier = OUTLIER * cameras.focal
    damping = np.full(len(cameras), 1e-4)
    difference = residuals(cameras, points, landmarks)
    weights, cost = robust_weights(difference, outlier)
    for _ in range(steps):
        jacobian = motion_jacobian(cameras, points)
        jacobian[..., 2, :] *= DEPTH_WEIGHT
        rows = jacobian.reshape(len(cameras), -1, 6)
        weighted = (jacobian * weights[..., None, None]).reshape(rows.shape).transpose(0, 2, 1)
        normal = weighted @ rows
        diagonal = np.arange(6)
        normal[:, diagonal, diagonal] *= 1 + damping[:, None]
        step = np.linalg.solve(normal, weighted @ difference.reshape(len(cameras), -1, 1))[..., 0]
        tried = cameras.moved(step)
        tried_difference = residuals(tried, points, landmarks)
        tried_weights, tried_cost = robust_weights(tried_difference, outlier)
        better: Bool[np.ndarray, "n"] = (tried_cost < cost) & (tried.translation[:, 2] < 0)
        cameras = Cameras(
            np.where(better[:, None, None], tried.rotation, cameras.rotation),
            np.where(better[:, None], tried.translation, cameras.translation),
            cameras.focal,
            cameras.centre,
        )
        difference = np.where(better[:, None, None], tried_difference, difference)
        weights = np.where(better[:, None], tried_weights, weights)
        cost = np.where(better, tried_cost, cost)
        damping = np.where(better, damping * 0.1, damping * 10).clip(1e-9, 1e9)
        if np.abs(step).max() < 1e-7:
            break
    return cameras
