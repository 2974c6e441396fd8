"""Time and memory of a training step over the sizes that may grow.

    python -m benchmarks.scale --output-path scale.json --plot-path scale.png --results-path RESULTS.md

Five axes, each with everything else fixed: rows of the latent table, image size, width of the foreground
network, rays a step, and pixels in memory or in a file. The trainings of an axis run in one process and take
turns of a few steps. A ratio is the median over turns, so that other work on the machine affects all of them.
Peak resident memory is that of a process for each case alone.

Photographs are synthetic: 2 different ones, which all photographs of a case repeat. In the cases with pixels
in a file each photograph has its own place there; the system may hold that file in its cache.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.machine import RECORD, record_of_run, record_sentence
from benchmarks.results_file import write_section
from benchmarks.scale_case import Case, Training, peak_bytes
from nerfgen_ns.utils.files import replace_file, write_json

Axis = Literal["rows", "image_size", "width", "rays", "pixels_in_file"]
Figures = dict[Axis, list[dict[str, Any]]]
SUBJECT = "Scale of a training step"
COLUMNS = ("axis", "value", "ms a step", "ratio", "peak MB", "ratio")


@dataclass
class Scale:
    """Measure the step along each axis."""

    axes: tuple[Axis, ...] = ("rows", "image_size", "width", "rays", "pixels_in_file")
    """Which axes."""
    rows: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    """Rows of the latent table, of 256 numbers each."""
    image_size: tuple[int, ...] = (64, 128, 256, 512, 1024)
    """Sizes of the photographs, whose pixels are in a file."""
    width: tuple[int, ...] = (32, 64, 128, 256)
    """Widths of the foreground network."""
    rays: tuple[int, ...] = (256, 768, 2048, 4096)
    """Rays a step."""
    base: Case = field(default_factory=Case)
    """What the cases have where their axis does not say otherwise."""
    turns: int = 25
    """How many turns each training takes."""
    steps: int = 4
    """Steps of a turn."""
    memory_steps: int = 60
    """Steps before the memory is read; 0 leaves the memory out."""
    output_path: Path | None = None
    """Where to write the figures as JSON."""
    plot_path: Path | None = None
    """Where to draw them, as .png, .svg or .pdf."""
    results_path: Path | None = None
    """Markdown file of results, in which the section of this kind of device is replaced."""

    def run(self) -> None:
        """Measure, print a table, write the figures, draw them."""
        begin = time.perf_counter()
        figures = {axis: self._measure(axis) for axis in self.axes}
        record = record_of_run(begin)
        Console().print(table_of(figures))
        if self.output_path is not None:
            settings = {"base": asdict(self.base), "turns": self.turns, "steps": self.steps}
            write_json(self.output_path, {"settings": settings, RECORD: record, **figures})
        if self.results_path is not None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
            write_section(self.results_path, SUBJECT, device, section_of(figures, record))
        if self.plot_path is not None:
            with replace_file(self.plot_path) as temporary:
                draw(figures, temporary)

    def cases(self, axis: Axis) -> dict[str, Case]:
        """Return the cases of an axis by the value that differs."""
        if axis == "pixels_in_file":
            own = replace(self.base, rows=256, image_size=256)
            return {"memory": own, "file": replace(own, pixels_in_file=True)}
        # Few rows, so that the files fit on a small disk.
        own = replace(self.base, rows=64, pixels_in_file=True) if axis == "image_size" else self.base
        values: tuple[int, ...] = getattr(self, axis)
        return {str(value): replace(own, **{axis: value}) for value in values}

    def _measure(self, axis: Axis) -> list[dict[str, Any]]:
        cases = self.cases(axis)
        # A new process for each: memory that one case has used would count for the next.
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            times = pool.apply(turn_by_turn, (list(cases.values()), self.turns, self.steps))
            memory = (
                [pool.apply(peak_bytes, (case, self.memory_steps)) for case in cases.values()]
                if self.memory_steps
                else None
            )
        results = []
        for place, value in enumerate(cases):
            ratios = [own / first for own, first in zip(times[place], times[0], strict=True)]
            result = {
                "value": value,
                "milliseconds_a_step": 1e3 * statistics.median(times[place]),
                "time_ratio": statistics.median(ratios),
            }
            if memory is not None:
                result |= {
                    "peak_megabytes": memory[place] / 1e6,
                    "memory_ratio": memory[place] / memory[0],
                }
            results.append(result)
        return results


def turn_by_turn(cases: list[Case], turns: int, steps: int) -> list[list[float]]:
    """Measure the seconds a step of each case in each turn, after two turns that are not counted."""
    with tempfile.TemporaryDirectory() as folder:
        trainings = [Training(case, Path(folder)) for case in cases]
        times: list[list[float]] = [[] for _ in cases]
        for turn in range(-2, turns):
            for training, own in zip(trainings, times, strict=True):
                begin = time.perf_counter()
                for _ in range(steps):
                    training.step()
                if turn >= 0:
                    own.append((time.perf_counter() - begin) / steps)
    return times


def table_of(figures: Figures) -> Table:
    """Make a table of the figures for a terminal."""
    table = Table(*COLUMNS, title="A training step")
    for axis, results in figures.items():
        for result in results:
            table.add_row(*cells_of(axis, result))
        table.add_section()
    return table


def section_of(figures: Figures, record: dict[str, Any]) -> str:
    """Write the figures as Markdown, with what was run."""
    rows = [cells_of(axis, result) for axis, results in figures.items() for result in results]
    lines = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1)), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{record_sentence(record)}\n\n{table}\n\nRatios are to the first row of each axis."


def cells_of(axis: Axis, result: dict[str, Any]) -> tuple[str, ...]:
    """Return one row of the table, a cell for each of `COLUMNS`."""
    memory = ("", "")
    if "peak_megabytes" in result:
        memory = (f"{result['peak_megabytes']:.0f}", f"{result['memory_ratio']:.3f}")
    time_a_step = (f"{result['milliseconds_a_step']:.2f}", f"{result['time_ratio']:.3f}")
    return (axis.replace("_", " "), result["value"], *time_a_step, *memory)


def draw(figures: Figures, path: Path) -> None:
    """Draw time above, memory below, a column for each axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(figures), 5.2), layout="constrained")
    panels = figure.subplots(2, len(figures), squeeze=False, sharex="col")
    for column, (axis, results) in enumerate(figures.items()):
        values = [result["value"] for result in results]
        for panel, key, unit in (
            (panels[0][column], "milliseconds_a_step", "ms a step"),
            (panels[1][column], "peak_megabytes", "peak resident MB"),
        ):
            heights = [result.get(key, float("nan")) for result in results]
            panel.bar(values, heights, color="#4878a8", width=0.6)
            panel.bar_label(panel.containers[0], fmt="%.4g", fontsize=8)
            panel.margins(y=0.15)
            panel.spines[["top", "right"]].set_visible(False)
            if column == 0:
                panel.set_ylabel(unit)
        panels[1][column].set_xlabel(axis.replace("_", " "))
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    tyro.cli(Scale).run()
