"""Peak resident memory of training against the number of photographs.

    python -m benchmarks.memory --data PREPARED --images 100 800

Trains `nerfgen-tiny` for a few hundred steps on the first images of a prepared folder and prints the largest
resident set of each training process, as the operating system counts it.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from nerfgen_ns.dataset_format.transforms import read_transforms, write_transforms
from nerfgen_ns.runs.launch import Training
from nerfgen_ns.utils.files import write_json


@dataclass
class MemoryBenchmark:
    """Train on more and more images of one folder and compare the memory."""

    data: Path
    """A prepared folder."""
    images: tuple[int, ...] = (100, 800)
    """How many of its images to train on, one training each."""
    steps: int = 300
    """Steps of each training."""
    downscale_factor: float = 4.0
    """How much smaller than the files the images are."""
    output_path: Path | None = None
    """Where to write the figures as JSON."""

    def run(self) -> None:
        """Measure, print a table, write the figures."""
        megabytes = {count: self._peak_megabytes(count) for count in self.images}
        first = megabytes[self.images[0]]
        table = Table("images", "peak resident MB", "ratio")
        for count, value in megabytes.items():
            table.add_row(str(count), f"{value:.0f}", f"{value / first:.3f}")
        Console().print(table)
        if self.output_path is not None:
            write_json(self.output_path, {str(count): value for count, value in megabytes.items()})

    def _peak_megabytes(self, count: int) -> float:
        transforms = read_transforms(self.data, allow_outside=True)
        frames = [frame.with_files_of(transforms.path.parent) for frame in transforms.frames[:count]]
        with tempfile.TemporaryDirectory() as folder:
            write_transforms(Path(folder), frames, transforms.head)
            training = Training(
                Path(folder),
                Path(folder),
                experiment="memory",
                downscale_factor=self.downscale_factor,
                options=("--max-num-iterations", str(self.steps)),
            )
            process = training.start()
            _, status, usage = os.wait4(process.pid, 0)
            training.check(status)
        return usage.ru_maxrss / 1024


if __name__ == "__main__":
    tyro.cli(MemoryBenchmark).run()
