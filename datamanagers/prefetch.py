"""Batches that are made before they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Prefetched(Generic[Item]):
    """Makes the next items in a thread of its own, one after another, while the last is in use.

    Args:
        make: makes an item; called in that thread alone.
        ahead: how many items are made or being made before they are asked for. The first call begins.
    """

    def __init__(self, make: Callable[[], Item], ahead: int) -> None:
        self._make = make
        self._ahead = ahead
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._coming: deque[Future[Item]] = deque()

    def next(self) -> Item:
        """The next item; what `make` raised is raised here."""
        while len(self._coming) <= self._ahead:
            self._coming.append(self._thread.submit(self._make))
        return self._coming.popleft().result()
