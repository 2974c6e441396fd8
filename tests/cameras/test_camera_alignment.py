"""Errors of cameras after the gauge, and the two alignments, on cameras with known answers."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfgen_ns.cameras.alignment import (
    Similarity,
    align_collection,
    align_identity,
    camera_errors,
    rotation_errors,
    with_focal_length,
)
from nerfgen_ns.dataset_format.frame import Frame

GAUGE = Similarity(
    0.7, Rotation.from_euler("yxz", [20, -10, 5], degrees=True).as_matrix(), np.array([0.2, -0.1, 0.3])
)


def some_cameras(count: int = 40, seed: int = 0) -> np.ndarray:
    """Cameras around the origin, none of which looks at it exactly."""
    random = np.random.default_rng(seed)
    cameras = np.tile(np.eye(4), (count, 1, 1))
    turns = Rotation.from_euler("yx", random.normal(size=(count, 2)) * [20, 8], degrees=True)
    aside = turns * Rotation.from_euler("zyx", random.normal(size=(count, 3)) * [5, 2, 2], degrees=True)
    cameras[:, :3, :3] = aside.as_matrix()
    cameras[:, :3, 3] = turns.apply([0, 0, 2.7]) * random.uniform(0.9, 1.1, (count, 1))
    return cameras


def turned(cameras: np.ndarray, degrees: np.ndarray, seed: int = 1) -> np.ndarray:
    """The cameras turned around the origin about random axes."""
    axes = np.random.default_rng(seed).normal(size=(len(cameras), 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    result = cameras.copy()
    result[:, :3] = Rotation.from_rotvec(np.radians(degrees)[:, None] * axes).as_matrix() @ cameras[:, :3]
    return result


def pixels(camera: np.ndarray, focal: float, points: np.ndarray) -> np.ndarray:
    """Image coordinates from the principal point, y up."""
    seen = (points - camera[:3, 3]) @ camera[:3, :3]
    return focal * seen[:, :2] / -seen[:, 2:]


def test_a_similarity_of_all_cameras_is_no_error_and_is_found():
    true = some_cameras()
    fitted = GAUGE.move_cameras(true)
    assert rotation_errors(fitted, true).max() < 1e-4
    found = align_collection(true, fitted)
    assert found.scale == pytest.approx(GAUGE.scale, rel=1e-6)
    np.testing.assert_allclose(found.rotation, GAUGE.rotation, atol=1e-6)
    np.testing.assert_allclose(found.translation, GAUGE.translation, atol=1e-6)
    np.testing.assert_allclose(found.move_cameras(true), fitted, atol=1e-6)


def test_the_angle_of_each_turned_camera_is_found_behind_the_gauge():
    true = some_cameras()
    degrees = np.where(np.arange(len(true)) < 12, np.linspace(1, 30, len(true)), 0.0)
    errors = rotation_errors(GAUGE.move_cameras(turned(true, degrees)), true)
    np.testing.assert_allclose(errors, degrees, atol=0.05)


def test_center_errors_are_in_units_of_the_truth_and_the_gauge_is_told():
    true = some_cameras()
    moved = true.copy()
    moved[::2, 0, 3] += 0.1
    moved[1::2, 0, 3] -= 0.1
    errors = camera_errors(GAUGE.move_cameras(moved), true)
    assert errors["camera center error, units of the truth, median"] == pytest.approx(0.1, rel=0.05)
    assert errors["rotation error, degrees, 90th percentile"] < 1e-4
    gauge = np.degrees(Rotation.from_matrix(GAUGE.rotation).magnitude())
    assert errors["gauge removed, degrees"] == pytest.approx(gauge, abs=1e-3)


def test_failed_cameras_do_not_move_the_alignment_of_the_rest():
    true = some_cameras()
    fitted = GAUGE.move_cameras(turned(true, np.where(np.arange(len(true)) % 5 == 0, 40.0, 0.0)))
    fitted[::5, :3, 3] *= 3
    found = align_collection(true, fitted)
    np.testing.assert_allclose(found.move_cameras(true)[1::5], fitted[1::5], atol=0.02)


def test_one_camera_alone_is_aligned_at_the_scale_of_the_frames():
    true = some_cameras(1)
    found = align_collection(true, true)
    assert found.scale == 1.0
    np.testing.assert_allclose(found.move_cameras(true), true, atol=1e-9)


def test_the_alignment_of_an_identity_takes_its_own_camera_onto_the_fitted_one():
    true = some_cameras()
    collection = align_collection(true, GAUGE.move_cameras(true))
    # This head was taken for another: turned, and one and a half times as large.
    own = Similarity(
        1.5 * GAUGE.scale, Rotation.from_euler("x", 8, degrees=True).as_matrix() @ GAUGE.rotation,
        GAUGE.translation,
    )  # fmt: skip
    found = align_identity(true[3], own.move_cameras(true)[3], collection)
    np.testing.assert_allclose(found.move_cameras(true), own.move_cameras(true), atol=1e-6)


def test_another_focal_length_leaves_the_size_of_the_class_as_it_is():
    cameras = some_cameras()
    moved = with_focal_length(cameras, np.full(len(cameras), 300.0), np.full(len(cameras), 250.0))
    for camera, other in zip(cameras, moved, strict=True):
        small = 1e-4 * np.vstack([np.zeros(3), camera[:3, 0], camera[:3, 1]])
        before, after = pixels(camera, 300.0, small), pixels(other, 250.0, small)
        np.testing.assert_allclose(before, after, atol=1e-3)
        np.testing.assert_allclose(before[1:] - before[0], after[1:] - after[0], rtol=1e-3, atol=1e-6)
    same = with_focal_length(cameras, np.full(len(cameras), 300.0), np.full(len(cameras), 300.0))
    np.testing.assert_array_equal(same, cameras)


def test_a_crop_is_taken_back():
    camera = some_cameras()[5]
    focal, angle, scale = 300.0, np.radians(17), 1.8
    cosine, sine = np.cos(angle), np.sin(angle)
    linear = scale * np.array([[cosine, sine], [-sine, cosine]])
    # The crop's camera shows each point where the photograph's point goes, pixels counting downwards.
    points = np.random.default_rng(0).normal(size=(9, 3)) * 0.3
    down = np.array([1.0, -1.0])
    expected = (pixels(camera, focal, points) * down) @ linear.T * down
    for turn in (angle, -angle):
        roll = np.eye(4)
        roll[:3, :3] = Rotation.from_euler("z", turn).as_matrix()
        cropped = camera @ roll
        if np.allclose(pixels(cropped, focal * scale, points), expected):
            break
    else:
        pytest.fail("no roll shows what the crop shows")
    frame = Frame(
        file_path="crop.png",
        transform_matrix=cropped,
        fl_x=focal * scale,
        fl_y=focal * scale,
        cx=8.0,
        cy=8.0,
        w=16,
        h=16,
        photograph_to_crop=np.column_stack([linear, [3.0, 4.0]]),
    )
    found, found_focal = frame.photograph_camera()
    np.testing.assert_allclose(found, camera, atol=1e-9)
    assert found_focal == pytest.approx(focal)
    uncropped = replace(frame, photograph_to_crop=None)
    np.testing.assert_array_equal(uncropped.photograph_camera()[0], cropped)
