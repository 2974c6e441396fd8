"""Tables and plots over seeds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.ablation.plots import plot_ablation
from benchmarks.ablation.tables import HIGHER, LOWER, ablation_table, verdict

PSNR, DEPTH = "new_views_foreground_psnr", "new_views_depth_correlation"
ROWS = [
    {"name": "as it is", "place": 8, "figures": {PSNR: [24.0, 24.2, 24.4], DEPTH: [0.96, 0.97, 0.98]}},
    {"name": "less", "place": 32, "figures": {PSNR: [22.0, 23.0, 23.9], DEPTH: [0.95, 0.96, 0.99]}},
    {"name": "more", "place": 128, "figures": {PSNR: [24.5, 24.6, 24.7], DEPTH: [0.99, 0.99, 0.99]}},
]
BASELINE = {"name": "mean image", "figures": {PSNR: [13.9]}}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(
    ("values", "others", "expected"),
    [
        ([3.0, 4.0], [1.0, 2.0], HIGHER),
        ([1.0, 2.0], [3.0, 4.0], LOWER),
        ([1.0, 3.5], [3.0, 4.0], ""),
        ([2.0, 3.0], [1.0, 2.0], ""),
        ([9.0], [1.0, 2.0], ""),
        ([9.0, 9.0], [], ""),
    ],
)
def test_a_difference_counts_where_no_seed_contradicts_it(
    values: list[float], others: list[float], expected: str
) -> None:
    assert verdict(values, others) == expected


def test_a_row_shows_mean_spread_and_what_no_seed_contradicts() -> None:
    heading, _, own, less, more = ablation_table(ROWS, "as it is").splitlines()
    assert cells(heading) == ["", "new views: PSNR inside the matte, dB", "depth correlation"]
    assert cells(own) == ["as it is", "24.20 ± 0.20", "0.970 ± 0.010"]
    assert cells(less) == ["less", f"22.97 ± 0.95 {LOWER}", "0.967 ± 0.021"]
    assert cells(more) == ["more", f"24.60 ± 0.10 {HIGHER}", f"0.990 ± 0.000 {HIGHER}"]


def test_baselines_stand_below_with_what_they_have() -> None:
    last = ablation_table(ROWS, "as it is", [BASELINE]).splitlines()[-1]
    assert cells(last) == ["mean image", "13.90", ""]


def test_one_seed_has_no_spread() -> None:
    rows = [{"name": "as it is", "figures": {PSNR: [24.0]}}]
    assert cells(ablation_table(rows, "as it is").splitlines()[-1]) == ["as it is", "24.00"]


@pytest.mark.parametrize("axis", [None, "photographs"])
def test_a_plot_has_something_in_every_panel_that_was_measured(tmp_path: Path, axis: str | None) -> None:
    plot_ablation(tmp_path / "plot.png", ROWS, "as it is", axis)
    picture = np.asarray(Image.open(tmp_path / "plot.png").convert("RGB")).astype(int)
    colored = np.ptp(picture, axis=2) > 60
    thirds = np.array_split(colored, 3, axis=1)
    assert thirds[1].sum() > 50 and thirds[2].sum() > 50
    # The reconstruction was not measured.
    assert thirds[0].sum() == 0
