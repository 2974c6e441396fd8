"""`ns-train` in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.training.checkpoints import FOLDER, checkpoints_in

NS_TRAIN = (sys.executable, "-m", "nerfstudio.scripts.train")
"""`ns-train` of this interpreter, which need not be on the path."""
FACTOR = "--pipeline.datamanager.dataparser.downscale-factor"
ALLOCATOR = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
"""Names of the variable that configures torch's allocator of GPU memory; every torch knows the first."""
STEP_LINE = re.compile(r"^(\d+) \(\d", re.MULTILINE)


def train_arguments(
    method: str, data: Path, output_dir: Path, experiment: str, timestamp: str, *options: object
) -> list[str]:
    """Return the arguments of `ns-train` for a run in the folder OUTPUT_DIR/EXPERIMENT/METHOD/TIMESTAMP."""
    return [
        *(method, "--data", str(data), "--output-dir", str(output_dir)),
        *("--experiment-name", experiment, "--timestamp", timestamp),
        *map(str, options),
    ]


@dataclass(frozen=True)
class Training:
    """A training that can be interrupted and continued."""

    data: Path
    """Prepared folder."""
    output_dir: Path
    """Where the run and the log go."""
    method: str = "nerfgen-tiny"
    """Method of `ns-train`."""
    experiment: str = "demo"
    """The run's name, a part of its path."""
    timestamp: str = "run"
    """The last part of its path."""
    minutes: float | None = None
    """Length of the training, interruptions not counted; None: the method's own."""
    downscale_factor: float | None = None
    """How many times smaller than stored the images are trained on; None: as the method chooses."""
    options: tuple[str, ...] = ()
    """Further options of `ns-train`."""

    @property
    def run_dir(self) -> Path:
        """Return the folder of the run."""
        return self.output_dir / self.experiment / self.method / self.timestamp

    @property
    def load_config(self) -> Path:
        """Return the path of the run's configuration."""
        return self.run_dir / "config.yml"

    @property
    def log(self) -> Path:
        """Return the path of the file that holds what the training prints."""
        return self.output_dir / ("train.log" if self.timestamp == "run" else f"{self.timestamp}.log")

    @property
    def has_checkpoints(self) -> bool:
        """Return whether there are checkpoints to continue from."""
        return bool(checkpoints_in(self.run_dir / FOLDER))

    def command(self) -> list[str]:
        """Return the call of ns-train, which continues from the run's checkpoints where there are any."""
        options = [
            *("--vis", "tensorboard", "--logging.local-writer.max-log-size", 0),
            *(() if self.minutes is None else ("--training-minutes", self.minutes)),
            *(() if self.downscale_factor is None else (FACTOR, self.downscale_factor)),
            *(("--load-dir", self.run_dir) if self.has_checkpoints else ()),
            *self.options,
        ]
        return [
            *NS_TRAIN,
            *train_arguments(
                self.method, self.data, self.output_dir, self.experiment, self.timestamp, *options
            ),
        ]

    def start(self) -> subprocess.Popen:
        """Start the training, and return its process."""
        if not self.has_checkpoints:
            # A training that was killed before its first checkpoint left nothing that can be used.
            shutil.rmtree(self.run_dir, ignore_errors=True)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as log:
            # In a session of its own, so that an interruption from the keyboard reaches it once, from here.
            return subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self._environment(),
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        """Return this process's environment; segments of GPU memory can grow unless it says otherwise."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if not any(name in environment for name in ALLOCATOR):
            environment[ALLOCATOR[0]] = "expandable_segments:True"
        return environment

    def run(self, show_progress: bool = False) -> None:
        """Train to the end.

        Args:
            show_progress: show a bar that fills with the minutes.

        Raises:
            NerfgenError: the training failed.
        """
        process = self.start()
        try:
            if show_progress:
                self._watch(process)
            process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        self.check(process.returncode)

    def check(self, status: int) -> None:
        """Raise a NerfgenError, with what the training said last, if its exit status is not 0."""
        if status == 0:
            return
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing was printed")
        raise NerfgenError(f"{self.log}: the training failed: {last}")

    def _watch(self, process: subprocess.Popen) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        begin = self.log.stat().st_size
        started: float | None = None
        total = None if self.minutes is None else 60.0 * self.minutes
        with Progress(*columns) as progress:
            task = progress.add_task("Training", total=total)
            while process.poll() is None:
                time.sleep(0.5)
                with self.log.open(encoding="utf-8", errors="replace") as log:
                    log.seek(begin)
                    steps = STEP_LINE.findall(log.read())
                if steps:
                    started = started or time.monotonic()
                    progress.update(
                        task,
                        completed=time.monotonic() - started,
                        description=f"Training, step {int(steps[-1]):,}",
                    )

    def figures(self) -> dict[str, float | int]:
        """Return the number of steps of the trained run, the seconds they took and the rays a second."""
        from nerfgen_ns.runs.loading import read_checkpoint, read_config

        config, checkpoint = read_config(self.load_config), read_checkpoint(self.load_config)
        steps = checkpoint["step"] + 1
        seconds = checkpoint["schedulers"]["fields"]["lr_lambdas"][0]["seconds"]
        rays = steps * config["pipeline"]["datamanager"]["train_num_rays_per_batch"]
        return {"steps": steps, "seconds": seconds, "rays_per_second": rays / seconds}
