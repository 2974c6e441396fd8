"""Train on single photographs, then judge: reconstruction and, where the truth is known, new views.

    python -m benchmarks.quality --data HEADS/train --test HEADS/test_seen --downscale-factor 2 \
        --output-dir outputs/heads

Trains with `ns-train METHOD` and that method's defaults, so that the figures are those a user gets; writes
`quality.json` and a contact sheet beside the run.
"""

from __future__ import annotations

import resource
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.machine import RECORD, record_of_run, shown_path
from nerfgen_ns.evaluation.comparisons import evaluate_views
from nerfgen_ns.evaluation.renders import evenly
from nerfgen_ns.runs.launch import Training
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.utils.files import write_json
from nerfgen_ns.utils.images import write_image
from nerfgen_ns.visualization.contact_sheets import identity_sheet, turning_sheet

SHOWN_IDENTITIES = 8


@dataclass
class Quality:
    """Train a method on one folder, and judge reconstruction and new views."""

    data: Path
    """Folder to train on."""
    output_dir: Path
    """Where the run, the figures and the contact sheet go."""
    test: Path | None = None
    """Folder of new views of the same identities, with the truth."""
    method: str = "nerfgen-tiny"
    """Method of `ns-train`."""
    downscale_factor: int | None = None
    """How many times smaller than the files the images are, in training and in judging; if not set, the
    method chooses it."""
    reconstructions: int = 64
    """How many training images to reconstruct, evenly spread."""
    minutes: float = 4.0
    """Minutes of training."""

    def run(self) -> None:
        """Train, judge, print a table."""
        begin = time.perf_counter()
        training = Training(
            self.data,
            self.output_dir,
            self.method,
            "quality",
            minutes=self.minutes,
            downscale_factor=self.downscale_factor,
        )
        # Remove an earlier run: the figures are those of one training, not of a resumed one.
        shutil.rmtree(training.run_dir, ignore_errors=True)
        training.run()
        config = training.load_config
        seconds = time.perf_counter() - begin
        run = load_run(config)
        factor = round(run.downscale_factor)
        figures: dict[str, float] = {
            "training_minutes": self.minutes,
            "wall_seconds_of_training_command": seconds,
            "peak_resident_megabytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
            "training_steps": run.step + 1,
        }
        reconstruction = evaluate_views(run, self.data, factor, self.reconstructions)
        figures |= {f"reconstruction_{name}": value for name, value in reconstruction.items()}
        if self.test is not None:
            new_views = evaluate_views(run, self.test, factor)
            figures |= {f"new_views_{name}": value for name, value in new_views.items()}
        described = {
            "config": str(config),
            "method": self.method,
            "data": shown_path(self.data),
            "test": None if self.test is None else shown_path(self.test),
            "downscale_factor": factor,
        }
        record = {RECORD: record_of_run(begin)}
        write_json(self.output_dir / "quality.json", {**described, **figures, **record})
        table = Table("figure", "value", title=f"{self.method} on {self.data.name}")
        for name, value in figures.items():
            table.add_row(name.replace("_", " "), f"{value:.4g}")
        Console().print(table)
        shown = evenly(range(len(run.codes)), SHOWN_IDENTITIES)
        write_image(self.output_dir / "sheet.png", identity_sheet(run, run.open_photographs(), shown, 128))
        write_image(self.output_dir / "turning.png", turning_sheet(run, run.codes[shown], 128))


if __name__ == "__main__":
    tyro.cli(Quality).run()
