"""The training of a demo: `ns-train` in a process of its own, a progress bar in front of it."""

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

METHOD, EXPERIMENT, TIMESTAMP = "nerfgen-tiny", "demo", "run"
STEP_LINE = re.compile(r"^(\d+) \(\d", re.MULTILINE)


@dataclass(frozen=True)
class Training:
    """A training that can be interrupted and taken up again."""

    data: Path
    """Prepared folder."""
    output_dir: Path
    """Where the run and the log go."""
    minutes: float
    """Length of the training, interruptions not counted."""
    downscale_factor: int
    """How many times smaller than stored the images are trained on."""
    solid_background: tuple[float, float, float] | None = None
    """The color behind every object, in [0, 1]; None where backgrounds differ and are learned."""

    @property
    def run_dir(self) -> Path:
        """The folder of the run."""
        return self.output_dir / EXPERIMENT / METHOD / TIMESTAMP

    @property
    def load_config(self) -> Path:
        """The run's configuration."""
        return self.run_dir / "config.yml"

    @property
    def log(self) -> Path:
        """What the training prints."""
        return self.output_dir / "train.log"

    @property
    def has_checkpoints(self) -> bool:
        """Whether there is something to go on from."""
        return bool(checkpoints_in(self.run_dir / FOLDER))

    def command(self) -> list[str]:
        """The call of ns-train, which goes on from the run's checkpoints where there are any."""
        resume = ["--load-dir", str(self.run_dir)] if self.has_checkpoints else []
        return [
            *(sys.executable, "-m", "nerfstudio.scripts.train", METHOD),
            *("--data", str(self.data), "--output-dir", str(self.output_dir)),
            *("--experiment-name", EXPERIMENT, "--timestamp", TIMESTAMP),
            *("--training-minutes", str(self.minutes), "--vis", "tensorboard"),
            *("--steps-per-save", "2000", "--logging.local-writer.max-log-size", "0", *resume),
            *("--pipeline.datamanager.dataparser.downscale-factor", str(self.downscale_factor)),
            *self._background_options(),
        ]

    def _background_options(self) -> list[str]:
        if self.solid_background is None:
            return []
        color = [str(share) for share in self.solid_background]
        return [
            *("--pipeline.model.background.learned", "False"),
            *("--pipeline.model.background.solid-color", *color),
        ]

    def run(self) -> dict[str, float | int]:
        """Train, and return the number of steps, the seconds they took and the rays a second.

        Raises:
            NerfgenError: the training failed.
        """
        if not self.has_checkpoints:
            # Of a training that was killed before its first one nothing can be used.
            shutil.rmtree(self.run_dir, ignore_errors=True)
        with self.log.open("a", encoding="utf-8") as log:
            # In a session of its own, so that an interruption from the keyboard reaches it once, from here.
            process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        try:
            self._watch(process)
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        if process.returncode != 0:
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing was printed")
            raise NerfgenError(f"{self.log}: the training failed: {last}")
        return self._figures()

    def _watch(self, process: subprocess.Popen) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        begin = self.log.stat().st_size
        started: float | None = None
        with Progress(*columns) as progress:
            task = progress.add_task("Training", total=60.0 * self.minutes)
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

    def _figures(self) -> dict[str, float | int]:
        from nerfgen_ns.runs.loading import read_checkpoint, read_config

        config, checkpoint = read_config(self.load_config), read_checkpoint(self.load_config)
        steps = checkpoint["step"] + 1
        seconds = checkpoint["schedulers"]["fields"]["lr_lambdas"][0]["seconds"]
        rays = steps * config["pipeline"]["datamanager"]["train_num_rays_per_batch"]
        return {"steps": steps, "seconds": seconds, "rays_per_second": rays / seconds}
