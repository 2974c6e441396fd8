"""What is in a prepared folder: to the byte, and as a run keeps it."""

from pathlib import Path

from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
from nerfgen_ns.datamanagers.data_record import DataRecord

COUNT = 5
"""Photographs that the made-up captures are asked for: one of them has no face, and one no camera."""


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def record_of(folder: Path) -> DataRecord:
    return NerfgenDataParserConfig(data=folder).setup().record
