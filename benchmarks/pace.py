"""The clock of a training: it stops while the training is judged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.products import synchronize


@dataclass
class Pace:
    """Counts the work of a training while its clock runs, and stops it now and then.

    Args:
        device: where the training computes.
        seconds: the whole training time.
        pause: called while the clock is stopped; returns the second until which to continue, or None to end.
    """

    device: torch.device
    seconds: float
    pause: Callable[[], float | None]
    steps: int = 0
    rays: int = 0
    samples: int = 0
    _until: float = 0.0
    _before: float = 0.0
    _resumed: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds of training so far."""
        running = 0.0 if self._resumed is None else time.perf_counter() - self._resumed
        return self._before + running

    @property
    def spent(self) -> float:
        """Share of the training time that is over, in [0, 1]."""
        return min(self.elapsed / self.seconds, 1.0)

    def start(self) -> bool:
        """Stop before the first step, and return whether to take it."""
        return self._stop()

    def after_step(self, rays: int, samples: int) -> bool:
        """Count a step, stop if it is time to, and return whether the training continues."""
        self.steps += 1
        self.rays += rays
        self.samples += samples
        return self.elapsed < self._until or self._stop()

    def _stop(self) -> bool:
        synchronize(self.device)
        self._before, self._resumed = self.elapsed, None
        until = self.pause()
        if until is None:
            return False
        self._until, self._resumed = until, time.perf_counter()
        return True
