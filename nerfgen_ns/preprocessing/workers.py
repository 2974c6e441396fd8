"""The captures of many photographs: in worker processes, few at a time, whatever their number."""

import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfgen_ns.errors import NerfgenError

if TYPE_CHECKING:
    from nerfgen_ns.preprocessing.store import CaptureFiles

CaptureOne = Callable[[Path, "CaptureFiles"], dict[str, Any]]
"""Writes the images of one photograph and returns its record, see `CaptureStore.append`. Can be pickled."""
Task = tuple[str, Path, "CaptureFiles"]
"""Key, photograph, and where its images belong."""
TASKS_PER_WORKER = 16
"""Fewer photographs than this are not worth the seconds that a further worker takes to start."""
CHUNK = 4
"""Photographs handed to a worker at a time."""
SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "GLOG_minloglevel": "3",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
"""Environment of the workers: one thread each, and the logs of C++ libraries off."""


def capture_many(
    tasks: list[Task], capture: CaptureOne, workers: int | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Capture all, and yield keys and records as they come, in no fixed order.

    Args:
        workers: at most this many processes; None: one for each processor; 1: only this one.

    Raises:
        NerfgenError: a photograph ends the process that captures it.
    """
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    workers = min(workers, 1 + len(tasks) // TASKS_PER_WORKER)
    if workers == 1:
        for key, photograph, files in tasks:
            yield key, capture(photograph, files)
        return
    waiting = deque(tasks)
    while waiting:
        in_work: dict[str, Task] = {}
        try:
            yield from _in_pool(waiting, in_work, capture, workers, CHUNK)
        except BrokenProcessPool:
            # Out of memory, or a photograph crashes a library: one at a time shows which, and needs little.
            for task in in_work.values():
                try:
                    yield from _in_pool(deque([task]), {}, capture, 1, 1)
                except BrokenProcessPool as error:
                    raise NerfgenError(
                        f"{task[1]}: the process that captures it dies, perhaps out of memory; scale it down "
                        "or remove it, and run the same command again: what is done is kept"
                    ) from error


def _in_pool(
    waiting: deque[Task], in_work: dict[str, Task], capture: CaptureOne, workers: int, chunk: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Take from `waiting` what the workers can start on; `in_work` holds what was taken and not yielded."""
    # Spawned, not forked: the parent may hold threads and locks of torch and of the viewer.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        futures: set[Future[list[tuple[str, dict[str, Any]]]]] = set()
        while waiting or futures:
            while waiting and len(futures) < 2 * workers:
                tasks = [waiting.popleft() for _ in range(min(chunk, len(waiting)))]
                in_work.update((task[0], task) for task in tasks)
                futures.add(pool.submit(_capture_chunk, capture, tasks))
            done, futures = wait(futures, return_when=FIRST_COMPLETED)
            for future in done:
                for key, record in future.result():
                    yield key, record
                    del in_work[key]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _capture_chunk(capture: CaptureOne, tasks: list[Task]) -> list[tuple[str, dict[str, Any]]]:
    return [(key, capture(photograph, files)) for key, photograph, files in tasks]


def _start_worker() -> None:
    """Leave interruptions to the parent, silence libraries, use one thread, and end when the parent ends.

    This module imports nothing that counts its threads: those libraries come with the first photograph.
    """
    os.environ.update(SINGLE_THREADED)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
