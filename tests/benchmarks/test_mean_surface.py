"""The mean surface and the warp, on shapes whose pictures are known."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from benchmarks.mean_surface import MeanSurface, mean_landmarks, surface_of_landmarks, warp
from nerfgen_ns.cameras.projection import Cameras, project, z_depths

SIZE = 48
RANDOM = np.random.default_rng(0)


def cameras_at(*angles: tuple[float, float]) -> Cameras:
    """Cameras of yaw and pitch that look at the origin."""
    rotation = Rotation.from_euler("YX", np.array(angles) * [1, -1], degrees=True).as_matrix()
    matrices = np.concatenate([rotation, 2.7 * rotation[..., 2:]], axis=2)
    intrinsics = np.tile([2.1 * SIZE, 2.0 * SIZE, SIZE / 2 + 1.0, SIZE / 2], (len(angles), 1))
    return Cameras.from_camera_to_world(matrices, intrinsics[:, :2], intrinsics[:, 2:])


def camera(yaw: float = 0.0, pitch: float = 0.0) -> Cameras:
    return cameras_at((yaw, pitch))


def landmarks(count: int = 20) -> np.ndarray:
    return RANDOM.uniform([-0.25, -0.3, 0.0], [0.25, 0.2, 0.3], (count, 3))


def square(depth: float, half: float) -> MeanSurface:
    corners = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    points = np.column_stack([corners, np.full(4, depth)])
    return MeanSurface(points, np.array([[0, 1, 2], [0, 2, 3]]))


def test_a_point_before_the_camera_is_seen_in_the_middle_and_left_of_it_where_the_camera_turns() -> None:
    points = np.array([[0.0, 0.0, 0.0], [0.1, 0.2, 0.5]])
    seen = project(camera(), points)[0]
    assert seen[0] == pytest.approx([SIZE / 2 + 1, SIZE / 2])
    assert seen[1] == pytest.approx([25 + 2.1 * 48 * 0.1 / 2.2, 24 - 2.0 * 48 * 0.2 / 2.2])
    assert z_depths(camera(), points)[0] == pytest.approx([2.7, 2.2])


def test_the_mean_landmarks_of_one_shape_are_that_shape() -> None:
    shape = landmarks()
    cameras = cameras_at((-30, 5), (0, 0), (10, -10), (35, 3))
    np.testing.assert_allclose(mean_landmarks(cameras, project(cameras, shape)), shape, atol=1e-9)


def test_the_mean_landmarks_lie_between_the_shapes_that_are_seen() -> None:
    shape, offset = landmarks(), np.array([0.02, 0.0, 0.0])
    cameras = cameras_at((-30, 0), (-30, 0), (30, 0), (30, 0))
    shapes = np.stack([shape - offset, shape + offset] * 2)
    np.testing.assert_allclose(mean_landmarks(cameras, project(cameras, shapes)), shape, atol=2e-3)


def test_a_photograph_warped_to_its_own_camera_stays_as_it_is() -> None:
    image = RANDOM.random((SIZE, SIZE, 3))
    warped, depth = warp(image, surface_of_landmarks(landmarks()), camera(12, 4), camera(12, 4))
    np.testing.assert_allclose(warped, image, atol=1e-9)
    assert np.isfinite(depth).all()


@pytest.mark.parametrize("yaw", [-20.0, 25.0])
def test_a_picture_on_a_flat_surface_turns_with_it(yaw: float) -> None:
    """Colors that are the place on the surface: so they are after the warp."""
    source, target = camera(), camera(yaw)
    rows, columns = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5, indexing="ij")

    def places(one: Cameras) -> np.ndarray:
        slopes = (np.stack([columns, rows], axis=-1) - one.center[0]) / one.focal[0] * [1, -1]
        matrix = one.camera_to_world()[0]
        directions = np.concatenate([slopes, -np.ones((SIZE, SIZE, 1))], axis=-1) @ matrix[:3, :3].T
        return matrix[:3, 3] + directions * (-matrix[2, 3] / directions[..., 2:])

    grid = np.linspace(-1.5, 1.5, 25)
    points = np.array([[x, y, 0.0] for y in grid for x in grid])
    corners = [25 * row + column for row in range(24) for column in range(24)]
    triangles = [[c, c + 1, c + 26] for c in corners] + [[c, c + 26, c + 25] for c in corners]
    warped, depth = warp(places(source), MeanSurface(points, np.array(triangles)), source, target)
    seen = places(target)
    expected = z_depths(target, seen.reshape(-1, 3)).reshape(SIZE, SIZE)
    inside = np.abs(expected - 2.7) < 0.2
    inside &= (np.abs(seen[..., :2]) < 0.45).all(axis=-1)
    assert inside.sum() > 500
    np.testing.assert_allclose(warped[inside], seen[inside], atol=0.01)
    np.testing.assert_allclose(depth[inside], expected[inside], atol=0.005)


def test_of_two_surfaces_the_nearer_is_seen_whichever_comes_first() -> None:
    near, far = square(0.4, 0.2), square(-0.2, 0.9)
    image = RANDOM.random((SIZE, SIZE, 3))
    for first, second in ((near, far), (far, near)):
        both = MeanSurface(
            np.concatenate([first.points, second.points]),
            np.concatenate([first.triangles, second.triangles + 4]),
        )
        _, depth = warp(image, both, camera(), camera())
        assert depth[SIZE // 2, SIZE // 2] == pytest.approx(2.3)
        assert depth[2, 2] == pytest.approx(2.9)


def test_what_no_surface_covers_keeps_its_color_at_no_depth() -> None:
    image = RANDOM.random((SIZE, SIZE, 3))
    warped, depth = warp(image, square(0.0, 0.1), camera(), camera(30))
    assert np.isinf(depth[0, 0])
    np.testing.assert_allclose(warped[0, 0], image[0, 0])


def test_the_surface_covers_every_view_of_the_class() -> None:
    surface = surface_of_landmarks(landmarks())
    for yaw in (-45.0, 0.0, 45.0):
        _, depth = warp(np.zeros((SIZE, SIZE, 3)), surface, camera(), camera(yaw, 15.0))
        assert np.isfinite(depth).all()
