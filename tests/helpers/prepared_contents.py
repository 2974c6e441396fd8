"""What is in a prepared folder, to the byte."""

from pathlib import Path

COUNT = 5
"""Photographs that the made-up captures are asked for: one of them has no face, and one no camera."""


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
