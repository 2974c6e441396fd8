"""Progress of long work over many photographs: how many, how fast, how long to go."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

SECONDS_PER_LINE = 60.0
"""Where no terminal shows the bar, a line of the log tells as much, so often."""


class RateColumn(ProgressColumn):
    """Photographs a second, of late."""

    def render(self, task: Task) -> Text:
        """Empty until there is something to tell."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")


@contextmanager
def progress_over(description: str, total: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """Show the progress of work of which `done` parts were finished before; yields what counts one more."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn())
    with Progress(*columns, TimeRemainingColumn(), speed_estimate_period=120) as progress:
        task = progress.add_task(description, total=total, completed=done)
        console, start = progress.console, time.monotonic()
        last, at_start = start, done

        def advance() -> None:
            nonlocal done, last
            done += 1
            progress.advance(task)
            now = time.monotonic()
            if not console.is_terminal and now - last > SECONDS_PER_LINE:
                last, rate = now, (done - at_start) / (now - start)
                left = timedelta(seconds=round((total - done) / rate))
                console.print(f"{description}: {done} of {total}, {rate:.1f}/s, {left} to go")

        yield advance
