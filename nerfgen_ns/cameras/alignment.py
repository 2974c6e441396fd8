"""Fitted cameras against true ones: errors after removing what photographs leave open, and two alignments.

Photographs do not determine the position of a class frame, its rotation and the size of a unit. One
similarity for a whole collection removes that. A single photograph leaves more open: a head that is turned
together with the camera looks the same. Aligning one identity by its own camera removes that too.

Cameras are camera-to-world matrices, nerfstudio/OpenGL: they look along −z.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

ROUNDS = 50
"""Rounds of reweighting, for medians of rotations and of points; they converge within a dozen."""
NEAREST = 1e-4
"""Smallest distance in radians or units for the weights: a camera that fits exactly has a finite weight."""


@dataclass(frozen=True)
class Similarity:
    """A map between frames: x ↦ scale · rotation · x + translation."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def move_points(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Return the positions of the points in the other frame."""
        return self.scale * points @ self.rotation.T + self.translation

    def move_cameras(self, cameras: Float[np.ndarray, "*n 4 4"]) -> Float[np.ndarray, "*n 4 4"]:
        """Return cameras that see the moved scene as the given ones see it unmoved, for any intrinsics."""
        moved = cameras.copy()
        moved[..., :3, :3] = self.rotation @ cameras[..., :3, :3]
        moved[..., :3, 3] = self.move_points(cameras[..., :3, 3])
        return moved


def rotation_errors(
    fitted: Float[np.ndarray, "n 4 4"], true: Float[np.ndarray, "n 4 4"]
) -> Float[np.ndarray, " n"]:
    """Compute angles in degrees between fitted and true cameras, after removing one rotation for all.

    That rotation is the median of the cameras' own differences, by Weiszfeld's reweighting.
    """
    turns = Rotation.from_matrix(true[:, :3, :3]) * Rotation.from_matrix(fitted[:, :3, :3]).inv()
    return np.degrees((turns * _median_rotation(turns).inv()).magnitude())


def camera_errors(fitted: Float[np.ndarray, "n 4 4"], true: Float[np.ndarray, "n 4 4"]) -> dict[str, float]:
    """Compute the errors of fitted cameras by name; see `rotation_errors` and `align_collection`."""
    angles, aligned = rotation_errors(fitted, true), align_collection(true, fitted)
    distances = np.linalg.norm(aligned.move_cameras(true)[:, :3, 3] - fitted[:, :3, 3], axis=1)
    return {
        "rotation error, degrees, median": float(np.median(angles)),
        "rotation error, degrees, 90th percentile": float(np.percentile(angles, 90)),
        "camera center error, units of the truth, median": float(np.median(distances) / aligned.scale),
        "gauge removed, degrees": float(np.degrees(Rotation.from_matrix(aligned.rotation).magnitude())),
    }


def align_collection(true: Float[np.ndarray, "n 4 4"], fitted: Float[np.ndarray, "n 4 4"]) -> Similarity:
    """Find the one similarity that takes the true cameras nearest to the fitted ones.

    Its rotation is the median of the cameras' rotations; its scale and translation minimize the sum of the
    distances between the centers. It is robust: a few failed cameras do not move the rest. Where focal
    lengths differ, make them equal first: see `with_focal_length`.
    """
    turns = Rotation.from_matrix(fitted[:, :3, :3]) * Rotation.from_matrix(true[:, :3, :3]).inv()
    rotation = _median_rotation(turns).as_matrix()
    source, target = true[:, :3, 3] @ rotation.T, fitted[:, :3, 3]
    weights = np.ones(len(true))
    for _ in range(ROUNDS):
        source_mean, target_mean = (
            np.average(points, axis=0, weights=weights) for points in (source, target)
        )
        spread = (weights * ((source - source_mean) ** 2).sum(axis=1)).sum()
        product = (weights * ((source - source_mean) * (target - target_mean)).sum(axis=1)).sum()
        scale = float(product / spread) if spread > NEAREST**2 * weights.sum() else 1.0
        translation = target_mean - scale * source_mean
        distance = np.linalg.norm(target - scale * source - translation, axis=1)
        weights = 1 / np.maximum(distance, NEAREST)
    return Similarity(scale, rotation, translation)


def align_identity(
    true: Float[np.ndarray, "4 4"], fitted: Float[np.ndarray, "4 4"], collection: Similarity
) -> Similarity:
    """Find the similarity that takes one true camera exactly onto its fitted one.

    A camera leaves the scale open. It is chosen so that the middle of the class, the origin of the true
    frame, keeps its relative depth: a large head far away may have been fitted as a small one nearby.

    Args:
        collection: the similarity of all cameras, which gives the position of the middle in the fitted frame.
    """
    rotation = fitted[:3, :3] @ true[:3, :3].T
    scale = _depth(collection.translation, fitted) / _depth(np.zeros(3), true)
    return Similarity(scale, rotation, fitted[:3, 3] - scale * rotation @ true[:3, 3])


def with_focal_length(
    cameras: Float[np.ndarray, "n 4 4"],
    focal: Float[np.ndarray, " n"],
    wanted: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "n 4 4"]:
    """Move cameras along their axes, so that the class looks as large at another focal length.

    The world's origin, the middle of the class, keeps its place in each image and its size.
    """
    moved = cameras.copy()
    depth = np.array([_depth(np.zeros(3), camera) for camera in cameras])
    moved[:, :3, 3] += cameras[:, :3, 2] * (depth * (wanted / focal - 1))[:, None]
    return moved


def _median_rotation(turns: Rotation) -> Rotation:
    median = turns.mean()
    for _ in range(ROUNDS):
        median = turns.mean(1 / np.maximum((turns * median.inv()).magnitude(), NEAREST))
    return median


def _depth(point: Float[np.ndarray, "3"], camera: Float[np.ndarray, "4 4"]) -> float:
    """Return the depth of a point along the camera's axis."""
    return float(camera[:3, 2] @ (camera[:3, 3] - point))
