"""The preflight's concerns, on arrays whose answer is known."""

import numpy as np
import pytest

from nerfgen_ns.preprocessing.report import preflight


def test_few_photographs_are_a_concern_and_many_are_not():
    concern = preflight.too_few(12)
    assert concern is not None and concern.text.startswith("12 photographs")
    assert preflight.too_few(preflight.FEW_PHOTOGRAPHS) is None


@pytest.mark.parametrize("middle", [0.0, 35.0, 180.0])
def test_a_narrow_spread_of_yaw_is_a_concern_wherever_it_lies(middle):
    narrow = middle + np.linspace(-3, 3, 601)
    concern = preflight.nearly_all_frontal((narrow + 180) % 360 - 180)
    assert concern is not None and "±2.0°" in concern.text


def test_portraits_and_views_all_around_are_no_concern():
    generator = np.random.default_rng(0)
    assert preflight.nearly_all_frontal(generator.normal(0, 6.0, 500)) is None
    assert preflight.nearly_all_frontal(generator.uniform(-180, 180, 500)) is None


def test_a_few_turned_views_among_frontal_ones_do_not_hide_the_concern():
    yaw = np.zeros(100)
    yaw[:10] = 40
    assert preflight.nearly_all_frontal(yaw) is not None


def test_objects_that_lie_on_their_side_are_a_concern_and_a_few_are_not():
    turn = np.full(10, -3.0)
    turn[:6] = 88, 91, -90, 95, -84, 89
    concern = preflight.lying(turn)
    assert concern is not None and concern.photographs == (0, 1, 2, 3, 4, 5) and "x and y" in concern.mend
    assert preflight.lying(turn[2:]) is None and preflight.lying(np.zeros(0)) is None


def test_many_rejections_name_their_most_common_reason():
    concern = preflight.many_rejected(5, ["no face", "torn", "no face"])
    assert concern is not None and "3 of 8" in concern.text and "2 of them for: no face" in concern.text
    assert preflight.many_rejected(10, ["no face", "torn", "no face"]) is None


def test_a_large_median_error_shows_the_worst_tenth():
    error = np.arange(20.0)
    error[3] = np.nan
    concern = preflight.large_error(error, 0.05)
    assert concern is not None and concern.photographs == (19, 18)
    assert preflight.large_error(error, 0.02) is None
    assert preflight.large_error(np.full(5, np.nan), None) is None


def test_focal_lengths_that_no_lens_or_no_other_photograph_has_are_found():
    focal = np.full(50, 2.0)
    assert preflight.extreme_focal(focal) is None
    focal[[4, 9, 20]] = 0.4, 7.0, 30.0
    concern = preflight.extreme_focal(focal)
    assert concern is not None and concern.photographs == (4, 9, 20)


def test_mattes_of_nothing_and_of_everything_are_found():
    mean = np.array([0.4, 0.0, 0.99, 0.9, np.nan])
    border = np.array([0.3, 0.0, 0.95, 0.96, np.nan])
    empty, full = preflight.useless_mattes(mean, border)
    assert (empty.name, empty.photographs) == ("empty matte", (1,))
    assert (full.name, full.photographs) == ("full matte", (2, 3))
    assert preflight.useless_mattes(mean[:1], border[:1]) == []


def test_duplicates_of_another_identity_are_found_and_views_of_one_are_not():
    same = np.array([1, 0, -1, 4, 3, -1])
    mirrored = np.array([1, -1, 5, -1, -1, 2])
    identity = np.array([0, 1, 2, 3, 3, 5])
    twice, flipped = preflight.duplicates(same, mirrored, identity)
    assert (twice.name, twice.photographs) == ("near-duplicates", (0, 1))
    assert (flipped.name, flipped.photographs) == ("mirrored duplicates", (2, 5))
    nothing = np.full(6, -1)
    assert preflight.duplicates(nothing, nothing, identity) == []
