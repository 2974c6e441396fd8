"""Consoles that are not UTF-8: what they cannot show is spelled with the characters that they have."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

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
