"""Histograms: round bins that hold every value."""

import numpy as np
import pytest

from nerfgen_ns.utils.html_pages import MOST_BINS, histogram


def test_known_values_fall_into_known_bins():
    drawn = histogram(np.array([0.5, 1.0, 1.5, 19.9, np.nan]))
    assert drawn is not None
    assert (drawn.bars[0].low, drawn.bars[0].high, drawn.bars[0].count) == (0.0, 1.0, 1)
    assert drawn.bars[1].count == 2 and drawn.bars[-1].count == 1
    assert drawn.median == 1.25 and drawn.decimals == 0 and drawn.most == 2


@pytest.mark.parametrize("scale", [1e-4, 0.3, 7.0, 180.0, 1e6])
def test_every_value_is_in_the_bin_that_says_so(scale):
    values = np.random.default_rng(0).normal(size=700) * scale
    drawn = histogram(values)
    assert drawn is not None and 5 <= len(drawn.bars) <= MOST_BINS + 1
    assert sum(bar.count for bar in drawn.bars) == 700
    for bar in drawn.bars:
        tolerance = 1e-6 * scale
        inside = ((values >= bar.low - tolerance) & (values < bar.high + tolerance)).sum()
        assert abs(inside - bar.count) <= 1
        assert bar.low == pytest.approx(round(bar.low, drawn.decimals), abs=1e-9 * scale)


def test_equal_values_make_one_bar_and_no_values_none():
    drawn = histogram(np.full(9, 2.1))
    assert drawn is not None and [bar.count for bar in drawn.bars] == [9]
    assert histogram(np.array([np.nan])) is None
