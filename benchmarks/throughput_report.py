"""The figures of `benchmarks.throughput` as tables, as a plot and as a section of a file of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.ablation.tables import markdown_table
from benchmarks.results_file import write_section
from nerfgen_ns.utils.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {"reference": "literal method", "ours": "ours"}
COLORS = {"reference": "tab:gray", "ours": "tab:blue"}
UNAVAILABLE = "–"

Rows = list[list[str]]


def training_rows(figures: dict[str, Any]) -> Rows:
    """Return the side-by-side table, its head first."""
    trainings, target = figures["trainings"], figures["target"]

    def row(label: str, value: Any) -> list[str]:
        return [label, *(value(name, training) for name, training in trainings.items())]

    rows = [
        ["", *(NAMES[name] for name in trainings)],
        row("seconds of training", lambda _, training: f"{training['seconds']:.1f}"),
        *_rate_rows(list(trainings.values())),
        row("frames/s, one identity at 128×128", lambda _, training: f"{training['frames_per_second']:.2f}"),
        *_memory_rows(list(trainings.values())),
    ]
    if all(training["new_view_psnr"] for training in trainings.values()):
        rows.append(
            row("PSNR on new views, dB", lambda _, training: f"{training['new_view_psnr'][-1][1]:.2f}")
        )
    if target["psnr"] is not None:
        rows.append(
            row(
                f"seconds to {target['psnr']:.2f} dB", lambda name, _: _number(target["seconds"][name], ".1f")
            )
        )
    return rows


def width_rows(figures: dict[str, Any]) -> Rows:
    """Return the table of ours at other widths, its head first; empty if there are none."""
    widths = figures["widths"]
    if not widths:
        return []
    head = ["ours at width", *(str(training["width"]) for training in widths)]
    return [head, *_rate_rows(widths), *_memory_rows(widths)]


def _rate_rows(trainings: list[dict[str, Any]]) -> Rows:
    def row(label: str, key: str, form: str, scale: float = 1.0) -> list[str]:
        return [label, *(format(training[key] * scale, form) for training in trainings)]

    return [
        row("steps/s", "steps_per_second", ".1f"),
        row("rays/s", "rays_per_second", ",.0f"),
        row("samples/s", "samples_per_second", ",.0f"),
        row("matrix products, GFLOP/s", "operations_per_second", ",.1f", 1e-9),
        row("share of the measured peak, %", "share_of_peak", ".1f", 100.0),
        ["of the format", *(training["product_format"] for training in trainings)],
    ]


def _memory_rows(trainings: list[dict[str, Any]]) -> Rows:
    rows = [
        ["peak resident, MB", *(f"{training['peak_megabytes']['resident']:,.0f}" for training in trainings)]
    ]
    if all("device" in training["peak_megabytes"] for training in trainings):
        rows.append(
            [
                "peak on the device, MB",
                *(f"{training['peak_megabytes']['device']:,.0f}" for training in trainings),
            ]
        )
    return rows


def summary(figures: dict[str, Any]) -> str:
    """Describe the machine in one line and, if there is a comparison, its result in another."""
    machine = figures["machine"]
    peaks = ", ".join(
        f"{name} {peak / 1e9:,.1f} GFLOP/s" for name, peak in machine["peak_operations_per_second"].items()
    )
    threads = f", {machine['threads']} threads" if machine["kind"] == "cpu" else ""
    lines = [
        f"{machine['device']}{threads}, torch {machine['torch']}; matrix products at their best: {peaks}."
    ]
    target = figures["target"]
    if target["ratio"] is not None:
        lines.append(f"Ours reached {target['psnr']:.2f} dB {target['ratio']:.1f} times sooner.")
    return "\n".join(lines)


def print_figures(figures: dict[str, Any]) -> None:
    """Print the tables and the summary."""
    console = Console()
    for rows in (training_rows(figures) if figures["trainings"] else [], width_rows(figures)):
        if rows:
            table = Table(*rows[0])
            for row in rows[1:]:
                table.add_row(*row)
            console.print(table)
    console.print(summary(figures), highlight=False)


def plot_curves(path: Path, trainings: dict[str, dict[str, Any]], target: dict[str, Any]) -> None:
    """Plot the PSNR on new views against the seconds of training, on a logarithmic axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name, training in trainings.items():
        seconds, psnr = zip(*training["new_view_psnr"][1:], strict=True)
        axes.plot(seconds, psnr, marker="o", color=COLORS[name], label=NAMES[name])
    if target["psnr"] is not None:
        axes.axhline(target["psnr"], color="black", linewidth=0.8, linestyle=":")
        for name, reached in target["seconds"].items():
            if reached:
                axes.axvline(reached, color=COLORS[name], linewidth=0.8, linestyle=":")
                axes.annotate(
                    f"{reached:.1f} s", (reached, target["psnr"]), xytext=(4, -12), textcoords="offset points"
                )
    save_curves(path, axes, "seconds of training", "PSNR on new views, dB inside the matte")


def save_curves(path: Path, axes: Axes, x_label: str, y_label: str, times: Sequence[float] = ()) -> None:
    """Write a plot of curves over time, on a logarithmic axis.

    Args:
        path: the PNG.
        axes: with the curves.
        x_label: what the times are.
        y_label: what the values are.
        times: those that the axis names; if none is given, matplotlib chooses.
    """
    axes.set_xscale("log")
    if times:
        axes.set_xticks(times, [f"{time:g}" for time in times])
        axes.set_xticks([], minor=True)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(True, which="both", alpha=0.25)
    axes.legend()
    with replace_file(path) as temporary:
        axes.figure.savefig(temporary, dpi=150)


def write_results(path: Path, figures: dict[str, Any]) -> None:
    """Put the figures into a file of results, in place of those that the same kind of device had before."""
    parts = [summary(figures).replace("\n", "\n\n")]
    for rows in (training_rows(figures) if figures["trainings"] else [], width_rows(figures)):
        if rows:
            parts.append(markdown_table(rows[0], rows[1:]))
    parts.append(f"Counted of the matrix products: {figures['operations']}.")
    write_section(path, "Throughput of training", figures["machine"]["kind"], "\n\n".join(parts))


def _number(value: float | None, form: str) -> str:
    return UNAVAILABLE if value is None else format(value, form)
