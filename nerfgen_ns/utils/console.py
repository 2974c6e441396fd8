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
    """Let the standard streams replace characters that their encoding lacks, instead of raising an error.

    This is for commands, which own the process; a library does not change the streams.
    """
    codecs.register_error("nerfgen", _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="nerfgen")


def spell(character: str) -> str:
    """Return an ASCII spelling of a character: its own, one without accents, or a question mark."""
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
    """Yield the same items, and call `progress` with the number done and the total after each."""
    for done, item in enumerate(items, start=1):
        yield item
        progress(done, total)


SECONDS_PER_LINE = 60.0
"""Seconds between two lines of the log, which replace the bar where there is no terminal."""


class RateColumn(ProgressColumn):
    """Photographs a second, over the last moments."""

    def render(self, task: Task) -> Text:
        """Return the rate as text, empty until it is known."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")


@contextmanager
def progress_over(description: str, total: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """Show the progress of work, `done` parts of it done before; yield a function that counts one more."""
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
