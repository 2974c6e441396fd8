"""Some of many, at even distances."""

from typing import Literal

import numpy as np
from jaxtyping import Int


def evenly_spaced(
    total: int, count: int, rule: Literal["ends", "ends_rounded_down", "starts", "middles"] = "ends"
) -> Int[np.ndarray, " chosen"]:
    """Choose `count` of the numbers 0 … total − 1 at even distances, in order; all if there are fewer.

    Args:
        rule: `ends` chooses the first, the last and the numbers nearest to even steps between them;
            `ends_rounded_down` the numbers just before these steps. The other rules divide all numbers into
            `count` parts: `starts` chooses the first of each part, `middles` the middle one.
    """
    count = min(count, total)
    steps = np.arange(count)
    if rule == "ends":
        return np.linspace(0, total - 1, count).round().astype(int)
    if rule == "ends_rounded_down":
        return steps * (total - 1) // max(count - 1, 1)
    if rule == "starts":
        return steps * total // max(count, 1)
    return (2 * steps + 1) * total // max(2 * count, 1)
