"""A training in a process of its own, which computes only while it is asked to."""

from __future__ import annotations

import multiprocessing
import resource
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.pace import Pace
from benchmarks.products import synchronize
from benchmarks.trainings import OwnTraining, ReferenceTraining, Training, TrainingSettings
from nerfgen_ns.cameras.trajectories import path_around, turned_cameras
from nerfgen_ns.dataset_format.transforms import read_transforms, row_of_identity
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.evaluation.comparisons import Rendered, ViewWithTruth, mean_scores, read_views


@dataclass
class Job:
    """What a training process is to do."""

    name: str
    """The training's name in messages."""
    settings: TrainingSettings
    """What is trained."""
    output_dir: Path
    """Where the run goes, where there is one."""
    is_reference: bool = False
    """Whether it is the literal method that trains."""
    width: int | None = None
    """Units of each hidden layer of ours, if not the method's."""
    test: Path | None = None
    """Folder of new views."""
    views: int = 48
    """How many of them to judge."""
    threads: int | None = None
    """Threads of the processor; if not set, torch decides."""

    def make(self) -> Training:
        """Read the data and make the model."""
        if self.is_reference:
            return ReferenceTraining(self.settings)
        return OwnTraining(self.settings, self.output_dir, self.width)


class TrainingProcess:
    """A training as seen from the process that asks. Each method waits until it is done.

    Between two calls the training waits, so that several of them never compute at once.

    Raises:
        NerfgenError: from any method, if the training has failed; it has printed why.
    """

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.job = job
        self._connection, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(job, far_end), daemon=True)
        self._process.start()
        far_end.close()
        self._answer()

    def train_until(self, seconds: float) -> dict[str, float]:
        """Train until the clock of the training, which runs only while it trains, shows `seconds`.

        Returns:
            `seconds`, `steps`, `rays`, `samples`, `operations` of matrix products: all since the beginning.
        """
        return self._ask("train_until", seconds)

    def new_view_psnr(self) -> float:
        """Return the mean PSNR on the new views, in dB inside the matte."""
        return self._ask("new_view_psnr")

    def frames_per_second(self, size: int, count: int) -> float:
        """Measure how fast pictures of one identity from around are rendered, `size` pixels wide and high."""
        return self._ask("frames_per_second", size, count)

    def peak_megabytes(self) -> dict[str, float]:
        """Return the largest resident set of the process so far and, on a GPU, the most that tensors took."""
        return self._ask("peak_megabytes")

    def product_format(self) -> str:
        """Return the number format of the training's matrix products."""
        return self._ask("product_format")

    def close(self) -> None:
        """End the training; ours saves its run."""
        with suppress(OSError):
            self._connection.send(None)
        self._process.join()

    def _ask(self, *question: Any) -> Any:
        self._connection.send(question)
        return self._answer()

    def _answer(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise NerfgenError(f"{self.job.name}: the training failed; see its message above") from error


def _serve(job: Job, connection: Connection) -> None:
    warnings.filterwarnings("ignore", module=r"nerfstudio\.")
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    server = Server(job, connection)
    connection.send(None)
    if server.pace.start():
        server.training.train(server.pace)


class Server:
    """The training's side of the connection: answers requests whenever the pace stops."""

    def __init__(self, job: Job, connection: Connection) -> None:
        self.training = job.make()
        self.pace = Pace(self.training.device, job.settings.seconds, self._serve_until_told_to_train)
        self._connection = connection
        factor = job.settings.downscale_factor
        self._views = [] if job.test is None else read_views(job.test, factor, most=job.views)
        self._rows = row_of_identity(read_transforms(job.settings.data, allow_outside=True).frames)
        self._answers: dict[str, Callable[..., Any]] = {
            "new_view_psnr": self._new_view_psnr,
            "frames_per_second": self._frames_per_second,
            "peak_megabytes": self._peak_megabytes,
            "product_format": lambda: self.training.product_format,
        }
        self._asked_to_train = False

    def _serve_until_told_to_train(self) -> float | None:
        if self._asked_to_train:
            self._connection.send(self._progress())
        self._asked_to_train = False
        while True:
            try:
                question = self._connection.recv()
            except EOFError:
                return None
            if question is None:
                return None
            name, *arguments = question
            if name == "train_until":
                self._asked_to_train = True
                return arguments[0]
            self._connection.send(self._answers[name](*arguments))

    def _progress(self) -> dict[str, float]:
        pace = self.pace
        return {
            "seconds": pace.elapsed,
            "steps": pace.steps,
            "rays": pace.rays,
            "samples": pace.samples,
            "operations": self.training.operations.of(pace.samples, pace.rays),
        }

    def _new_view_psnr(self) -> float:
        return psnr_on(self._views, lambda view: self.training.render(self._rows[view.identity], view.camera))

    def _frames_per_second(self, size: int, count: int) -> float:
        photographs = self.training.cameras
        around = turned_cameras(photographs, path_around(photographs, count), size)
        self.training.render(0, around[:1])
        synchronize(self.training.device)
        begin = time.perf_counter()
        for frame in range(count):
            self.training.render(0, around[frame : frame + 1])
        synchronize(self.training.device)
        return count / (time.perf_counter() - begin)

    def _peak_megabytes(self) -> dict[str, float]:
        megabytes = {"resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        if self.training.device.type == "cuda":
            megabytes["device"] = torch.cuda.max_memory_allocated() / 2**20
        return megabytes


def psnr_on(
    views: Sequence[ViewWithTruth], render: Callable[[ViewWithTruth], Float[Tensor, "height width 3"]]
) -> float:
    """Compute the mean PSNR in dB inside the mattes of views."""
    return mean_scores(lambda view: Rendered(render(view).cpu()), views)["foreground_psnr"]
