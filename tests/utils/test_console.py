"""Consoles that are not UTF-8."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nerfgen_ns.utils.console import show_on_any_console
from tests.helpers.short_trainings import short_config


def stream(encoding: str) -> io.TextIOWrapper:
    """A stream as Python opens it for the standard output."""
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")


def written(to: io.TextIOWrapper) -> str:
    to.flush()
    assert isinstance(to.buffer, io.BytesIO)
    return to.buffer.getvalue().decode(to.encoding)


@pytest.mark.parametrize(
    ("encoding", "spelled"),
    [
        ("ascii", "+ x 256x256 -4 -> ... 10 degrees Zofie ?? ?"),
        ("cp1252", "+ x 256×256 -4 -> … 10° Žofie ?? ?"),
        ("utf-8", "✓ ✗ 256×256 −4 → … 10° Žofie 日本 ?"),
    ],
)
def test_what_an_encoding_lacks_is_spelled_with_what_it_has(
    monkeypatch: pytest.MonkeyPatch, encoding: str, spelled: str
) -> None:
    console = stream(encoding)
    monkeypatch.setattr(sys, "stdout", console)
    show_on_any_console()
    # The last is a byte of a file's name that is no UTF-8, as Python holds it.
    print("✓ ✗ 256×256 −4 → … 10° Žofie 日本 \udcff", end="")
    assert written(console) == spelled


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_every_help_text_and_the_doctor_are_shown(
    call_nerfgen, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    from nerfgen_ns.cli import doctor

    monkeypatch.setattr(doctor, "CHECKS", doctor.CHECKS[:1])
    monkeypatch.setattr(doctor, "mediapipe_checks", lambda *files: [])
    commands = ("prepare", "demo", "fit", "evaluate", "sample", "morph", "mesh", "pin", "doctor")
    for words in (("doctor",), ("--help",), *((command, "--help") for command in commands)):
        console = stream(encoding)
        monkeypatch.setattr(sys, "stdout", console)
        assert call_nerfgen(*words) == 0
        assert written(console) and "?" not in written(console)


def test_ns_train_shows_its_configuration(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = stream("ascii")
    monkeypatch.setattr(sys, "stdout", console)
    short_config(heads, tmp_path, 1).print_to_terminal()
    assert "max_num_iterations=1" in written(console)


def test_nerfgen_runs_where_the_console_is_ascii() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    command = [sys.executable, "-m", "nerfgen_ns.synthetic", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stdout.decode("ascii")
