"""What a command shows on the terminal: progress bars, and characters that every console has."""

from __future__ import annotations

import codecs
import io
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

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

SPELLED = {
    **{
        "✓": "+",
        "✗": "x",
        "×": "x",
        "·": "*",
        "•": "*",
        "–": "-",
        "−": "-",
        "→": "->",
        "…": "...",
        "°": " degrees",
    },
    **{"“": '"', "”": '"', "‘": "'", "’": "'", "≤": "<=", "≥": ">=", "±": "+-", "Σ": "sum", "π": "pi"},
    **dict.fromkeys("─━╌", "-"),
    **dict.fromkeys("│┃╎", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯", "+"),
}
"""Characters of our texts and of tables, in ASCII."""


def show_on_any_console() -> None:
    """Let the standard streams spell out what their encoding lacks, where printing it would raise.

    For commands, which own the process; a library leaves the streams alone.
    """
    codecs.register_error("nerfgen", _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="nerfgen")


def spell(character: str) -> str:
    """Return an ASCII spelling of a character: its own, that without accents, or a question mark."""
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return SPELLED.get(character) or plain or "?"


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(spell, error.object[error.start : error.end])), error.end


Item = TypeVar("Item")


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar, and yield the function that moves it: it takes the number done and the total."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def counted(items: Iterable[Item], total: int, progress: Callable[[int, int], None]) -> Iterator[Item]:
    """The same items; `progress` is told how many have been taken."""
    for done, item in enumerate(items, start=1):
        yield item
        progress(done, total)


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


@contextmanager
def quiet_console() -> Iterator[None]:
    """Keep nerfstudio's remarks off the terminal."""
    # Commands show their help without nerfstudio, whose import takes seconds.
    from nerfstudio.utils.rich_utils import CONSOLE

    before = CONSOLE.quiet
    CONSOLE.quiet = True
    try:
        yield
    finally:
        CONSOLE.quiet = before
