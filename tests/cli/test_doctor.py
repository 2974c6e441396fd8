"""`nerfgen doctor`: what works, what does not, and the exit status that follows from what is needed."""

from pathlib import Path

import pytest

from nerfgen_ns.cli import doctor
from nerfgen_ns.cli.doctor import CHECKS, Check, Doctor, examine, mediapipe_checks


def broken() -> str:
    raise ImportError("libfoo.so: cannot open shared object file\nmore lines")


def fine() -> str:
    return "1.0"


def test_a_failing_check_is_found_with_its_first_line_and_its_mend() -> None:
    finding = examine(Check("foo", broken, "install foo"))
    assert not finding.works
    assert finding.found == "libfoo.so: cannot open shared object file"
    assert finding.mend == "install foo"


def test_an_error_without_a_message_is_named() -> None:
    def silent() -> str:
        raise MemoryError

    assert examine(Check("foo", silent, "")).found == "MemoryError"


def test_a_missing_extra_is_shown_with_its_mend_but_the_status_is_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = [Check("torch", fine, "x"), Check("extra", broken, "pip install extra[all]", needed=False)]
    monkeypatch.setattr(doctor, "CHECKS", checks)
    monkeypatch.setattr(doctor, "mediapipe_checks", lambda *files: [])
    Doctor().run()
    printed = capsys.readouterr().out
    assert "✓" in printed
    assert "extra[all]" in printed


def test_something_needed_that_is_missing_gives_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", [Check("torch", broken, "install torch"), Check("b", fine, "")])
    monkeypatch.setattr(doctor, "mediapipe_checks", lambda *files: [])
    with pytest.raises(SystemExit) as exit_info:
        Doctor().run()
    assert exit_info.value.code == 1
    printed = capsys.readouterr().out
    assert "✗" in printed
    assert "install torch" in printed


@pytest.mark.parametrize("what", ["python", "torch", "torchvision", "numpy", "opencv", "nerfstudio"])
def test_what_training_needs_works_where_these_tests_run(what: str) -> None:
    (check,) = (check for check in CHECKS if check.what == what)
    finding = examine(check)
    assert finding.works, finding.found


def test_mediapipe_is_called_for_real_by_the_way_that_works_here() -> None:
    mediapipe = pytest.importorskip("mediapipe", reason="mediapipe is not installed")
    bundled, files = (examine(check) for check in mediapipe_checks(None, None))
    has_models = hasattr(mediapipe, "solutions")
    assert bundled.works == files.works == has_models, (bundled, files)
    assert "--landmark-model-file" in files.mend


def test_a_model_file_that_is_given_is_tried(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe", reason="mediapipe is not installed")
    bad = tmp_path / "bad.task"
    bad.write_text("no model")
    _, files = (examine(check) for check in mediapipe_checks(bad, None))
    assert not files.works
    assert "bad.task" in files.found


@pytest.mark.parametrize(("package", "version"), [("numpy", "2.1.0"), ("protobuf", "4.25.3")])
def test_versions_that_do_not_go_together_are_found(
    monkeypatch: pytest.MonkeyPatch, package: str, version: str
) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: version)
    (check,) = (check for check in CHECKS if check.what == package)
    finding = examine(check)
    assert not finding.works
    assert finding.found == f"{package} {version}"
    assert "<" in finding.mend


def test_a_full_disk_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FREE_GIGABYTES", 1e9)
    (check,) = (check for check in CHECKS if check.what == "disk")
    assert not examine(check).works
