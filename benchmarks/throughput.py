"""How fast training is: the literal method and ours on the same data, for the same time, side by side.

    python -m benchmarks.throughput --data HEADS/train --test HEADS/test_seen --downscale-factor 2 \
        --output-dir outputs/throughput --width 128 256

Each trains in a process of its own, and they take turns: while one computes, the other stands still. Both are
judged on the same new views at the same moments of their training; judging does not count as training. Then
each renders one identity as the viewer does, and ours takes steps at other widths. Prints tables and writes
`throughput.json`, `throughput.png` and our run; `--results-path` also puts the figures into RESULTS.md.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from benchmarks.products import FORMULA, measured_peaks
from benchmarks.throughput_report import plot_curves, print_figures, write_results
from benchmarks.training_process import Job, TrainingProcess
from benchmarks.trainings import TrainingSettings
from nerfgen_ns.errors import UsageError, exit_with_one_line
from nerfgen_ns.utils.console import progress_bar
from nerfgen_ns.utils.files import write_json
from nerfgen_ns.utils.machine import processor_name

FRAME_SIZE, FRAMES = 128, 12
Curve = list[tuple[float, float]]
"""Seconds of training and PSNR on new views in dB, rising in time, from 0 seconds on."""


@dataclass(kw_only=True)
class Throughput(TrainingSettings):
    """Train the literal method and ours side by side, and compare."""

    output_dir: Path
    """Where the figures, the plot and our run go."""
    test: Path | None = None
    """Folder of new views of the same identities, with mattes; without it nothing is judged."""
    only: Literal["both", "ours", "reference", "widths"] = "both"
    """What to train. widths: nothing but the steps at the widths given."""
    width: tuple[int, ...] = ()
    """Widths of the foreground field at which ours takes steps, to see its share of the machine's peak."""
    width_seconds: float = 15.0
    """Seconds of steps at each of these widths, after half as many that are not counted."""
    slice_seconds: float = 10.0
    """Seconds after which the other training has its turn."""
    first_judged: float = 2.0
    """Second of training at which the new views are first judged, after the untrained networks."""
    judged: int = 10
    """How often they are judged, at moments of constant ratio."""
    views: int = 48
    """How many new views to judge, evenly spread over the test folder."""
    target_psnr: float | None = None
    """PSNR on new views, in dB, to be reached; if not set, what the reference has at its end."""
    threads: int | None = None
    """Threads of the processor; if not set, torch decides."""
    results_path: Path | None = None
    """The file of results, in Markdown, to put the figures into."""

    def run(self) -> None:
        """Measure, print tables, write the figures and the plot."""
        if not 0 < self.first_judged < self.seconds:
            raise UsageError(
                f"--first-judged must lie between 0 and the {self.seconds:g} seconds of training"
            )
        if self.only == "widths" and not self.width:
            raise UsageError("--only widths needs --width with at least one width")
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        before = measured_peaks(device)
        trainings = {} if self.only == "widths" else self._side_by_side()
        widths = [self._at_width(width) for width in self.width]
        # Other work on the machine slows products too: the better of two measurements is nearer the truth.
        peaks = {name: max(peak, before[name]) for name, peak in measured_peaks(device).items()}
        for training in (*trainings.values(), *widths):
            peak = peaks[training["product_format"]]
            training["share_of_peak"] = training["operations_per_second"] / peak
        target = compare(trainings, self.target_psnr)
        figures = {
            "machine": {**describe(device), "peak_operations_per_second": peaks},
            "settings": {
                name: str(value) if isinstance(value, Path) else value
                for name, value in asdict(self).items()
                if name not in ("output_dir", "results_path")
            },
            "operations": FORMULA,
            "trainings": trainings,
            "target": target,
            "widths": widths,
        }
        print_figures(figures)
        write_json(self.output_dir / "throughput.json", figures)
        if any(training["new_view_psnr"] for training in trainings.values()):
            plot_curves(self.output_dir / "throughput.png", trainings, target)
        if self.results_path is not None:
            write_results(self.results_path, figures)

    def _settings(self) -> TrainingSettings:
        return TrainingSettings(
            **{field.name: getattr(self, field.name) for field in fields(TrainingSettings)}
        )

    def _side_by_side(self) -> dict[str, dict[str, Any]]:
        names = ("reference", "ours") if self.only == "both" else (self.only,)
        processes = {
            name: TrainingProcess(
                Job(
                    name,
                    self._settings(),
                    self.output_dir,
                    is_reference=name == "reference",
                    test=self.test,
                    views=self.views,
                    threads=self.threads,
                )
            )
            for name in names
        }
        with progress_bar("seconds of training") as progress:
            curves, counts = self._take_turns(processes, progress)
        figures = {}
        for name, process in processes.items():
            figures[name] = {
                **per_second(counts[name]),
                "product_format": process.product_format(),
                "new_view_psnr": curves[name],
                "frames_per_second": process.frames_per_second(FRAME_SIZE, FRAMES),
                "peak_megabytes": process.peak_megabytes(),
            }
            process.close()
        return figures

    def _take_turns(
        self, processes: dict[str, TrainingProcess], progress: Callable[[int, int], None]
    ) -> tuple[dict[str, Curve], dict[str, dict[str, float]]]:
        moments = {float(moment) for moment in np.geomspace(self.first_judged, self.seconds, self.judged)}
        turns = moments | {
            float(turn) for turn in np.arange(self.slice_seconds, self.seconds, self.slice_seconds)
        }
        curves: dict[str, Curve] = {name: [] for name in processes}
        counts: dict[str, dict[str, float]] = {}
        if self.test is not None:
            for name, process in processes.items():
                curves[name].append((0.0, process.new_view_psnr()))
        for turn in sorted(turns):
            for name, process in processes.items():
                counts[name] = process.train_until(turn)
                if turn in moments and self.test is not None:
                    curves[name].append((counts[name]["seconds"], process.new_view_psnr()))
            progress(round(turn), round(self.seconds))
        return curves, counts

    def _at_width(self, width: int) -> dict[str, Any]:
        settings = replace(self._settings(), seconds=1.5 * self.width_seconds)
        with tempfile.TemporaryDirectory() as folder:
            process = TrainingProcess(
                Job(f"width {width}", settings, Path(folder), width=width, threads=self.threads)
            )
            before = process.train_until(0.5 * self.width_seconds)
            after = process.train_until(1.5 * self.width_seconds)
            counted = {name: after[name] - before[name] for name in after}
            figures = {
                "width": width,
                **per_second(counted),
                "product_format": process.product_format(),
                "peak_megabytes": process.peak_megabytes(),
            }
            process.close()
        return figures


