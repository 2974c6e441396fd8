import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfgen_ns.capture.cameras import Cameras, observe, project
from nerfgen_ns.capture.crops import CROP_WIDTH, Crop, crop_around, crop_photograph
from nerfgen_ns.capture.face_mesh import LANDMARK_CENTRE, LANDMARK_COUNT, LANDMARK_RADIUS, mirror_partners


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
    return points + LANDMARK_CENTRE


def test_projecting_into_the_crop_is_cropping_the_projection():
    crop = similarity(0.7, 25.0, [-30.0, 12.0], 256)
    rotation = Rotation.from_euler("YXZ", [30, -10, 5], degrees=True).as_matrix()
    translation, focal, centre = np.array([0.1, -0.05, -2.7]), 800.0, np.array([300.0, 200.0])
    photograph_camera = Cameras(rotation[None], translation[None], np.array([focal]), centre[None])
    roll = np.eye(3)
    roll[:2, :2] = crop.matrix[:, :2] / crop.scale * [[1, -1], [-1, 1]]
    crop_camera = Cameras(
        (roll @ rotation)[None],
        (roll @ translation)[None],
        np.array([focal * crop.scale]),
        crop.to_crop(centre)[None],
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
def test_the_crop_is_centred_on_the_head_upright_and_of_one_scale(yaw, pitch, roll):
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
def test_resampling_puts_colours_where_the_similarity_says(scale):
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
    # Pillow rounds down, which darkens alike whichever way the colour rises; a shift would not.
    darker = (error[..., 0].mean() + error[..., 1].mean()) / 2
    np.testing.assert_allclose(error[..., [0, 2]].mean(axis=(0, 1)) - darker, 0, atol=0.15)
    assert -0.6 < darker < 0.3


def test_beyond_the_edge_its_colour_goes_on():
    photograph = np.zeros((50, 50, 3), np.uint8)
    photograph[:, -1] = [10, 200, 30]
    image = crop_photograph(photograph, Crop(np.array([[1.0, 0, -30], [0, 1.0, 0]]), 50))
    np.testing.assert_array_equal(image[:, 25:], np.broadcast_to([10, 200, 30], (50, 25, 3)))
