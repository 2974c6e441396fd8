"""What was run for a figure, on which machine, in how long: noted in the JSON of every benchmark."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nerfgen_ns.utils.machine import describe_machine, machine_sentence

RECORD = "record"
"""The key of `record_of_run` in a benchmark's JSON."""
WHOLE_PATH = re.compile(r"(?<![\w.~/:])/[^\s\"'`,;:()]+")


def record_of_run(begin: float, arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Return what was run, on which machine and for how long: for the key `RECORD` of a benchmark's JSON.

    Args:
        begin: `time.perf_counter()` when the work began.
        arguments: the command; if not set, that of this process.
    """
    return {
        "command": shown_command(sys.orig_argv if arguments is None else arguments),
        "seconds": round(time.perf_counter() - begin, 1),
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
    }


def record_sentence(record: dict[str, Any]) -> str:
    """Write the result of `record_of_run` as a sentence."""
    return (
        f"`{record['command']}`, {record['date']}, {spoken_seconds(record['seconds'])}, on "
        f"{machine_sentence(record['machine'])}."
    )


def spoken_seconds(seconds: float) -> str:
    """Write a time in seconds or, from two minutes on, in minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def shown_command(arguments: Sequence[str]) -> str:
    """Write a command as others can repeat it: Python by its name, whole paths by their last two parts."""
    python, *rest = arguments
    return shown_text(" ".join([re.sub(r"[\d.]+$", "", Path(python).name), *rest]))


def shown_text(text: str) -> str:
    """Shorten whole paths in a text to their last two parts: the other parts mean nothing elsewhere."""
    return WHOLE_PATH.sub(lambda found: shown_path(found.group()), text)


def shown_path(path: Path | str) -> str:
    """Return the last two parts of a path."""
    return "/".join([part for part in Path(path).parts if part != "/"][-2:])
