"""Means over views, as figures of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np

from nerfgen_ns.evaluation.protocol import Figure


def mean_figure(
    name: str,
    values: Iterable[float],
    unit: str,
    better: Literal["higher", "lower", "neither"],
    note: str = "",
    reason: str = "it is not defined for any view",
) -> Figure:
    """The mean of the values that are defined.

    Args:
        values: NaN where one is not defined.
        note: said of the figure, whether or not it has a value.
        reason: why there is no value, where none is defined.
    """
    every = np.array(list(values), dtype=np.float64)
    defined = every[~np.isnan(every)]
    notes = [note] if note else []
    if len(defined) == 0:
        return Figure(name, None, unit, better, 0, "; ".join([*notes, reason]))
    if len(defined) < len(every):
        notes.append(f"not defined for {len(every) - len(defined)} of {len(every)}")
    mean = float(defined.mean())
    if math.isinf(mean):
        notes.append("infinite: a render equals its photograph")
    return Figure(name, mean if math.isfinite(mean) else None, unit, better, len(defined), "; ".join(notes))


def without_value(figures: Iterable[Figure]) -> dict[str, list[str]]:
    """The names of the figures that have no value, by the note that says why."""
    names: dict[str, list[str]] = {}
    for figure in figures:
        if figure.value is None:
            names.setdefault(figure.note, []).append(figure.name)
    return names


def finite_or_none(value: float) -> float | None:
    """A value as JSON can hold it."""
    return float(value) if math.isfinite(value) else None
