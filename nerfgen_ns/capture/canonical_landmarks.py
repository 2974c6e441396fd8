"""Canonical landmarks and all cameras together, from nothing but the landmarks of a collection.

Alternation: the cameras given the canonical landmarks (`fit_cameras`), then each canonical landmark given the
cameras, a 3×3 linear system of its own. Both halves lower the same robust cost. The canonical landmarks are
kept symmetric under their mirror partners. The frame, which no landmark can tell, is fixed at the end.
"""

import numpy as np
from jaxtyping import Float, Int

from nerfgen_ns.capture.camera_fitting import (
    CHUNK,
    DEPTH_WEIGHT,
    OUTLIER,
    fit_cameras,
    residuals,
    robust_weights,
)
from nerfgen_ns.capture.cameras import Cameras, first_guess, point_jacobian

MOST_PHOTOGRAPHS = 512
"""More photographs than this do not make the canonical landmarks better: an even selection estimates them."""
AT_REST = 1e-4
"""The canonical landmarks rest when none moves by more than this part of their radius in a round."""


def estimate_canonical_landmarks(
    landmarks: Float[np.ndarray, "n m 3"],
    focal: Float[np.ndarray, "n"],
    centre: Float[np.ndarray, "n 2"],
    partners: Int[np.ndarray, "m"],
    mean: Float[np.ndarray, "3"],
    radius: float,
    rounds: int = 50,
) -> Float[np.ndarray, "m 3"]:
    """The canonical landmarks of a collection, in the class frame.

    The class frame: x is the normal of the plane of symmetry, y is up as the cameras see it on average, the
    landmarks' mean lies at `mean` and their root mean square distance from it is `radius`.

    Args:
        landmarks: pixels and relative depth in pixels, one row a photograph.
        focal, centre: intrinsics of each photograph in pixels.
        partners: for each landmark its mirror partner.
        rounds: at most so many alternations; it stops when the canonical landmarks rest.
    """
    stride = -(-len(landmarks) // MOST_PHOTOGRAPHS)
    landmarks, focal, centre = landmarks[::stride], focal[::stride], centre[::stride]
    points = _scaled(_procrustes_mean(landmarks), radius)
    cameras = first_guess(landmarks, points, focal, centre)
    points, cameras = _into_class_frame(points, cameras, partners, mean, radius)
    for _ in range(rounds):
        cameras = fit_cameras(landmarks, points, cameras, steps=2)
        before = points
        points = points + _landmark_steps(landmarks, points, cameras)
        points, cameras = _into_class_frame(points, cameras, partners, mean, radius)
        if np.abs(points - before).max() < AT_REST * radius:
            break
    return points


def _procrustes_mean(landmarks: Float[np.ndarray, "n m 3"], rounds: int = 5) -> Float[np.ndarray, "m 3"]:
    """Mean shape of the three-dimensional landmarks after similarity alignment to each other."""
    shapes = landmarks * [1.0, -1.0, -1.0]
    shapes = shapes - shapes.mean(axis=1, keepdims=True)
    shapes /= np.sqrt((shapes**2).sum(axis=2).mean(axis=1))[:, None, None]
    mean = shapes[0]
    for _ in range(rounds):
        left, _, right = np.linalg.svd(shapes.transpose(0, 2, 1) @ mean)
        left[..., -1] *= np.sign(np.linalg.det(left @ right))[:, None]
        mean = _scaled((shapes @ (left @ right)).mean(axis=0), 1.0)
    return mean


def _landmark_steps(
    landmarks: Float[np.ndarray, "n m 3"], points: Float[np.ndarray, "m 3"], cameras: Cameras
) -> Float[np.ndarray, "m 3"]:
    """Gauss-Newton step of every canonical landmark, the cameras standing still."""
    normal = np.zeros((len(points), 3, 3))
    gradient = np.zeros((len(points), 3))
    for first in range(0, len(cameras), CHUNK):
        part = cameras[first : first + CHUNK]
        difference = residuals(part, points, landmarks[first : first + CHUNK])
        weights, _ = robust_weights(difference, OUTLIER * part.focal)
        jacobian = point_jacobian(part, points)
        jacobian[..., 2, :] *= DEPTH_WEIGHT
        weighted = jacobian * weights[..., None, None]
        normal += np.einsum("nmij,nmik->mjk", weighted, jacobian, optimize=True)
        gradient += np.einsum("nmij,nmi->mj", weighted, difference, optimize=True)
    return np.linalg.solve(normal, gradient[..., None])[..., 0]


def _scaled(points: Float[np.ndarray, "m 3"], radius: float) -> Float[np.ndarray, "m 3"]:
    centred = points - points.mean(axis=0)
    return centred * (radius / np.sqrt((centred**2).sum(axis=1).mean()))


def _into_class_frame(
    points: Float[np.ndarray, "m 3"],
    cameras: Cameras,
    partners: Int[np.ndarray, "m"],
    mean: Float[np.ndarray, "3"],
    radius: float,
) -> tuple[Float[np.ndarray, "m 3"], Cameras]:
    """Move points and cameras together so that the frame is the class frame; make the points symmetric."""
    old_mean = points.mean(axis=0)
    sides = points - points[partners]
    normal = np.linalg.eigh(sides.T @ sides)[1][:, -1]
    camera_right, camera_up = cameras.rotation[:, 0].mean(axis=0), cameras.rotation[:, 1].mean(axis=0)
    x = normal * np.sign(normal @ camera_right)
    y = camera_up - x * (camera_up @ x)
    y /= np.linalg.norm(y)
    axes = np.stack([x, y, np.cross(x, y)])
    scale = radius / np.sqrt(((points - old_mean) ** 2).sum(axis=1).mean())
    placed = (points - old_mean) @ axes.T * scale + mean
    placed = (placed + placed[partners] * [-1.0, 1.0, 1.0]) / 2
    # R p + t = R A' (p' − mean)/s + R old_mean + t, and cameras scale with the class.
    rotation = cameras.rotation @ axes.T
    translation = scale * (cameras.rotation @ old_mean + cameras.translation) - rotation @ mean
    return placed, Cameras(rotation, translation, cameras.focal, cameras.centre)
