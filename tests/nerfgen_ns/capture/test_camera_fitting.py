import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfgen_ns.capture.camera_fitting import fit_camera, fit_cameras
from nerfgen_ns.capture.cameras import (
    Cameras,
    first_guess,
    motion_jacobian,
    observe,
    point_jacobian,
    project,
    rotation_matrices,
)
from nerfgen_ns.capture.canonical_landmarks import estimate_canonical_landmarks
from nerfgen_ns.capture.face_mesh import LANDMARK_CENTRE, LANDMARK_COUNT, LANDMARK_RADIUS, mirror_partners

FOCAL, SIZE = 537.6, 256


def make_shape(generator, pairs=20, middle=8):
    """A symmetric shape in the class frame's place, and its mirror partners."""
    half = generator.normal(size=(pairs, 3)) * [1.0, 1.2, 0.5] + [1.5, 0.0, 0.0]
    plane = generator.normal(size=(middle, 3)) * [0.0, 1.2, 0.8]
    points = np.concatenate([half, half * [-1, 1, 1], plane])
    partners = np.concatenate([np.arange(pairs) + pairs, np.arange(pairs), np.arange(middle) + 2 * pairs])
    points = points - points.mean(axis=0)
    points *= LANDMARK_RADIUS / np.sqrt((points**2).sum(axis=1).mean())
    return points + LANDMARK_CENTRE, partners


def make_cameras(generator, count):
    angles = generator.normal(size=(count, 3)) * [20.0, 8.0, 3.0]
    rotation = Rotation.from_euler("YXZ", angles, degrees=True).as_matrix()
    translation = generator.normal(size=(count, 3)) * 0.05 + [0.0, 0.0, -2.7]
    centre = np.full((count, 2), SIZE / 2) + generator.normal(size=(count, 2)) * 5
    return Cameras(rotation, translation, np.full(count, FOCAL), centre)


def angles_between(first, second):
    turns = Rotation.from_matrix(first.rotation) * Rotation.from_matrix(second.rotation).inv()
    return np.degrees(turns.magnitude())


def test_projection_follows_the_pixel_convention():
    camera = Cameras(
        np.eye(3)[None], np.array([[0.0, 0.0, -2.0]]), np.array([100.0]), np.array([[64.0, 60.0]])
    )
    pixels = project(camera, np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]))[0]
    np.testing.assert_allclose(pixels, [[64, 60], [89, 60], [64, 35]])
    np.testing.assert_allclose(camera.camera_to_world()[0, :3, 3], [0, 0, 2])


def test_rotation_matrices_agree_with_scipy_also_near_zero():
    vectors = np.random.default_rng(0).normal(size=(50, 3)) * np.logspace(-12, 0, 50)[:, None]
    np.testing.assert_allclose(
        rotation_matrices(vectors), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-14
    )


def test_motion_jacobian_equals_finite_differences():
    generator = np.random.default_rng(1)
    points, _ = make_shape(generator)
    cameras = make_cameras(generator, 5)
    analytic = motion_jacobian(cameras, points)
    for parameter in range(6):
        step = np.zeros((5, 6))
        step[:, parameter] = 1e-6
        difference = (observe(cameras.moved(step), points) - observe(cameras.moved(-step), points)) / 2e-6
        np.testing.assert_allclose(analytic[..., parameter], difference, atol=1e-4)


def test_point_jacobian_equals_finite_differences():
    generator = np.random.default_rng(2)
    points, _ = make_shape(generator)
    cameras = make_cameras(generator, 3)
    analytic = point_jacobian(cameras, points)
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = 1e-6
        moved = project(cameras, points + step) - project(cameras, points - step)
        np.testing.assert_allclose(analytic[..., :2, axis], moved / 2e-6, atol=1e-4)
    # Depth is linear in the position; what all points share leaves with their mean.
    shift = generator.normal(size=points.shape)
    shift -= shift.mean(axis=0)
    depth = (observe(cameras, points + shift) - observe(cameras, points))[..., 2]
    np.testing.assert_allclose(np.einsum("nmj,mj->nm", analytic[..., 2, :], shift), depth, atol=1e-9)


