import numpy as np
import pytest

from nerfgen_ns.preprocessing.landmarks.models import (
    FACE_MESH,
    LandmarkScheme,
    face_width,
    pairs_of_names,
    partners_of_pairs,
)

FIVE = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


def test_pairs_are_read_from_names_in_several_spellings():
    assert pairs_of_names(FIVE) == [(0, 1), (3, 4)]
    assert pairs_of_names(["Eye L", "nose", "Eye R"]) == [(0, 2)]
    assert pairs_of_names(["LeftEye", "cleft", "collar", "left_ear"]) == []


def test_partners_are_an_involution_that_leaves_the_middle_alone():
    np.testing.assert_array_equal(partners_of_pairs([(0, 1), (3, 4)], 5), [1, 0, 2, 4, 3])
    assert partners_of_pairs([], 5) is None


@pytest.mark.parametrize("pairs", [[(0, 5)], [(1, 1)], [(0, 1), (1, 2)], [(0, 1, 2)]])
def test_pairs_that_cannot_be_are_refused(pairs):
    with pytest.raises(ValueError):
        partners_of_pairs(pairs, 5)


@pytest.mark.parametrize(
    "fields",
    [
        {"count": 3},
        {"count": 5, "names": ("a", "b")},
        {"count": 4, "mirror_partners": np.array([1, 2, 0, 3])},
        {"count": 4, "mirror_partners": np.array([4, 1, 2, 0])},
        {"count": 4, "radius": 0.0},
        {"count": 4, "center": np.array([0.0, 3.0, 0.0])},
    ],
)
def test_schemes_that_contradict_themselves_are_refused(fields):
    with pytest.raises(ValueError):
        LandmarkScheme(**fields)


def test_extent_is_the_diameter_of_a_disc_and_overlooks_missing_landmarks():
    random = np.random.default_rng(0)
    radius, angle = 50 * np.sqrt(random.random(4000)), random.random(4000) * 2 * np.pi
    disc = np.stack([radius * np.cos(angle) + 300, radius * np.sin(angle) - 20], axis=-1)
    scheme = LandmarkScheme(4000)
    assert scheme.extent(disc) == pytest.approx(100, rel=0.02)
    disc[::3] = np.nan
    assert scheme.extent(disc) == pytest.approx(100, rel=0.02)
    disc[1:] = np.nan
    assert np.isnan(scheme.extent(disc))


def test_extent_of_the_face_mesh_is_the_width_of_the_face():
    landmarks = np.random.default_rng(0).normal(size=(3, 468, 2))
    np.testing.assert_array_equal(FACE_MESH.extent(landmarks), face_width(landmarks))
