"""The command line: help, versions, and exit statuses with one line each."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from nerfgen_ns.cli.doctor import Doctor
from nerfgen_ns.cli.main import entrypoint
from nerfgen_ns.errors import NerfgenError, UsageError


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """A function that calls nerfgen with arguments and returns its exit status."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["nerfgen", *arguments])
        try:
            entrypoint()
        except SystemExit as error:
            return int(error.code or 0)
        return 0

    return run


@pytest.mark.parametrize("command", ["prepare", "demo", "fit", "sample", "morph", "mesh", "pin", "doctor"])
def test_every_command_explains_itself(
    call: Callable[..., int], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--help") == 0
    assert command in capsys.readouterr().out
    assert call(command, "--help") == 0
    assert command in capsys.readouterr().out


def test_version_is_that_of_the_package(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out.startswith("nerfgen 0.")


@pytest.mark.parametrize(
    "arguments", [(), ("nonsense",), ("pin", "--identity", "x"), ("demo", "--identities", "x")]
)
def test_a_wrong_call_has_status_2(call: Callable[..., int], arguments: tuple[str, ...]) -> None:
    assert call(*arguments) == 2


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (NerfgenError("disk full"), 1, "nerfgen: disk full\n"),
        (UsageError("no such folder"), 2, "nerfgen: no such folder\n"),
        (KeyboardInterrupt(), 130, "nerfgen: interrupted; the same command goes on from here\n"),
    ],
)
def test_an_error_is_one_line_and_a_status(
    call: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    line: str,
) -> None:
    def fail(self: Doctor) -> None:
        raise error

    monkeypatch.setattr(Doctor, "run", fail)
    assert call("doctor") == status
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", line)


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, nerfgen_ns.cli.main\n"
        "heavy = {'torch', 'nerfstudio', 'mediapipe', 'wandb', 'cv2'}\n"
        "print(*(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
