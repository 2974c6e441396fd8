"""Cameras, and the pictures that they take of a solid: image, matte, depth and labels, by sphere tracing."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.spatial.transform import Rotation

from nerfgen_ns.cameras.projection import Cameras, project, z_depths
from nerfgen_ns.synthetic.solids import BACKGROUND_LABEL, Solid

FOCAL_PER_WIDTH = 2.1
"""Focal length over image width."""


@dataclass(frozen=True)
class Camera:
    """A square pinhole camera, nerfstudio/OpenGL convention: it looks along its −z, y is up.

    Pixel (column, row) has its center at (column + 0.5, row + 0.5).
    """

    yaw: float
    """Degrees; positive when the camera is on the object's left (+x)."""
    pitch: float
    """Degrees; positive when the camera is above."""
    roll: float
    """Degrees; positive when the camera's right rises."""
    camera_to_world: Float[np.ndarray, "4 4"]
    """Rotation and position."""
    size: int
    """Width and height in pixels."""

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return FOCAL_PER_WIDTH * self.size

    def rays(
        self, pixels: Float[np.ndarray, "n 2"]
    ) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 n"], Float[np.ndarray, " n"]]:
        """Return the position of the camera, unit directions through `pixels`, and z-depth per ray length."""
        plane = np.empty((3, len(pixels)))
        plane[0] = (pixels[:, 0] - self.size / 2) / self.focal
        plane[1] = (self.size / 2 - pixels[:, 1]) / self.focal
        plane[2] = -1
        depth_per_length = 1 / np.linalg.norm(plane, axis=0)
        directions = self.camera_to_world[:3, :3] @ (plane * depth_per_length)
        return self.camera_to_world[:3, 3], directions, depth_per_length

    def project(
        self, points: Float[np.ndarray, "m 3"]
    ) -> tuple[Float[np.ndarray, "m 2"], Float[np.ndarray, " m"]]:
        """Return pixels and z-depths of points of the world."""
        cameras = Cameras.from_camera_to_world(
            self.camera_to_world[None], np.array([self.focal]), np.full((1, 2), self.size / 2)
        )
        return project(cameras, points)[0], z_depths(cameras, points)[0]


def look_at_camera(
    yaw: float,
    pitch: float,
    roll: float,
    distance: float,
    size: int,
    target: tuple[float, float] = (0.0, 0.0),
) -> Camera:
    """Return a camera turned by yaw, pitch and roll (degrees) that looks at `target` = (right, up).

    The target is relative to the origin.
    """
    turn = Rotation.from_euler("YX", [yaw, -pitch], degrees=True)
    pose = np.eye(4)
    pose[:3, :3] = (turn * Rotation.from_euler("Z", roll, degrees=True)).as_matrix()
    pose[:3, 3] = turn.apply([*target, distance])
    return Camera(yaw, pitch, roll, pose, size)


def sample_camera(random: np.random.Generator, size: int) -> Camera:
    """Draw a camera as photographs of heads have it: mostly frontal, level, and well framed."""
    yaw = float(np.clip(random.normal(0, 20), -45, 45))
    pitch = float(random.normal(0, 8))
    roll = float(random.normal(0, 3))
    distance = float(random.uniform(2.6, 2.8))
    right, up = random.uniform(-0.02, 0.02, 2)
    return look_at_camera(yaw, pitch, roll, distance, size, (float(right), float(up)))


def sample_camera_around(random: np.random.Generator, size: int) -> Camera:
    """Draw a camera around the object, evenly over the part of the sky from the horizon to 70° above it.

    So are the cameras of the cars in Sitzmann et al., "Scene Representation Networks" (NeurIPS 2019).
    """
    yaw = float(random.uniform(-180, 180))
    pitch = float(np.degrees(np.arcsin(random.uniform(0, np.sin(np.radians(70))))))
    return look_at_camera(yaw, pitch, 0.0, float(random.uniform(3.75, 3.95)), size)


