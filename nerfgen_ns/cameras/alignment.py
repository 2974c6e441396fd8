"""Fitted cameras against true ones: errors after removing what no photograph tells, and the two alignments.

No photograph tells where a class frame lies, how it is turned or how large a unit is. One similarity for a
whole collection removes that. Of a single photograph more is unknown: a head that is turned a little with a
camera that is turned as much looks the same. Aligning one identity by its own camera removes that too.

Cameras are camera-to-world matrices, nerfstudio/OpenGL: they look along −z.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

ROUNDS = 50
"""Of reweighting, for medians of rotations and of points; they settle within a dozen."""
NEAREST = 1e-4
"""Radians or units below which a camera weighs no more: one that fits exactly is not all that counts."""


@dataclass(frozen=True)
class Similarity:
    """A map between frames: x ↦ scale · rotation · x + translation."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def move_points(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Where the points lie in the other frame."""
        return self.scale * points @ self.rotation.T + self.translation

    def move_cameras(self, cameras: Float[np.ndarray, "*n 4 4"]) -> Float[np.ndarray, "*n 4 4"]:
        """The cameras that see the moved scene as the given ones see it unmoved, by whatever intrinsics."""
        moved = cameras.copy()
        moved[..., :3, :3] = self.rotation @ cameras[..., :3, :3]
        moved[..., :3, 3] = self.move_points(cameras[..., :3, 3])
        return moved


def rotation_errors(
    fitted: Float[np.ndarray, "n 4 4"], true: Float[np.ndarray, "n 4 4"]
) -> Float[np.ndarray, "n"]:
    """Angles in degrees between the fitted and the true cameras, one rotation for all of them removed.

    That rotation is the median of what the cameras ask for, by Weiszfeld's reweighting.
    """
    turns = Rotation.from_matrix(true[:, :3, :3]) * Rotation.from_matrix(fitted[:, :3, :3]).inv()
    return np.degrees((turns * _median_rotation(turns).inv()).magnitude())


def camera_errors(fitted: Float[np.ndarray, "n 4 4"], true: Float[np.ndarray, "n 4 4"]) -> dict[str, float]:
    """The errors of fitted cameras by name; see `rotation_errors` and `align_collection`."""
    angles, aligned = rotation_errors(fitted, true), align_collection(true, fitted)
    distances = np.linalg.norm(aligned.move_cameras(true)[:, :3, 3] - fitted[:, :3, 3], axis=1)
    return {
        "rotation error, degrees, median": float(np.median(angles)),
        "rotation error, degrees, 90th percentile": float(np.percentile(angles, 90)),
        "camera center error, units of the truth, median": float(np.median(distances) / aligned.scale),
        "gauge removed, degrees": float(np.degrees(Rotation.from_matrix(aligned.rotation).magnitude())),
    }


def align_collection(true: Float[np.ndarray, "n 4 4"], fitted: Float[np.ndarray, "n 4 4"]) -> Similarity:
    """The one similarity that takes the true cameras nearest to the fitted ones.

    Its rotation is the median of the cameras' rotations; its scale and translation minimize the sum of the
    distances between the centers. Robust, so that a few failed cameras do not move the rest. Where focal
    lengths differ, bring them together first: see `with_focal_length`.
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
    """The similarity that takes one true camera exactly onto its fitted one.

    A camera leaves the scale open. It is chosen so that the middle of the class, the origin of the true
    frame, keeps its relative depth: a large head far away may have been fitted as a small one nearby.

    Args:
        collection: the similarity of all cameras, which says where the middle lies in the fitted frame.
    """
    rotation = fitted[:3, :3] @ true[:3, :3].T
    scale = _depth(collection.translation, fitted) / _depth(np.zeros(3), true)
    return Similarity(scale, rotation, fitted[:3, 3] - scale * rotation @ true[:3, 3])


def with_focal_length(
    cameras: Float[np.ndarray, "n 4 4"],
    focal: Float[np.ndarray, "n"],
    wanted: Float[np.ndarray, "n"],
) -> Float[np.ndarray, "n 4 4"]:
    """Cameras of other focal lengths to which the class looks as large: moved along their axes.

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
    """Depth of a point along the camera's axis."""
    return float(camera[:3, 2] @ (camera[:3, 3] - point))
