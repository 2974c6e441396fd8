"""Crops of photographs whose landmarks come from a file, by a first fit of all cameras."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfgen_ns.cameras.projection import Cameras, project
from nerfgen_ns.preprocessing.camera_fitting.fit import crops_of_file_landmarks
from nerfgen_ns.preprocessing.crops import CROP_WIDTH
from nerfgen_ns.preprocessing.landmarks.files import FileLandmarks
from nerfgen_ns.preprocessing.landmarks.models import LandmarkScheme

PIXELS_PER_UNIT = np.linspace(100, 400, 40)
"""Photographs of one class come in all sizes."""


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Symmetric objects, turned and rolled, anywhere in their photographs; the true cameras."""
    random = np.random.default_rng(5)
    half = random.normal(size=(6, 3))
    points = np.concatenate([half, half * [-1, 1, 1]])
    center = np.array([0.0, -0.1, 0.2])
    points -= points.mean(axis=0)
    points = points * 0.3 / np.sqrt((points**2).sum(axis=1).mean()) + center
    angles = random.uniform([-20, -15, -50], [20, 15, 50], (40, 3))
    focal = 2.1 * CROP_WIDTH * PIXELS_PER_UNIT
    translation = np.column_stack([random.uniform(-0.2, 0.2, (40, 2)), np.full(40, -2.1 * CROP_WIDTH)])
    cameras = Cameras(
        Rotation.from_euler("ZXY", angles, degrees=True).as_matrix(),
        translation,
        focal,
        random.uniform(300, 600, (40, 2)),
    )
    landmarks = project(cameras, points)
    confidence = np.ones((40, 12))
    confidence[::7, 3], landmarks[::7, 3] = 0, np.nan
    confidence[5, 2:], landmarks[5, 2:] = 0, np.nan
    scheme = LandmarkScheme(12, np.roll(np.arange(12), 6), center, 0.3)
    folder = tmp_path_factory.mktemp("files")
    return FileLandmarks(folder / "a.csv", scheme, landmarks, confidence, np.full((40, 2), 900.0)), cameras


def test_objects_come_to_the_middle_upright_and_of_one_scale(collection):
    found, cameras = collection
    crops = crops_of_file_landmarks(found, 128, 2.1)
    assert crops[5] is None, "two landmarks make no camera"
    ends = project(cameras, np.array([[0.0, 0, 0], [0.0, 0.05, 0]]))
    for place, crop in enumerate(crops):
        if crop is not None:
            middle, above = crop.to_crop(ends[place])
            np.testing.assert_allclose(middle, [64, 64], atol=5)
            up = above - middle
            assert abs(np.degrees(np.arctan2(up[0], -up[1]))) < 5
            assert crop.scale * PIXELS_PER_UNIT[place] * CROP_WIDTH == pytest.approx(128, rel=0.1)


def test_without_any_usable_landmarks_there_are_no_crops(collection):
    found, _ = collection
    empty = FileLandmarks(found.path, found.scheme, found.landmarks, 0 * found.confidence, found.sizes)
    assert crops_of_file_landmarks(empty, 128, 2.1) == [None] * 40
