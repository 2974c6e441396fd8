"""A plot of each ablation, with one dot for every seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablation.tables import Row
from nerfgen_ns.utils.files import replace_file

PANELS = (
    ("reconstruction_foreground_psnr", "Reconstruction\nPSNR inside the matte, dB"),
    ("new_views_foreground_psnr", "New views\nPSNR inside the matte, dB"),
    ("new_views_depth_correlation", "New views\ndepth correlation"),
)
COLOR, REFERENCE_COLOR, FAINT = "#2a6f97", "#c05621", "#d5d9de"


def plot_ablation(path: Path, rows: Sequence[Row], reference: str, axis: str | None) -> None:
    """Write a PNG with a panel for each of the most important figures.

    Args:
        path: the file.
        rows: the variants: see `tables.Row`; over an axis also with their `place` on it.
        reference: the name of the variant that the others are compared with, in another color.
        axis: the label of a logarithmic axis with the places; None: the variants are drawn side by side.
    """
    # Not pyplot, which opens windows and keeps figures.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = 3.4 if axis else 1.3 + 0.42 * len(rows)
    figure = Figure(figsize=(10.5, height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(PANELS), sharey=axis is None)
    for panel, (key, title) in zip(panels, PANELS, strict=True):
        panel.set_title(title, fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=9)
        if axis is None:
            _side_by_side(panel, rows, key, reference)
        else:
            _over_axis(panel, rows, key, reference, axis)
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _side_by_side(panel: Any, rows: Sequence[Row], key: str, reference: str) -> None:
    panel.set_yticks(range(len(rows)), [row["name"] for row in rows])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.grid(axis="y", color=FAINT, linewidth=0.8)
    panel.set_axisbelow(True)
    for place, row in enumerate(rows):
        values = row["figures"].get(key, [])
        if not values:
            continue
        color = REFERENCE_COLOR if row["name"] == reference else COLOR
        panel.plot(values, [place] * len(values), "o", color=color, markersize=5, alpha=0.6, mew=0)
        panel.plot([np.mean(values)], [place], "|", color=color, markersize=16, mew=2)
        if row["name"] == reference:
            panel.axvspan(min(values), max(values), color=color, alpha=0.1, linewidth=0)


def _over_axis(panel: Any, rows: Sequence[Row], key: str, reference: str, axis: str) -> None:
    shown = [row for row in rows if row["figures"].get(key)]
    places = [row["place"] for row in shown]
    panel.set_xscale("log", base=2)
    panel.set_xticks(places, [f"{place:,}" for place in places])
    panel.minorticks_off()
    panel.set_xlabel(axis, fontsize=9)
    panel.grid(axis="y", color=FAINT, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.plot(places, [np.mean(row["figures"][key]) for row in shown], color=COLOR, linewidth=1.5)
    for row in shown:
        values = row["figures"][key]
        color = REFERENCE_COLOR if row["name"] == reference else COLOR
        panel.plot([row["place"]] * len(values), values, "o", color=color, markersize=5, alpha=0.6, mew=0)
