import numpy as np
import pytest

from nerfgen_ns.utils.spacing import evenly_spaced

RULES = ("ends", "ends_rounded_down", "starts", "middles")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("ends", [0, 3, 6, 9]),
        ("ends_rounded_down", [0, 3, 6, 9]),
        ("starts", [0, 2, 5, 7]),
        ("middles", [1, 3, 6, 8]),
    ],
)
def test_four_of_ten(rule, expected):
    assert evenly_spaced(10, 4, rule).tolist() == expected


def test_the_two_rules_of_the_ends_differ_between_the_ends():
    assert evenly_spaced(6, 4).tolist() == [0, 2, 3, 5]
    assert evenly_spaced(6, 4, "ends_rounded_down").tolist() == [0, 1, 3, 5]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("total", "count"), [(0, 3), (1, 1), (7, 1), (7, 6), (7, 7), (7, 100), (1001, 37)])
def test_numbers_differ_are_in_order_and_even(rule, total, count):
    chosen = evenly_spaced(total, count, rule)
    assert len(chosen) == min(total, count)
    assert set(chosen.tolist()) <= set(range(total))
    gaps = np.diff(chosen)
    assert (gaps > 0).all()
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1
