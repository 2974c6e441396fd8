"""The command line: help, versions, and exit statuses with one line each."""

import runpy
import subprocess
import sys
from collections.abc import Callable

import pytest

from nerfgen_ns.cli.doctor import Doctor
from nerfgen_ns.errors import NerfgenError, UsageError


@pytest.mark.parametrize("command", ["prepare", "demo", "fit", "sample", "morph", "mesh", "pin", "doctor"])
def test_every_command_explains_itself(
    call_nerfgen: Callable[..., int], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call_nerfgen("--help") == 0
    assert command in capsys.readouterr().out
    assert call_nerfgen(command, "--help") == 0
    assert command in capsys.readouterr().out


def test_version_is_that_of_the_package(
    call_nerfgen: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call_nerfgen("--version") == 0
    assert capsys.readouterr().out.startswith("nerfgen 0.")


@pytest.mark.parametrize(
    "arguments", [(), ("nonsense",), ("pin", "--identity", "x"), ("demo", "--identities", "x")]
)
def test_a_wrong_call_has_status_2(call_nerfgen: Callable[..., int], arguments: tuple[str, ...]) -> None:
    assert call_nerfgen(*arguments) == 2


@pytest.mark.parametrize(
    ("error", "status", "begin"),
    [
        (NerfgenError("disk full"), 1, "nerfgen: disk full\n"),
        (UsageError("no such folder"), 2, "nerfgen: no such folder\n"),
        (PermissionError(13, "Permission denied", "a.csv"), 1, "nerfgen: a.csv: Permission denied"),
        (KeyboardInterrupt(), 130, "nerfgen: "),
    ],
)
def test_an_error_is_one_line_and_a_status(
    call_nerfgen: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    begin: str,
) -> None:
    def fail(self: Doctor) -> None:
        raise error

    monkeypatch.setattr(Doctor, "run", fail)
    assert call_nerfgen("doctor") == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(begin) and captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        ("nerfgen_ns.synthetic", ["--output-dir", "out", "--identities", "0"], "nerfgen: out: "),
    ],
)
def test_modules_that_are_commands_end_with_one_line_too(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: str,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    error = capsys.readouterr().err
    assert error.startswith(said) and error.count("\n") == 1


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, nerfgen_ns.cli.main\n"
        "heavy = {'torch', 'nerfstudio', 'mediapipe', 'wandb', 'cv2'}\n"
        "print(*(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
