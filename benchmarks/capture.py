"""How well and how fast photographs become cameras: `python -m benchmarks.capture [--help]`.

Prepares two folders from the photographs alone. On `portraits`, photographs of people: the accepted part,
the time, and the reprojection error. On `heads`, renderings with known cameras: how far the fitted ones are
turned and displaced against the true ones, after removing one similarity for all, which landmarks do not
determine.

With `--kills 10`, a process that is killed ten times at random moments and started again prepares `portraits`
once more. The share of files that differ in the end should be 0.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from nerfgen_ns.cameras.alignment import camera_errors
from nerfgen_ns.dataset_format.transforms import read_transforms
from nerfgen_ns.preprocessing.listing import list_photographs
from nerfgen_ns.preprocessing.prepare import PrepareConfig, prepare
from nerfgen_ns.utils.files import write_json

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@dataclass
class CaptureBenchmark:
    """Measure `nerfgen prepare`."""

    portraits: Path = SHARED / "portraits"
    """Folder of photographs of people."""
    heads: Path = SHARED / "heads" / "train"
    """nerfstudio data set of renderings with `true_transform_matrix` in each frame."""
    workers: int = 2
    """Worker processes."""
    kills: int = 0
    """How many times to kill the preparation of `portraits`."""
    output_path: Path | None = None
    """Where to write the figures as JSON."""

    def run(self) -> None:
        """Measure what is there, print a table and write the figures."""
        figures: dict[str, dict[str, Any]] = {}
        with tempfile.TemporaryDirectory() as folder:
            if self.portraits.is_dir():
                output = Path(folder) / "portraits"
                figures["portraits"] = self._prepare(self.portraits, output)
                if self.kills:
                    seconds = figures["portraits"]["seconds"]
                    figures["portraits"]["kills"] = self.kills
                    figures["portraits"]["files that differ, %"] = self._killed(output, seconds)
            if self.heads.is_dir():
                output = Path(folder) / "heads"
                figures["heads"] = self._prepare(self.heads / "images", output)
                figures["heads"] |= errors_of_folder(output, self.heads)
        table = Table("measured", *figures)
        for name in dict.fromkeys(name for values in figures.values() for name in values):
            table.add_row(
                name, *(f"{values[name]:.4g}" if name in values else "" for values in figures.values())
            )
        Console().print(table)
        if self.output_path is not None:
            write_json(self.output_path, figures)

    def _prepare(self, photographs: Path, output: Path) -> dict[str, Any]:
        start, processor_start = time.perf_counter(), sum(os.times()[:4])
        report = prepare(PrepareConfig(data=photographs, output_dir=output, workers=self.workers))
        seconds = time.perf_counter() - start
        return {
            "photographs": len(list_photographs(photographs)),
            "accepted, %": 100 * report.accepted / (report.accepted + len(report.rejected)),
            "seconds": seconds,
            "processor seconds, all processes": sum(os.times()[:4]) - processor_start,
            "reprojection error, % of the face width, median": 100 * report.median_error,
        }

    def _killed(self, whole: Path, seconds: float) -> float:
        """Return the share of files, in %, that differ from `whole` after a preparation with kills."""
        output = whole.with_name("killed")
        program = "from nerfgen_ns.cli.main import entrypoint; entrypoint()"
        command = [sys.executable, "-c", program, "prepare", "--workers", str(self.workers)]
        command += ["--data", str(self.portraits), "--output-dir", str(output)]
        moments = random.Random(0)
        for kill in range(self.kills + 1):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
            if kill == self.kills:
                process.wait()
                break
            time.sleep(moments.uniform(0, 3 * seconds / self.kills))
            # Every other time the process alone: its workers have to end by themselves.
            (os.killpg if kill % 2 else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
        files = [
            {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            for folder in (whole, output)
        ]
        names = files[0].keys() | files[1].keys()
        return 100 * sum(files[0].get(name) != files[1].get(name) for name in names) / len(names)


def errors_of_folder(prepared: Path, truth: Path) -> dict[str, float]:
    """Compute errors of a prepared folder's cameras against a data set's true ones; see `camera_errors`."""
    known = read_transforms(truth, allow_outside=True)
    true_cameras = {
        file.name: frame.true_camera for file, frame in zip(known.files, known.frames, strict=True)
    }
    frames = read_transforms(prepared).frames
    true = np.array([true_cameras[str(frame.source)] for frame in frames])
    return camera_errors(np.array([frame.photograph_camera()[0] for frame in frames]), true)


if __name__ == "__main__":
    tyro.cli(CaptureBenchmark).run()
