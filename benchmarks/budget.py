"""Quality against time: train methods for several budgets on the same photographs, and plot.

    python -m benchmarks.budget --data PREPARED --output-dir OUT --methods nerfgen-tiny nerfgen-small \
        --minutes 4 15 60

Each training is a process of its own with its method's defaults, image size included; learning rates decay
over the budget. All are judged at one size: photographs that trained by their reconstruction, and photographs
that were set aside after their codes are fitted. A training that is done is not repeated, and the table and
the plot show all that the folder holds.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from jaxtyping import Int
from rich.console import Console
from rich.table import Table

from benchmarks.ablation.tables import markdown_table
from benchmarks.machine import RECORD, record_of_run, shown_path
from benchmarks.results_file import write_section
from benchmarks.throughput_report import save_curves
from nerfgen_ns.datamanagers.data_parser import evenly_spread
from nerfgen_ns.evaluation.evaluate import evaluate
from nerfgen_ns.evaluation.protocol import EvaluationConfig
from nerfgen_ns.runs.launch import Training
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.utils.files import read_json, write_json
from nerfgen_ns.utils.images import write_image
from nerfgen_ns.utils.spacing import evenly_spaced
from nerfgen_ns.visualization.contact_sheets import turning_sheet

FIGURES = ("PSNR inside the matte", "SSIM inside the matte")
KINDS = {"training-reconstruction": "trained", "held-out": "set aside"}
"""The protocols that judge photographs, and what these photographs are called."""
WITHOUT_EVALUATION = ("--steps-per-eval-image", "0", "--steps-per-eval-batch", "0")
EVAL_FRACTION = "--pipeline.datamanager.dataparser.eval-fraction"
SHOWN_IDENTITIES = 8
SHEET = "turning.png"
MEASURED = "budget.json"
"""The file of figures in the folder of each training."""


@dataclass
class Budget:
    """Train methods for several budgets on the same photographs, judge each, and plot."""

    data: Path
    """Prepared folder."""
    output_dir: Path
    """Where the runs, the figures, the contact sheets and the plot go."""
    methods: tuple[str, ...] = ("nerfgen-tiny", "nerfgen-small")
    """Methods of `ns-train`."""
    minutes: tuple[float, ...] = (4.0, 15.0, 60.0)
    """Minutes of training of each."""
    eval_fraction: float = 0.125
    """Share of the photographs that is set aside, to be fitted and judged afterwards."""
    judged_factor: int = 2
    """How many times smaller than the files everything is judged."""
    photographs: int = 48
    """How many photographs are judged at most, of those that trained and of those set aside."""
    options: tuple[str, ...] = ()
    """Further options of `ns-train`, for every training."""
    results_path: Path | None = None
    """The file of results, in Markdown, to put the figures into."""

    def run(self) -> None:
        """Train what is missing, print a table, write the figures and the plot."""
        begin = time.perf_counter()
        for method in self.methods:
            for minutes in self.minutes:
                self._measure(method, minutes)
        trainings = [read_json(path) for path in self.output_dir.glob(f"*/*/*/{MEASURED}")]
        trainings.sort(key=lambda training: (training["size"], training["method"], training["minutes"]))
        rows = budget_rows(trainings)
        table = Table(*rows[0], title=f"{shown_path(self.data)}, judged {self.judged_factor} times smaller")
        for row in rows[1:]:
            table.add_row(*row)
        Console().print(table)
        report = {
            "data": shown_path(self.data),
            "judged_factor": self.judged_factor,
            "trainings": trainings,
            # Trainings of earlier calls count too.
            RECORD: {**record_of_run(begin), "seconds": sum(training["seconds"] for training in trainings)},
        }
        write_json(self.output_dir / "budget.json", report)
        _plot(self.output_dir / "budget.png", trainings)
        if self.results_path is not None:
            kind = "cuda" if torch.cuda.is_available() else "cpu"
            write_section(self.results_path, "Quality against time", kind, markdown_table(rows[0], rows[1:]))

    def _measure(self, method: str, minutes: float) -> None:
        training = Training(
            self.data,
            self.output_dir,
            method,
            "budget",
            timestamp=f"{minutes:g}-minutes",
            minutes=minutes,
            options=(
                *(EVAL_FRACTION, str(self.eval_fraction)),
                *(*WITHOUT_EVALUATION, *self.options),
            ),
        )
        path = training.run_dir / MEASURED
        if path.exists():
            return
        training.run()
        run = load_run(training.load_config)
        size = float(run.cameras.width.float().median()) / run.downscale_factor
        measured = {
            "method": method,
            "minutes": minutes,
            "size": round(size),
            **training.figures(),
            "sheet": str((training.run_dir / SHEET).relative_to(self.output_dir)),
            "figures": reconstruction_figures(run, self.judged_factor, self.photographs),
        }
        trained = run.record.rows[trained_photographs(run)]
        shown = trained[evenly_spaced(len(trained), SHOWN_IDENTITIES)]
        write_image(training.run_dir / SHEET, turning_sheet(run, run.codes[shown], 128))
        write_json(path, measured)


def reconstruction_figures(run: Run, factor: int, photographs: int) -> dict[str, dict[str, float | None]]:
    """Judge photographs that trained by their reconstruction, those set aside after their codes are fitted.

    Args:
        run: a trained run.
        factor: how many times smaller than the files they are judged.
        photographs: how many of each are judged at most.

    Returns:
        The values of `FIGURES` by the protocols of `KINDS`.
    """
    config = EvaluationConfig(
        protocol=("training-reconstruction", "held-out"),
        downscale_factor=factor,
        max_views=photographs,
        training_views=photographs,
    )
    with tempfile.TemporaryDirectory() as work:
        outcome = evaluate(run, [], config, Path(work))
    return {
        result.protocol: {one.name: one.value for one in result.figures if one.name in FIGURES}
        for _, result in outcome.results
    }


def trained_photographs(run: Run) -> Int[np.ndarray, " photographs"]:
    """Return the numbers of the photographs that trained."""
    count = len(run.record.images)
    return np.setdiff1d(np.arange(count), evenly_spread(count, run.eval_fraction))


def figure_names() -> list[str]:
    """Return the heads of the columns of `figure_cells`."""
    return [f"{name}, {kind}" for kind in KINDS.values() for name in FIGURES]


def figure_cells(figures: dict[str, dict[str, float | None]]) -> list[str]:
    """Write the result of `reconstruction_figures` for a table."""
    values = [figures.get(kind, {}).get(name) for kind in KINDS for name in FIGURES]
    return ["–" if value is None else f"{value:.4g}" for value in values]


def budget_rows(trainings: list[dict[str, Any]]) -> list[list[str]]:
    """Return the table of all trainings; its first row is the head."""
    return [["method", "minutes", "trained at", "steps", *figure_names()], *map(_row, trainings)]


def _row(training: dict[str, Any]) -> list[str]:
    return [
        training["method"],
        f"{training['minutes']:g}",
        f"{training['size']} px",
        f"{training['steps']:,}",
        *figure_cells(training["figures"]),
    ]


def _plot(path: Path, trainings: list[dict[str, Any]]) -> None:
    """Plot the PSNR of photographs that trained and of those set aside against the minutes of training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    lines = dict(zip(KINDS, ["-", "--"], strict=True))
    for color, method in enumerate(dict.fromkeys(training["method"] for training in trainings)):
        own = [training for training in trainings if training["method"] == method]
        for kind, line in lines.items():
            minutes = [training["minutes"] for training in own]
            values = [training["figures"][kind][FIGURES[0]] for training in own]
            axes.plot(minutes, values, line, marker="o", color=f"C{color}", label=f"{method}, {KINDS[kind]}")
    times = sorted({training["minutes"] for training in trainings})
    save_curves(path, axes, "minutes of training", "PSNR inside the matte, dB", times)


if __name__ == "__main__":
    tyro.cli(Budget).run()
