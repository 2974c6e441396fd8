"""What the data factory draws: identities, their backgrounds, cameras and landmarks, each by its number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from scipy.spatial.transform import Rotation
from torch import Tensor

from nerfgen_ns.cameras.trajectories import orbit, path_around, swing, turned_cameras
from nerfgen_ns.dataset_format.columns import camera_angles
from nerfgen_ns.dataset_format.frame import Frame
from nerfgen_ns.dataset_format.transforms import read_transforms, transforms_path
from nerfgen_ns.errors import UsageError
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.preprocessing.camera_fitting.canonical_model import CanonicalModel
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.config import FactoryConfig

MOST_SMOOTHING = 5.0
"""Degrees by which a camera is turned away from a photograph's, at most in one standard deviation."""
DIRECTIONS = 64
"""Strongest directions of the latent space that tell landmarks."""
PENALTIES = 10.0 ** np.arange(-2.0, 5.0, 0.5)
"""Penalties among which the regression of landmarks chooses."""


@dataclass(frozen=True)
class DrawnObject:
    """An identity that exists nowhere else, and how it is looked at."""

    number: int
    code: Float[Tensor, "1 latent"]
    backgrounds: list[Float[Tensor, "1 latent"]]
    """The code whose background is behind it in each view."""
    cameras: Cameras
    """One for each view."""
    landmarks: Float[np.ndarray, "m 3"] | None
    """In the class frame; None where the class has none."""