def per_second(counts: dict[str, float]) -> dict[str, float]:
    """What was counted in some seconds, by the second; `seconds` beside it."""
    seconds = counts["seconds"]
    rates = {f"{name}_per_second": count / seconds for name, count in counts.items() if name != "seconds"}
    return {"seconds": seconds, **rates}


def seconds_to_reach(curve: Curve, target: float) -> float | None:
    """When a curve first reaches a PSNR, linear between two judgments; None if it never does.

    On a curve that flattens this is late rather than early.
    """
    if not curve:
        return None
    before = curve[0]
    for seconds, psnr in curve:
        if psnr >= target:
            rise = psnr - before[1]
            share = (target - before[1]) / rise if rise > 0 else 1.0
            return before[0] + share * (seconds - before[0])
        before = (seconds, psnr)
    return None


def compare(trainings: dict[str, dict[str, Any]], target: float | None) -> dict[str, Any]:
    """When each training reaches the target, by default what the reference has at its end.

    Returns:
        `psnr`, the target or None where there is none; `seconds` of each training, None where it is not
        reached; `ratio`, the reference's seconds over ours, None where either is missing or 0.
    """
    curves = {name: training["new_view_psnr"] for name, training in trainings.items()}
    if target is None and curves.get("reference"):
        target = curves["reference"][-1][1]
    if target is None:
        return {"psnr": None, "seconds": {}, "ratio": None}
    seconds = {name: seconds_to_reach(curve, target) for name, curve in curves.items()}
    reference, ours = seconds.get("reference"), seconds.get("ours")
    return {"psnr": target, "seconds": seconds, "ratio": reference / ours if reference and ours else None}


def describe(device: torch.device) -> dict[str, Any]:
    """The machine's device by its name, and what runs on it."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
        "kind": device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "system": platform.platform(),
    }


if __name__ == "__main__":
    with exit_with_one_line():
        tyro.cli(Throughput).run()