def test_planted_cameras_are_recovered_exactly():
    generator = np.random.default_rng(3)
    points, _ = make_shape(generator)
    planted = make_cameras(generator, 40)
    landmarks = observe(planted, points)
    guess = first_guess(landmarks, points, planted.focal, planted.centre)
    fitted = fit_cameras(landmarks, points, guess)
    assert angles_between(fitted, planted).max() < 1e-6
    np.testing.assert_allclose(fitted.translation, planted.translation, atol=1e-8)
    assert angles_between(guess, planted).max() > 0.1, "the guess alone must not pass"


def test_one_camera_is_fitted_from_its_landmarks_alone():
    generator = np.random.default_rng(4)
    points, _ = make_shape(generator)
    planted = make_cameras(generator, 1)
    fitted = fit_camera(observe(planted, points)[0], points, FOCAL, tuple(planted.centre[0]))
    assert angles_between(fitted, planted)[0] < 1e-6


def test_gross_outliers_barely_move_the_camera():
    generator = np.random.default_rng(5)
    points, _ = make_shape(generator)
    planted = make_cameras(generator, 20)
    landmarks = observe(planted, points)
    landmarks[:, :3, :2] += 60
    guess = first_guess(landmarks, points, planted.focal, planted.centre)
    assert np.median(angles_between(fit_cameras(landmarks, points, guess), planted)) < 1.5
    assert np.median(angles_between(guess, planted)) > 2.5


def test_wrong_relative_depth_costs_less_than_believing_it():
    generator = np.random.default_rng(6)
    points, _ = make_shape(generator)
    planted = make_cameras(generator, 20)
    landmarks = observe(planted, points)
    landmarks[..., 2] *= 1.5
    guess = first_guess(landmarks, points, planted.focal, planted.centre)
    fitted = fit_cameras(landmarks, points, guess)
    assert np.median(angles_between(fitted, planted)) < 0.6 * np.median(angles_between(guess, planted))


@pytest.mark.parametrize("count", [3, 60])
def test_joint_estimation_recovers_planted_shape_and_cameras_up_to_gauge(count):
    generator = np.random.default_rng(count)
    points, partners = make_shape(generator)
    planted = make_cameras(generator, count)
    landmarks = observe(planted, points)
    estimated = estimate_canonical_landmarks(
        landmarks, planted.focal, planted.centre, partners, LANDMARK_CENTRE, LANDMARK_RADIUS
    )
    fitted = fit_cameras(
        landmarks, estimated, first_guess(landmarks, estimated, planted.focal, planted.centre)
    )
    gauge = (Rotation.from_matrix(fitted.rotation).inv() * Rotation.from_matrix(planted.rotation)).mean()
    turned = gauge.apply(points - LANDMARK_CENTRE) + LANDMARK_CENTRE
    assert np.abs(turned - estimated).max() < 0.01 * LANDMARK_RADIUS
    unturned = Rotation.from_matrix(fitted.rotation) * gauge
    assert np.degrees((unturned * Rotation.from_matrix(planted.rotation).inv()).magnitude()).max() < 0.2


def test_the_class_frame_is_symmetric_upright_and_in_its_place():
    generator = np.random.default_rng(7)
    points, partners = make_shape(generator)
    planted = make_cameras(generator, 100)
    landmarks = observe(planted, points)
    estimated = estimate_canonical_landmarks(
        landmarks, planted.focal, planted.centre, partners, LANDMARK_CENTRE, LANDMARK_RADIUS
    )
    np.testing.assert_allclose(estimated[partners] * [-1, 1, 1], estimated, atol=1e-12)
    np.testing.assert_allclose(estimated.mean(axis=0), LANDMARK_CENTRE, atol=1e-12)
    radius = np.sqrt(((estimated - LANDMARK_CENTRE) ** 2).sum(axis=1).mean())
    assert radius == pytest.approx(LANDMARK_RADIUS)
    # Upright as the cameras see it on average: theirs is 8° / √100 from the truth.
    assert np.abs(estimated - points).max() < np.radians(3) * 3 * LANDMARK_RADIUS


def test_mirror_partners_are_an_involution_with_a_midline():
    partners = mirror_partners()
    assert (partners[partners] == np.arange(LANDMARK_COUNT)).all()
    assert (partners == np.arange(LANDMARK_COUNT)).sum() == 28