class Draws:
    """The objects of a data set. Each depends on the seed and on its number, and on no other object.

    Args:
        run: a trained run.
        config: what is drawn.
    """

    def __init__(self, run: Run, config: FactoryConfig) -> None:
        self.run, self.config = run, config
        self.space = LatentSpace.of(run.codes.cpu())
        self.landmarks = CodeLandmarks.of(run, self.space)
        self.size = image_size(run, config)

    def __len__(self) -> int:
        return -(-self.config.count // self.config.views)

    def views_of(self, number: int) -> int:
        """Return how many images show an object."""
        return min(self.config.views, self.config.count - number * self.config.views)

    def draw(self, number: int) -> DrawnObject:
        """Draw an object; it is on the processor, and the same on every machine."""
        config = self.config
        random = np.random.default_rng([config.seed, number])
        code = self._code(random)
        views = self.views_of(number)
        if config.video:
            cameras = turned_cameras(self.run.cameras, _path(self.run.cameras, views, config), self.size)
            behind = [self._background(random, code)] * views
        else:
            drawn = [
                (draw_camera(self.run.cameras, self.size, config, random), self._background(random, code))
                for _ in range(views)
            ]
            cameras, behind = joined([camera for camera, _ in drawn]), [code for _, code in drawn]
        landmarks = None if self.landmarks is None else self.landmarks.of_code(code)
        return DrawnObject(number, code, behind, cameras, landmarks)

    def _code(self, random: np.random.Generator) -> Float[Tensor, "1 latent"]:
        amounts = torch.from_numpy(random.standard_normal(len(self.space.deviations))).to(self.space.mean)
        return self.space.move(self.space.mean, self.config.truncation * amounts)[None]

    def _background(
        self, random: np.random.Generator, code: Float[Tensor, "1 latent"]
    ) -> Float[Tensor, "1 latent"]:
        return code if self.config.backgrounds == "own" else self._code(random)


def image_size(run: Run, config: FactoryConfig) -> int:
    """Return the width and height of the images in pixels."""
    trained = float(run.cameras.width.float().median()) / run.downscale_factor
    return max(round(trained), 8) if config.size is None else config.size


def joined(cameras: list[Cameras]) -> Cameras:
    """Return cameras, each of shape (1,), as one of the shape (n,)."""
    names = ("fx", "fy", "cx", "cy", "width", "height")
    parts: dict[str, Any] = {name: torch.cat([getattr(one, name) for one in cameras]) for name in names}
    return Cameras(camera_to_worlds=torch.cat([one.camera_to_worlds for one in cameras]), **parts)


def draw_camera(
    photographs: Cameras, size: int, config: FactoryConfig, random: np.random.Generator
) -> Cameras:
    """Draw a camera of square images, of shape (1,), spread as those of photographs or over given ranges.

    The former is a smoothed bootstrap (Silverman, "Density Estimation", 1986, section 6.4): a photograph's
    camera, turned a little around the object, less where there are many photographs.
    """
    chosen = random.integers(len(photographs))
    turns = random.standard_normal(2)
    shares = random.random(2)
    poses = photographs.camera_to_worlds[:, :3].cpu().double().numpy()
    angles = camera_angles(poses[:, :, :3])[:, :2]
    width = len(poses) ** (-1.0 / 6.0)
    pose = turned(poses[chosen], turns * np.minimum(width * angles.std(axis=0), MOST_SMOOTHING))
    if config.yaw is not None or config.pitch is not None:
        own = camera_angles(pose[None, :, :3])[0, :2]
        for axis, given in enumerate((config.yaw, config.pitch)):
            if given is not None:
                own[axis] = given[0] + shares[axis] * (given[1] - given[0])
        return turned_cameras(photographs, own[None], size)
    camera = photographs[chosen : chosen + 1]
    # All that the photograph shows is in the square.
    scale = size / float(max(camera.width.max(), camera.height.max()))
    return Cameras(
        torch.from_numpy(pose).float()[None],
        fx=float(camera.fx) * scale,
        fy=float(camera.fy) * scale,
        cx=size / 2 + (float(camera.cx) - float(camera.width) / 2) * scale,
        cy=size / 2 + (float(camera.cy) - float(camera.height) / 2) * scale,
        width=size,
        height=size,
    )


def turned(pose: Float[np.ndarray, "3 4"], angles: Float[np.ndarray, "2"]) -> Float[np.ndarray, "3 4"]:
    """Turn a camera around the origin: about y, and up or down; degrees, positive toward +x and upwards."""
    side = np.cross([0.0, 1.0, 0.0], pose[:, 3])
    length = float(np.linalg.norm(side))
    if length > 1e-9:
        pose = Rotation.from_rotvec(-np.radians(angles[1]) * side / length).as_matrix() @ pose
    return Rotation.from_euler("y", angles[0], degrees=True).as_matrix() @ pose


def _path(photographs: Cameras, views: int, config: FactoryConfig) -> Float[np.ndarray, "views 2"]:
    """Return yaw and pitch of each frame of a video."""
    if config.yaw is None and config.pitch is None:
        return path_around(photographs, views)
    (left, right), (low, high) = config.yaw or (-40.0, 40.0), config.pitch or (-8.0, 8.0)
    middle = np.array([0.5 * (left + right), 0.5 * (low + high)])
    if right - left >= 360.0:
        return orbit(views, float(middle[1]))
    return middle + swing(views, 0.5 * (right - left), 0.5 * (high - low))


@dataclass(frozen=True)
class CodeLandmarks:
    """The landmarks in 3D of a code: they move with its strongest directions, linearly."""

    names: list[str]
    mean: Float[np.ndarray, "m 3"]
    slopes: Float[np.ndarray, "directions m 3"]
    space: LatentSpace

    @classmethod
    def of(cls, run: Run, space: LatentSpace) -> CodeLandmarks | None:
        """Learn from the run's photographs how landmarks depend on codes, by ridge regression.

        Their landmarks are the `landmarks3d` of their frames or else the canonical landmarks of the class
        with their `coefficients`. Without the frames all codes have the canonical landmarks.

        Returns:
            None where the run has no canonical landmarks either.
        """
        frames = _frames_of(run)
        canonical = _canonical_model(run)
        shapes = _shapes(frames, canonical)
        if shapes is None:
            return None
        rotation, shift = run.record.transform[:, :3].numpy(), run.record.transform[:, 3].numpy()
        shapes = (shapes @ rotation.T + shift) * run.record.scale
        mean, slopes = shapes.mean(axis=0), np.zeros((0, *shapes.shape[1:]))
        if len(shapes) > 1:
            rows = torch.from_numpy(run.record.rows.astype(np.int64))
            amounts = space.amounts(run.codes.cpu()[rows])[:, :DIRECTIONS].double().numpy()
            offset = amounts.mean(axis=0)
            flat = ridge(amounts - offset, (shapes - mean).reshape(len(shapes), -1))
            slopes = flat.reshape(-1, *mean.shape)
            mean = mean - np.tensordot(offset, slopes, axes=1)
        names = [str(place) for place in range(len(mean))]
        given = (run.record.canonical_landmarks or {}).get("names")
        if isinstance(given, list) and len(given) == len(mean):
            names = [str(name) for name in given]
        return cls(names, mean, slopes, space)

    def of_code(self, code: Float[Tensor, "1 latent"]) -> Float[np.ndarray, "m 3"]:
        """Return the landmarks of a code in the class frame."""
        amounts = self.space.amounts(code.cpu())[0, : len(self.slopes)].double().numpy()
        return self.mean + np.tensordot(amounts, self.slopes, axes=1)


def ridge(inputs: Float[np.ndarray, "n k"], outputs: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "k m"]:
    """Return the slopes of a linear regression of centered values, with the penalty that predicts best.

    The penalty minimizes generalized cross-validation (Golub, Heath and Wahba, Technometrics 1979).
    """
    left, strengths, right = np.linalg.svd(inputs, full_matrices=False)
    seen = left.T @ outputs
    best, slopes = np.inf, np.zeros((inputs.shape[1], outputs.shape[1]))
    for penalty in PENALTIES:
        kept = strengths**2 / (strengths**2 + penalty)
        error = ((outputs - left @ (kept[:, None] * seen)) ** 2).sum()
        score = error / max(len(inputs) - 1.0 - kept.sum(), 1e-3) ** 2
        if score < best:
            best = score
            slopes = right.T @ ((strengths / (strengths**2 + penalty))[:, None] * seen)
    return slopes


def _frames_of(run: Run) -> list[Frame] | None:
    """Return the frame of each photograph of a run; None where its data is not there as it was."""
    if not transforms_path(run.data).is_file():
        return None
    try:
        data = read_transforms(run.data, allow_outside=True)
    except UsageError:
        return None
    by_file: Mapping[Path, Frame] = dict(zip(data.files, data.frames, strict=True))
    frames = [by_file.get(image) for image in run.record.images]
    return None if None in frames else [frame for frame in frames if frame is not None]


def _canonical_model(run: Run) -> CanonicalModel | None:
    try:
        return CanonicalModel.from_dict(run.record.canonical_landmarks or {})
    except (KeyError, TypeError, ValueError):
        return None


def _shapes(
    frames: list[Frame] | None, canonical: CanonicalModel | None
) -> Float[np.ndarray, "n m 3"] | None:
    """Return the landmarks of each photograph in the world of the data, or those of the class alone."""
    points = [frame.landmarks3d for frame in frames or [] if frame.landmarks3d is not None]
    if frames and len(points) == len(frames) and len({one.shape for one in points}) == 1:
        return np.stack(points)
    if canonical is None:
        return None
    own = [frame.coefficients for frame in frames or [] if frame.coefficients is not None]
    if frames and len(own) == len(frames) and {len(one) for one in own} == {len(canonical.basis)}:
        return canonical.shapes(np.stack(own))
    return canonical.canonical[None]
