"""What makes a camera: a pose that is a rigid motion, and a focal length that is positive."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from nerfgen_ns.errors import UsageError

NOT_RIGID = 5e-3
"""So far from orthonormal is no matter of digits in a file."""
SINGULAR = 1e-6


def check_poses(matrices: Sequence[Any], where: Callable[[int], str]) -> Float[np.ndarray, "n 4 4"]:
    """Camera-to-world matrices as one array, each a rotation and a translation.

    Args:
        matrices: 4 × 4 or 3 × 4 numbers each, as arrays or nested lists.
        where: names the place of a matrix, file and row or frame, for the message.

    Raises:
        UsageError: one is of another shape, not finite, singular, left-handed or not orthonormal.
    """
    poses = np.tile(np.eye(4), (len(matrices), 1, 1))
    for place, matrix in enumerate(matrices):
        try:
            values = np.asarray(matrix, dtype=np.float64)
        except (TypeError, ValueError):
            values = np.empty(0)
        if values.shape not in ((4, 4), (3, 4)):
            raise UsageError(
                f"{where(place)}: the camera-to-world matrix is not 4 × 4 numbers; write four rows of four"
            )
        poses[place, : len(values)] = values
    finite = np.isfinite(poses).all(axis=(1, 2))
    if not finite.all():
        raise UsageError(
            f"{where(int(np.argmin(finite)))}: the camera-to-world matrix is not finite; "
            "give numbers, or remove the photograph"
        )
    rotations = poses[:, :3, :3]
    determinant = np.linalg.det(rotations)
    error = np.abs(rotations.transpose(0, 2, 1) @ rotations - np.eye(3)).max(axis=(1, 2), initial=0.0)
    wrong = (error > NOT_RIGID) | (determinant < 0) | (poses[:, 3] != [0.0, 0.0, 0.0, 1.0]).any(axis=1)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise UsageError(f"{where(place)}: the camera-to-world matrix {_fault(poses[place])}")
    return poses


def _fault(pose: Float[np.ndarray, "4 4"]) -> str:
    rotation, determinant = pose[:3, :3], np.linalg.det(pose[:3, :3])
    if (pose[3] != [0.0, 0.0, 0.0, 1.0]).any():
        return f"ends in the row {pose[3].tolist()} and not in 0 0 0 1; is it transposed?"
    if abs(determinant) < SINGULAR:
        return "is singular; give a rotation and a translation"
    scale = np.cbrt(abs(determinant))
    scaled = np.abs(rotation.T @ rotation - scale**2 * np.eye(3)).max() <= NOT_RIGID * scale**2
    if determinant < 0:
        return "is left-handed (its determinant is negative): one axis is mirrored; turn its sign around"
    if scaled:
        return f"is scaled by {scale:.4g}; divide its upper left 3 × 3 by that"
    return "is no rotation: its columns are not orthonormal; give a rotation and a translation"


def check_focal_lengths(focal: Float[np.ndarray, "n 2"], where: Callable[[int], str]) -> None:
    """Make sure that focal lengths in pixels are finite and positive.

    Raises:
        UsageError: one is not.
    """
    wrong = ~(np.isfinite(focal) & (focal > 0)).all(axis=1)
    if wrong.any():
        place = int(np.argmax(wrong))
        fl_x, fl_y = focal[place]
        raise UsageError(f"{where(place)}: focal length {fl_x:g}, {fl_y:g}; give a positive number of pixels")
