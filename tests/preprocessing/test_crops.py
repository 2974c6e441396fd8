import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfgen_ns.cameras.projection import Cameras, observe, project
from nerfgen_ns.preprocessing.crops import (
    CROP_WIDTH,
    Crop,
    crop_around,
    crop_of_landmarks,
    crop_photograph,
    crop_side_guess,
    crops_from_cameras,
    square_crop,
)
from nerfgen_ns.preprocessing.landmarks.models import (
    LANDMARK_CENTER,
    LANDMARK_COUNT,
    LANDMARK_RADIUS,
    LandmarkScheme,
    mirror_partners,
)


def similarity(scale, degrees, shift, size):
    angle = np.radians(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Crop(np.column_stack([linear, shift]), size)


def face_like_points():
    """468 points with a face's symmetry, extent and axes, in the class frame."""
    points = np.random.default_rng(0).normal(size=(LANDMARK_COUNT, 3)) * [0.0, 0.1, 0.05]
    partners = mirror_partners()
    side = np.sign(np.arange(LANDMARK_COUNT) - partners)
    points = (points + points[partners]) / 2
    points[:, 0] = 0.13 * side
    points[[234, 454]] = [[-0.26, 0.0, -0.1], [0.26, 0.0, -0.1]]
    points[[10, 152]] = [[0.0, 0.3, 0.0], [0.0, -0.3, 0.0]]
    points -= points.mean(axis=0)
    points *= LANDMARK_RADIUS / np.sqrt((points**2).sum(axis=1).mean())
    return points + LANDMARK_CENTER


def test_projecting_into_the_crop_is_cropping_the_projection():
    crop = similarity(0.7, 25.0, [-30.0, 12.0], 256)
    rotation = Rotation.from_euler("YXZ", [30, -10, 5], degrees=True).as_matrix()
    translation, focal, center = np.array([0.1, -0.05, -2.7]), 800.0, np.array([300.0, 200.0])
    photograph_camera = Cameras(rotation[None], translation[None], np.array([focal]), center[None])
    roll = np.eye(3)
    roll[:2, :2] = crop.matrix[:, :2] / crop.scale * [[1, -1], [-1, 1]]
    crop_camera = Cameras(
        (roll @ rotation)[None],
        (roll @ translation)[None],
        np.array([focal * crop.scale]),
        crop.to_crop(center)[None],
    )
    points = np.random.default_rng(1).normal(size=(30, 3)) * 0.2
    np.testing.assert_allclose(
        project(crop_camera, points)[0], crop.to_crop(project(photograph_camera, points)[0])
    )


def test_to_photograph_undoes_to_crop():
    crop = similarity(1.8, -140.0, [500.0, 3.0], 64)
    points = np.random.default_rng(2).uniform(0, 300, size=(20, 2))
    np.testing.assert_allclose(crop.to_photograph(crop.to_crop(points)), points)


@pytest.mark.parametrize("yaw,pitch,roll", [(0, 0, 0), (35, 0, 0), (-20, 10, 0), (15, -5, 40), (0, 0, 170)])
def test_the_crop_is_centered_on_the_head_upright_and_of_one_scale(yaw, pitch, roll):
    points = face_like_points()
    rotation = Rotation.from_euler("ZXY", [roll, pitch, yaw], degrees=True).as_matrix()
    camera = Cameras(
        rotation[None], np.array([[3.0, -2.0, -400.0]]), np.array([60000.0]), np.array([[500.0, 400.0]])
    )
    crop = crop_around(observe(camera, points)[0], 256)
    head = project(camera, np.array([[0.0, 0, 0], [0.0, 0.01, 0]]))[0]
    np.testing.assert_allclose(crop.to_crop(head[0]), [128, 128], atol=0.7)
    up = crop.to_crop(head[1]) - crop.to_crop(head[0])
    assert np.degrees(np.arctan2(up[0], -up[1])) == pytest.approx(0, abs=0.3)
    assert crop.scale == pytest.approx(256 / (150 * CROP_WIDTH), rel=0.01)


@pytest.mark.parametrize("scale", [0.11, 0.45, 1.0, 2.3])
def test_resampling_puts_colors_where_the_similarity_says(scale):
    rows, columns = np.mgrid[:240, :240]
    photograph = np.stack([columns, 240 - columns, rows], axis=-1).astype(np.uint8)
    size = 16 if scale < 0.2 else 32
    crop = similarity(scale, 20.0, np.zeros(2), size)
    shift = size / 2 - crop.matrix[:, :2] @ [120.0, 120.0]
    crop = Crop(np.column_stack([crop.matrix[:, :2], shift]), size)
    image = crop_photograph(photograph, crop).astype(float)
    ticks = np.arange(size) + 0.5
    x, y = np.moveaxis(crop.to_photograph(np.stack(np.meshgrid(ticks, ticks), axis=-1)) - 0.5, -1, 0)
    error = image - np.stack([x, 240 - x, y], axis=-1)
    assert np.abs(error).max() < 2
    # Pillow rounds down, which darkens alike whichever way the color rises; a shift would not.
    darker = (error[..., 0].mean() + error[..., 1].mean()) / 2
    np.testing.assert_allclose(error[..., [0, 2]].mean(axis=(0, 1)) - darker, 0, atol=0.15)
    assert -0.6 < darker < 0.3


def test_beyond_the_edge_its_color_goes_on():
    photograph = np.zeros((50, 50, 3), np.uint8)
    photograph[:, -1] = [10, 200, 30]
    image = crop_photograph(photograph, Crop(np.array([[1.0, 0, -30], [0, 1.0, 0]]), 50))
    np.testing.assert_array_equal(image[:, 25:], np.broadcast_to([10, 200, 30], (50, 25, 3)))


def far_cameras(angles, pixels_per_unit=150.0):
    """Cameras so far away that they are nearly orthographic; `angles` are yaw, pitch and roll in degrees."""
    rotation = Rotation.from_euler("ZXY", [(roll, pitch, yaw) for yaw, pitch, roll in angles], degrees=True)
    count = len(angles)
    translation = np.tile([3.0, -2.0, -400.0], (count, 1))
    focal = np.full(count, 400 * pixels_per_unit)
    return Cameras(rotation.as_matrix(), translation, focal, np.tile([500.0, 400.0], (count, 1)))


ANGLES = [(0, 0, 0), (35, 0, 0), (-20, 40, 25), (180, 10, -60)]


def test_the_crop_of_a_camera_is_centered_on_the_class_frame_upright_and_of_one_scale():
    cameras = far_cameras(ANGLES)
    points = np.array([[0.0, 0, 0], [0.0, 0.1, 0]])
    for crop, (middle, above) in zip(crops_from_cameras(cameras, 256), project(cameras, points), strict=True):
        np.testing.assert_allclose(crop.to_crop(middle), [128, 128], atol=1e-6)
        up = crop.to_crop(above) - [128, 128]
        assert up[0] == pytest.approx(0, abs=0.01) and up[1] < 0
        assert crop.scale == pytest.approx(256 / (150 * CROP_WIDTH), rel=1e-6)


def test_the_crop_of_a_camera_is_that_of_the_face_mesh_in_three_dimensions():
    cameras = far_cameras([(20, -5, 15)])
    by_landmarks = crop_around(observe(cameras, face_like_points())[0], 256)
    (by_camera,) = crops_from_cameras(cameras, 256)
    np.testing.assert_allclose(by_camera.matrix, by_landmarks.matrix, rtol=0.01, atol=1.0)


def test_landmarks_alone_tell_the_crop_roughly():
    random = np.random.default_rng(3)
    points = random.normal(size=(40, 3))
    points -= points.mean(axis=0)
    scheme = LandmarkScheme(40, radius=float(np.sqrt((points**2).sum(axis=1).mean())) / 4)
    cameras = far_cameras([(0, 0, 0), (60, 20, 0)])
    landmarks = project(cameras, points / 4)
    sides = crop_side_guess(landmarks, scheme)
    np.testing.assert_allclose(sides, 150 * CROP_WIDTH, rtol=0.2)
    for own, side, origin in zip(landmarks, sides, project(cameras, np.zeros((1, 3)))[:, 0], strict=True):
        crop = crop_of_landmarks(own, scheme, 128)
        np.testing.assert_allclose(crop.to_crop(origin), [64, 64], atol=0.5)
        assert crop.scale == pytest.approx(128 / side)
        own[:20] = np.nan
        assert np.abs(crop_of_landmarks(own, scheme, 128).to_crop(origin) - 64).max() < 25


def test_an_aligned_square_photograph_of_the_crops_size_stays_as_it_is():
    photograph = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(crop_photograph(photograph, square_crop(64, 64, 64)), photograph)


def test_an_aligned_photograph_is_padded_to_a_square():
    photograph = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    image = crop_photograph(photograph, square_crop(64, 40, 64))
    np.testing.assert_array_equal(image[12:52], photograph)
    np.testing.assert_array_equal(image[:12], np.broadcast_to(photograph[0], (12, 64, 3)))
    assert square_crop(300, 200, 64).scale == pytest.approx(64 / 300)


def test_a_matte_is_cropped_like_its_photograph():
    photograph = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    crop = similarity(0.6, 20.0, [3.0, -4.0], 32)
    for channel, matte in enumerate(np.moveaxis(photograph, -1, 0)):
        np.testing.assert_array_equal(
            crop_photograph(matte, crop), crop_photograph(photograph, crop)[..., channel]
        )
