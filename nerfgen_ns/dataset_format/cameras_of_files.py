"""Checks of cameras in files of users: each is a valid camera, or the error says what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from nerfgen_ns.errors import UsageError

NOT_RIGID = 5e-3
"""Largest deviation from an orthonormal matrix that rounded digits in a file can explain."""
SINGULAR = 1e-6


def as_pose(matrix: Any, where: str) -> Float[np.ndarray, "4 4"]:
    """Return a camera-to-world matrix of a file as an array.

    Args:
        matrix: what the file has: 4 × 4 or 3 × 4 numbers, as an array or nested lists.
        where: names its place, file and row or frame, for the message.

    Raises:
        UsageError: it has another shape, or something that is not a number.
    """
    try:
        values = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape == (3, 4):
        return np.vstack([values, [0.0, 0.0, 0.0, 1.0]])
    if values.shape != (4, 4):
        raise UsageError(f"{where}: the camera-to-world matrix is not 4 × 4 numbers; write four rows of four")
    return values


def check_poses(poses: Float[np.ndarray, "n 4 4"], where: Callable[[int], str]) -> None:
    """Check that each camera-to-world matrix is a rotation and a translation.

    Args:
        poses: the matrices.
        where: names the place of a matrix, file and row or frame, for the message.

    Raises:
        UsageError: one is not finite, singular, left-handed or not orthonormal.
    """
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


def check_focal_length(where: str, fl_x: float, fl_y: float) -> None:
    """Check that a focal length in pixels is finite and positive.

    Raises:
        UsageError: it is not.
    """
    if not (0 < fl_x < math.inf and 0 < fl_y < math.inf):
        raise UsageError(f"{where}: focal length {fl_x:g}, {fl_y:g}; give a positive number of pixels")


def check_intrinsics(where: str, fl_x: float, fl_y: float, cx: float, cy: float, w: float, h: float) -> None:
    """Check that intrinsic parameters in pixels can be those of a camera.

    Raises:
        UsageError: they cannot.
    """
    check_focal_length(where, fl_x, fl_y)
    if not (math.isfinite(cx) and math.isfinite(cy) and 1 <= w < math.inf and 1 <= h < math.inf):
        raise UsageError(f"{where}: w, h, cx, cy are {[w, h, cx, cy]}; give pixels")
