"""The pace of a training on processors, and what to do when another process slows it down."""

from __future__ import annotations

import os
from collections.abc import Callable

from nerfgen_ns.machine import count_cores

STEPS = 20
"""Steps whose mean time is compared."""
TIMES_SLOWER = 4.0
"""A training that is so many times slower than it was shares its cores with another process."""
IN_A_ROW = 3
"""So many means must be as slow: a pause of the machine makes one."""
LOAD_PER_CORE = 1.25
"""Running processes for each core, above which the machine has more to do than it can."""


class PaceWatch:
    """Notices when a training becomes many times slower because another process uses its cores.

    Torch's threads spin while they wait for each other. Two processes that have a thread on every core make
    each other up to 20 times slower.

    Args:
        cores: how many this process may use.
        load: returns how many processes run or wait to run on this machine, None where it is not known.
    """

    def __init__(self, cores: int, load: Callable[[], float | None]) -> None:
        self._cores, self._load = cores, load
        self._times: list[float] = []
        self._best = float("inf")
        self._slow = 0
        self._has_said = False

    def after_step(self, seconds: float) -> str | None:
        """Note how long a step took; return a line for the user once, when the training has become slow."""
        if self._has_said:
            return None
        self._times.append(seconds)
        if len(self._times) < STEPS:
            return None
        mean = sum(self._times) / STEPS
        self._times.clear()
        self._best = min(self._best, mean)
        self._slow = self._slow + 1 if mean > TIMES_SLOWER * self._best else 0
        load = self._load() if self._slow >= IN_A_ROW else None
        if load is None or load <= LOAD_PER_CORE * self._cores:
            return None
        self._has_said = True
        return (
            f"A step takes {mean / self._best:.0f} times as long as before: this machine's load is "
            f"{load:.1f} on {self._cores} cores. End the other process, or start both with "
            f"OMP_NUM_THREADS={max(self._cores // 2, 1)}."
        )


def watch_this_machine() -> PaceWatch:
    """Return a watch on this process's cores and this machine's load."""
    return PaceWatch(count_cores(), machine_load)


def machine_load() -> float | None:
    """Return the mean number of processes that ran or waited to run in the last minute."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None
