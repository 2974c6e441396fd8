"""The captures of many photographs: in worker processes, with a progress bar, and interruptible."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nerfgen_ns.capture.photograph_capture import CaptureFiles, capture_photograph, start_worker
from nerfgen_ns.errors import NerfgenError

TASKS_PER_WORKER = 16
"""Fewer photographs than this are not worth the seconds that a further worker takes to start."""
SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "GLOG_minloglevel": "3",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONWARNINGS": "ignore",
}
"""Environment of the workers: one thread each, and the logs of C++ libraries off."""


def capture_all(
    photographs: list[Path], size: int, files: list[CaptureFiles], workers: int | None
) -> list[dict[str, Any]]:
    """`capture_photograph` for all, in order. What was captured before is read, not made again.

    Raises:
        NerfgenError: a capture cannot be written, or a worker died.
    """
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    missing = sum(not file.record.exists() for file in files)
    workers = min(workers, 1 + missing // TASKS_PER_WORKER)
    records = []
    with (
        _progress() as progress,
        _captures(photographs, size, files, workers) as captures,
    ):
        task = progress.add_task("landmarks and mattes", total=len(photographs))
        try:
            for record in captures:
                records.append(record)
                progress.advance(task)
        except BrokenProcessPool as error:
            raise NerfgenError(
                f"{photographs[len(records)]}: a worker process died at or near it, perhaps out of memory; "
                "run the same command again with --workers 1: what is done is kept"
            ) from error
    return records


@contextmanager
def _captures(
    photographs: list[Path], size: int, files: list[CaptureFiles], workers: int
) -> Iterator[Iterator[dict[str, Any]]]:
    if workers == 1:
        yield map(capture_photograph, photographs, repeat(size), files)
        return
    before = dict(os.environ)
    # Spawned, not forked: the parent may hold threads and locks of torch and of the viewer.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=start_worker)
    try:
        os.environ.update(SINGLE_THREADED)
        captures = pool.map(capture_photograph, photographs, repeat(size), files, chunksize=4)
        os.environ.clear()
        os.environ.update(before)
        yield captures
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
