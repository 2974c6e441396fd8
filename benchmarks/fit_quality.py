"""Fit new identities to one view each, then judge their other views against the truth.

    python -m benchmarks.fit_quality --load-config RUN/config.yml --data HEADS/test_new --downscale-factor 2

Prints a table and writes it as JSON: time for each photograph, PSNR of the fitted views, and foreground PSNR
and depth correlation of the views that the fit has not seen.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from nerfgen_ns.dataset_format.transforms import read_transforms, row_of_identity, write_transforms
from nerfgen_ns.errors import exit_with_one_line
from nerfgen_ns.evaluation.comparisons import evaluate_views
from nerfgen_ns.inversion.config import FitConfig
from nerfgen_ns.inversion.inversion import fit
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.utils.console import progress_bar
from nerfgen_ns.utils.files import write_json


@dataclass(kw_only=True)
class FitQuality(FitConfig):
    """Fit new identities to one view each (role `query`), and judge their other views."""

    load_config: Path
    """The config.yml of a trained run."""
    data: Path
    """A test folder with the roles `query` and `target`."""
    output_path: Path | None = None
    """Where the figures go as JSON, if anywhere."""
    output_dir: Path | None = None
    """Where the run of the fitted identities goes, with its contact sheet; if not set, it is not kept."""
    threads: int | None = None
    """Threads of the processor; if not set, torch decides."""

    def run(self) -> None:
        """Fit, judge, print a table."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        run = load_run(self.load_config)
        config = FitConfig(**{field.name: getattr(self, field.name) for field in fields(FitConfig)})
        with tempfile.TemporaryDirectory() as temporary:
            output_dir = self.output_dir or Path(temporary) / "fitted"
            report = fit(run, [self.data], output_dir, config, progress_bar)
            fitted = load_run(output_dir / "config.yml")
            targets = target_views(self.data, Path(temporary) / "targets")
            with progress_bar("judging the other views") as progress:
                judged = evaluate_views(fitted, targets, self.downscale_factor or 1, progress=progress)
        photographs = report.photographs
        figures = {
            "photographs": len(photographs),
            "seconds_per_photograph": report.seconds / len(photographs),
            "query_psnr": float(np.mean([photograph.psnr for photograph in photographs])),
            "query_foreground_psnr": float(
                np.mean([photograph.foreground_psnr or np.nan for photograph in photographs])
            ),
            "mahalanobis": float(np.mean([photograph.mahalanobis for photograph in photographs])),
            **{f"target_{name}": value for name, value in judged.items()},
        }
        if self.output_path is not None:
            write_json(self.output_path, {**figures, "options": asdict(config)})
        table = Table("figure", "value", title=f"{self.load_config.parent} on {self.data}")
        for name, value in figures.items():
            table.add_row(name.replace("_", " "), f"{value:.4g}")
        Console().print(table)


def target_views(data: Path, folder: Path) -> Path:
    """Write a folder of the views to judge, their identities numbered as the fit numbers them."""
    known = read_transforms(data, allow_outside=True)
    rows = row_of_identity([frame for frame in known.frames if frame.role == "query"])
    targets = [
        replace(frame.with_files_of(known.path.parent), identity=rows[frame.identity])
        for frame in known.frames
        if frame.role == "target" and frame.identity is not None
    ]
    write_transforms(folder, targets, known.head)
    return folder


if __name__ == "__main__":
    with exit_with_one_line():
        tyro.cli(FitQuality).run()
