"""Parts of an HTML report: templates and histograms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float


@cache
def page_template(package: str, name: str, **filters: Any) -> Any:
    """Load a template from the folder `templates` of a package: a jinja2 `Template`.

    Args:
        package: its import name.
        name: the template's file.
        filters: functions that the template calls by these names.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package),
        # Names of files and classes come from other people: all of them are escaped.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(name)


MOST_BINS = 20
ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Bar:
    """One bin: from `low` to less than `high`."""

    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Histogram:
    """Bars of one width side by side; `decimals` is how many the edges of the bins need."""

    bars: list[Bar]
    median: float
    decimals: int

    @property
    def most(self) -> int:
        """Return the count of the highest bar."""
        return max(bar.count for bar in self.bars)


def histogram(values: Float[np.ndarray, " n"]) -> Histogram | None:
    """Compute the histogram of the finite values in about `MOST_BINS` round bins or fewer; None if empty."""
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return None
    low, high = float(values.min()), float(values.max())
    # Values that are almost equal make one bin, at a scale of their own size.
    step = _round_up(max((high - low) / MOST_BINS, 1e-3 * max(abs(low), abs(high)), 1e-9))
    first, last = np.floor(low / step + 1e-9), np.floor(high / step + 1e-9) + 1
    if last - first > MOST_BINS:
        step = _round_up(step * 1.01)
        first, last = np.floor(low / step + 1e-9), np.floor(high / step + 1e-9) + 1
    bins = np.clip(np.floor(values / step + 1e-9) - first, 0, last - first - 1).astype(int)
    counts = np.bincount(bins, minlength=int(last - first))
    edges = (first + np.arange(len(counts) + 1)) * step
    bars = [
        Bar(float(low), float(high), int(count))
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    decimals = next((d for d in range(9) if abs(step - round(step, d)) < 1e-6 * step), 9)
    return Histogram(bars, float(np.median(values)), decimals)


def _round_up(step: float) -> float:
    scale = 10.0 ** np.floor(np.log10(step))
    return float(next(digit for digit in ROUND if digit * scale >= step * (1 - 1e-9)) * scale)
