"""RESULTS.md: what the benchmarks measured, a section for each subject and kind of device."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from nerfgen_ns.errors import UsageError
from nerfgen_ns.utils.files import write_text

TITLE = "# What the benchmarks measured\n\nEach section was written by one benchmark.\n"
DEVICES = {"cpu": "on a processor", "cuda": "on a GPU"}


def write_section(path: Path, subject: str, device: Literal["cpu", "cuda"], body: str) -> None:
    """Put figures into a file of results, in place of older ones of the same subject and kind of device.

    A kind of device on which the subject has not been measured gets a section that says so.

    Raises:
        UsageError: the file is no text.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else TITLE
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a readable file of results ({error}); choose another") from error
    head, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    sections = {title: section for title, _, section in (part.partition("\n") for part in parts)}
    for kind, words in DEVICES.items():
        if kind == device:
            sections[f"{subject} {words}"] = body
        else:
            sections.setdefault(f"{subject} {words}", f"Not measured {words} yet.")
    joined = "".join(f"\n## {name}\n\n{text.strip()}\n" for name, text in sections.items())
    write_text(path, f"{head.strip()}\n{joined}")