TOLERANCE = 1e-3
"""A point closer to the surface than this is on it."""
CONE_STEPS = 8
"""Most steps of the cones that are traced before the rays."""
CAUTION, BOLDNESS = 0.9, 1.3
"""Step length over distance: far from the surface, and near it, where a ray that goes too deep can return."""
LEAST_STEP = 4e-3
"""Least step length; it keeps grazing rays moving, and grows with the steps that a ray has made."""
RAYS = np.array([[0.5, 0.5], [0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])
"""Where in a pixel its rays go: the first gives depth and label, the others the color."""
BLOCKS = (4, 1)
"""Pixels along the side of the blocks that are traced together at first; each divides the one before."""


@dataclass(frozen=True)
class Picture:
    """All that is known of one view."""

    image: UInt8[np.ndarray, "h w 3"]
    """Antialiased colors."""
    matte: UInt8[np.ndarray, "h w"]
    """Share of the pixel that the object covers, 255 for all of it."""
    depth: Float[np.ndarray, "h w"]
    """z-depth at the pixel's center, inf where the ray misses."""
    labels: UInt8[np.ndarray, "h w"]
    """Label at the pixel's center."""


def trace(
    distance: Callable[[Float[np.ndarray, "3 n"]], Float[np.ndarray, " n"]],
    origins: Float[np.ndarray, "3 n"],
    directions: Float[np.ndarray, "3 n"],
    start: Float[np.ndarray, " n"],
    end: Float[np.ndarray, " n"],
    spread: float = 0.0,
    steps: int = 24,
) -> Float[np.ndarray, " n"]:
    """Return the length along each ray to the first surface between `start` and `end`; inf for none.

    A ray that has not arrived after `steps` steps only grazes, and counts as a miss.

    `origins` may be (3, 1), one for all rays. Rays with `end` < `start` miss. With a `spread`, rays are cones
    of that radius per length, and the length is one before which nothing touches the cone.
    """
    lengths = np.full(start.shape, np.inf, np.float32)
    alive = np.flatnonzero(end > start)
    origins = np.broadcast_to(origins, directions.shape).astype(np.float32).take(alive, axis=1)
    directions, reached, end = (
        directions.astype(np.float32).take(alive, axis=1),
        start[alive].astype(np.float32),
        end[alive],
    )
    for step in range(CONE_STEPS if spread else steps):
        if not len(alive):
            break
        gap = distance(origins + directions * reached) - np.float32(spread) * reached
        arrived = np.abs(gap) < TOLERANCE
        lengths[alive[arrived]] = reached[arrived] + gap[arrived]
        forward = np.float32(CAUTION) * gap
        if not spread:
            forward = np.minimum(np.float32(BOLDNESS) * gap, forward + np.float32(0.008))
            forward = np.maximum(forward, np.float32(LEAST_STEP * max(1, step / 4)))
        reached += np.where(gap > 0, forward, np.float32(0.8) * gap)
        going = ~arrived & (reached < end)
        alive, reached, end = alive[going], reached[going], end[going]
        origins, directions = origins.compress(going, axis=1), directions.compress(going, axis=1)
    if spread:
        lengths[alive] = reached
    return lengths


def _enter_box(
    solid: Solid, origin: Float[np.ndarray, "3"], directions: Float[np.ndarray, "3 n"], spread: float = 0.0
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return the lengths at which rays enter and leave the solid's box.

    Where they miss it, they leave before they enter.

    With a `spread` they are cones of that radius per length, and the box is widened to what they may touch.
    """
    margin = spread * (np.linalg.norm(origin) + np.linalg.norm(solid.high - solid.low))
    with np.errstate(divide="ignore", invalid="ignore"):
        first = (solid.low - margin - origin)[:, None] / directions
        second = (solid.high + margin - origin)[:, None] / directions
    entering = np.nanmax(np.minimum(first, second), axis=0)
    leaving = np.nanmin(np.maximum(first, second), axis=0)
    return np.maximum(entering, 0), leaving


def _normals(solid: Solid, points: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "3 n"]:
    """Compute unit normals by finite differences over the corners of a tetrahedron."""
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float32)
    normals = np.zeros_like(points)
    for corner in corners[:, :, None]:
        normals += corner * solid.distance(points + np.float32(2e-3) * corner)
    return normals / np.maximum(np.linalg.norm(normals, axis=0), 1e-12)


def _shade(
    solid: Solid, points: Float[np.ndarray, "3 n"], albedo: Float[np.ndarray, "3 n"]
) -> Float[np.ndarray, "3 n"]:
    """Compute colors of points on the surface; they do not depend on the viewing direction."""
    normals = _normals(solid, points)
    # Openness: how far the surface has receded a little way out, one step of Quilez's ambient occlusion.
    reach = np.float32(0.07)
    openness = np.clip(solid.distance(points + reach * normals) / reach, 0.45, 1)
    return np.clip(albedo * solid.light.shade(normals, openness), 0, 1)


def _pixel_starts(
    solid: Solid, camera: Camera
) -> tuple[Float[np.ndarray, " pixels"], Float[np.ndarray, " pixels"]]:
    """Return the lengths before which no ray of a pixel can hit, and those where its rays leave the box.

    The first are inf where no ray hits.

    Cones around blocks of pixels, then around each pixel, are traced first; the rays only do the last steps.
    """
    start = np.zeros((1, 1))
    for block in BLOCKS:
        across = -(-camera.size // block)
        repeat = -(-across // len(start))
        start = start.repeat(repeat, axis=0).repeat(repeat, axis=1)[:across, :across].reshape(-1)
        rows, columns = np.divmod(np.arange(across * across), across)
        origin, directions, _ = camera.rays((np.stack([columns, rows], axis=1) + 0.5) * block)
        spread = float(np.sqrt(0.5) * block / camera.focal)
        entering, leaving = _enter_box(solid, origin, directions, spread)
        start, leaving = np.maximum(start, entering), np.where(np.isfinite(start), leaving, -np.inf)
        start = trace(solid.distance, origin[:, None], directions, start, leaving, spread).reshape(
            across, across
        )
    return start.reshape(-1), leaving


def render(solid: Solid, camera: Camera) -> Picture:
    """Render one view: colors and matte from four rays a pixel, depth and labels from one."""
    size = camera.size
    rows, columns = np.divmod(np.arange(size * size), size)
    pixels = (np.stack([columns, rows], axis=1)[:, None] + RAYS).reshape(-1, 2)
    origin, directions, depth_per_length = camera.rays(pixels)
    directions = directions.astype(np.float32)
    start, end = (length.repeat(len(RAYS)) for length in _pixel_starts(solid, camera))
    lengths = trace(solid.distance, origin[:, None], directions, start, end, steps=solid.steps)

    hits = np.flatnonzero(np.isfinite(lengths))
    points = origin.astype(np.float32)[:, None] + directions.take(hits, axis=1) * lengths[hits]
    albedo, label = solid.appearance(points)
    labels = np.full(len(lengths), BACKGROUND_LABEL)
    labels[hits] = label
    colors = solid.background.color(directions)
    colored = hits % len(RAYS) > 0
    colors[:, hits[colored]] = _shade(
        solid, points.compress(colored, axis=1), albedo.compress(colored, axis=1)
    )
    colors = colors.T.reshape(size, size, len(RAYS), 3)[:, :, 1:].mean(axis=2)
    matte = np.isfinite(lengths).reshape(size, size, len(RAYS))[:, :, 1:].mean(axis=2)
    return Picture(
        np.rint(colors * 255).astype(np.uint8),
        np.rint(matte * 255).astype(np.uint8),
        (lengths * depth_per_length).reshape(size, size, len(RAYS))[:, :, 0],
        labels.reshape(size, size, len(RAYS))[:, :, 0].astype(np.uint8),
    )


def visible(
    solid: Solid, camera: Camera, points: Float[np.ndarray, "m 3"], slack: float = 0.03
) -> Bool[np.ndarray, " m"]:
    """Return whether points are in the image with nothing more than `slack` in front of them."""
    pixels, _ = camera.project(points)
    origin, directions, _ = camera.rays(pixels)
    lengths = trace(solid.distance, origin[:, None], directions, *_enter_box(solid, origin, directions))
    inside = ((pixels >= 0) & (pixels <= camera.size)).all(axis=1)
    return inside & (lengths > np.linalg.norm(points - origin, axis=1) - slack)
