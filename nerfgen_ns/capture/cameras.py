"""Pinhole cameras of a whole collection at once: projection, its derivatives, and the first guess of a pose.

Frames: the class frame is right-handed, y up; cameras look along −z with y up (OpenGL); pixels count from the
upper left corner with pixel centres at +0.5.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass
class Cameras:
    """n cameras: `rotation @ point + translation` takes the class frame to the camera frame."""

    rotation: Float[np.ndarray, "n 3 3"]
    translation: Float[np.ndarray, "n 3"]
    focal: Float[np.ndarray, "n"]
    """Focal length in pixels."""
    centre: Float[np.ndarray, "n 2"]
    """Principal point in pixels."""

    def __len__(self) -> int:
        return len(self.rotation)

    def __getitem__(self, which: slice) -> "Cameras":
        return Cameras(self.rotation[which], self.translation[which], self.focal[which], self.centre[which])

    def camera_to_world(self) -> Float[np.ndarray, "n 4 4"]:
        """nerfstudio's `transform_matrix` of each camera."""
        matrices = np.tile(np.eye(4), (len(self), 1, 1))
        matrices[:, :3, :3] = self.rotation.transpose(0, 2, 1)
        matrices[:, :3, 3] = -np.einsum("nji,nj->ni", self.rotation, self.translation)
        return matrices

    def moved(self, step: Float[np.ndarray, "n 6"]) -> "Cameras":
        """The cameras after a small motion: a rotation vector, applied last, and a translation."""
        rotation = rotation_matrices(step[:, :3]) @ self.rotation
        return Cameras(rotation, self.translation + step[:, 3:], self.focal, self.centre)


def rotation_matrices(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3 3"]:
    """Rotations by `|v|` radians about `v` (Rodrigues' formula)."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    # np.sinc(t) is sin(πt)/(πt): well behaved at zero, unlike the textbook quotients.
    return (
        np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * cross @ cross
    )


def rotation_vectors(rotation: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 3"]:
    """The rotation vectors of rotations: the inverse of `rotation_matrices` below half a turn."""
    twice_sine = np.stack([rotation[:, k - 2, k - 1] - rotation[:, k - 1, k - 2] for k in range(3)], axis=1)
    sine = np.linalg.norm(twice_sine, axis=1) / 2
    cosine = (np.trace(rotation, axis1=1, axis2=2) - 1) / 2
    return -twice_sine / 2 * (np.arctan2(sine, cosine) / np.maximum(sine, 1e-12))[:, None]


def project(cameras: Cameras, points: Float[np.ndarray, "*n m 3"]) -> Float[np.ndarray, "n m 2"]:
    """Pixels of the points, all cameras' or each its own, in each camera: u = cx + f·X/(−Z), v = cy − f·Y/(−Z)."""
    seen = points @ cameras.rotation.transpose(0, 2, 1) + cameras.translation[:, None]
    return _project_seen(cameras, seen)


def _project_seen(cameras: Cameras, seen: Float[np.ndarray, "n m 3"]) -> Float[np.ndarray, "n m 2"]:
    slopes = seen[..., :2] / -seen[..., 2:] * [1.0, -1.0]
    return cameras.centre[:, None] + cameras.focal[:, None, None] * slopes


def observe(cameras: Cameras, points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "n m 3"]:
    """Projection with relative depth as a third coordinate, as landmark models guess it.

    Relative depth is in pixels, grows away from the camera and is measured from the points' mean:
    the scaled orthographic convention.
    """
    seen = points @ cameras.rotation.transpose(0, 2, 1) + cameras.translation[:, None]
    scale = cameras.focal / cameras.translation[:, 2]
    depth = (seen[..., 2] - seen[..., 2].mean(axis=1, keepdims=True)) * scale[:, None]
    return np.concatenate([_project_seen(cameras, seen), depth[..., None]], axis=-1)


def motion_jacobian(cameras: Cameras, points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "n m 3 6"]:
    """Derivative of `observe` by the motion of each camera (see `Cameras.moved`)."""
    turned = points @ cameras.rotation.transpose(0, 2, 1)
    seen = turned + cameras.translation[:, None]
    x, y, z = np.moveaxis(turned, -1, 0)
    jacobian = np.zeros((*x.shape, 3, 6))
    # A turn moves a point by ω × turned; the columns below are the rows of that cross product.
    slopes = image_slopes(cameras, seen)
    for row, (right, up, back) in enumerate(np.moveaxis(slopes, (-2, -1), (0, 1))):
        jacobian[..., row, 0] = back * y - up * z
        jacobian[..., row, 1] = right * z - back * x
        jacobian[..., row, 2] = up * x - right * y
    jacobian[..., 3:] = slopes
    jacobian[..., 2, :] -= jacobian[..., 2, :].mean(axis=1, keepdims=True)
    # Relative depth is scaled by focal length over distance, which the motion along z changes too.
    distance = cameras.translation[:, 2, None]
    from_mean = seen[..., 2] - seen[..., 2].mean(axis=1, keepdims=True)
    jacobian[..., 2, 5] -= from_mean * cameras.focal[:, None] / distance**2
    return jacobian


def point_jacobian(cameras: Cameras, points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "n m 3 3"]:
    """Derivative of `observe` by each point's own position, but for its 1/m share in the mean depth."""
    seen = points @ cameras.rotation.transpose(0, 2, 1) + cameras.translation[:, None]
    return image_slopes(cameras, seen) @ cameras.rotation[:, None]


def image_slopes(cameras: Cameras, seen: Float[np.ndarray, "n m 3"]) -> Float[np.ndarray, "n m 3 3"]:
    """Derivative of pixels and of relative depth by a point's position in the camera frame."""
    nearness = cameras.focal[:, None] / -seen[..., 2]
    slopes = np.zeros((*seen.shape, 3))
    slopes[..., 0, 0] = nearness
    slopes[..., 0, 2] = nearness * seen[..., 0] / -seen[..., 2]
    slopes[..., 1, 1] = -nearness
    slopes[..., 1, 2] = -nearness * seen[..., 1] / -seen[..., 2]
    slopes[..., 2, 2] = (cameras.focal / cameras.translation[:, 2])[:, None]
    return slopes


def first_guess(
    landmarks: Float[np.ndarray, "n m 3"],
    points: Float[np.ndarray, "m 3"],
    focal: Float[np.ndarray, "n"],
    centre: Float[np.ndarray, "n 2"],
) -> Cameras:
    """Cameras from landmarks with relative depth, by the similarity that takes `points` onto them.

    Scaled orthographic, in closed form: Umeyama, "Least-squares estimation of transformation parameters
    between two point patterns", 1991.
    """
    target = landmarks * [1.0, -1.0, -1.0]
    target_mean, mean = target.mean(axis=1), points.mean(axis=0)
    covariance = np.einsum("nmi,mj->nij", target - target_mean[:, None], points - mean)
    left, singular, right = np.linalg.svd(covariance)
    signs = np.ones_like(singular)
    signs[:, 2] = np.sign(np.linalg.det(left @ right))
    rotation = (left * signs[:, None]) @ right
    scale = (singular * signs).sum(axis=1) / ((points - mean) ** 2).sum()
    depth = focal / np.maximum(scale, 1e-9)
    aside = (target_mean[:, :2] - centre * [1.0, -1.0]) / np.maximum(scale, 1e-9)[:, None]
    translation = np.column_stack([aside, -depth]) - rotation @ mean
    return Cameras(rotation, translation, focal, centre)
