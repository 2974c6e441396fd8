"""The GPU check on a processor: few steps, and the commands' options without the commands."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tyro

from benchmarks import gpu_check
from benchmarks.gpu_check import GpuCheck
from benchmarks.results_file import write_section
from nerfgen_ns.cli.main import Command
from nerfgen_ns.errors import NerfgenError
from tests.helpers.short_trainings import short_config, train


def parse(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Read the options of a command as the command does; one that it does not know ends the test."""
    from nerfstudio.scripts import eval as ns_eval
    from nerfstudio.scripts import render

    from nerfgen_ns.training.distributed.__main__ import read_command_line

    program, *given = arguments
    if program == "torchrun":
        given = given[given.index("nerfgen_ns.training.distributed") + 1 :]
    if program in ("ns-train", "torchrun"):
        monkeypatch.setattr(sys, "argv", [program, *given])
        return read_command_line()
    kinds: dict[str, Any] = {"ns-eval": ns_eval.ComputePSNR, "ns-render": render.Commands, "nerfgen": Command}
    return tyro.cli(kinds[program], args=given)


def test_every_check_is_done_and_one_that_fails_is_named(
    small_heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_check, "WARM_UP", 1)
    monkeypatch.setattr(gpu_check, "PICTURE_SIZE", 16)
    monkeypatch.setattr(gpu_check, "_nvcc", lambda: "no nvcc")
    out, called = tmp_path / "out", set()

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        parsed = parse(command, monkeypatch)
        called.add(" ".join(command[:2]) if command[0] in ("nerfgen", "ns-render") else command[0])
        if command[0] == "ns-train" and parsed.timestamp == "first":
            assert parsed.vis == "viewer" and parsed.viewer.quit_on_train_completion
            short = short_config(small_heads / "train", out / "runs", 2)
            short.experiment_name, short.timestamp = "check", "first"
            train(short)
        return SimpleNamespace(returncode=int("mesh" in command), stdout="the end")

    monkeypatch.setattr(gpu_check.subprocess, "run", run)
    results = tmp_path / "RESULTS.md"
    write_section(results, "Scale", "cpu", "A table.")
    check = GpuCheck(
        small_heads / "train",
        out,
        steps=1,
        training_steps=2,
        methods=("nerfgen-tiny",),
        tests=False,
        skip=("peaks, operations a second",),
        results=results,
    )
    with pytest.raises(NerfgenError, match=r"failed: mesh;"):
        check.run()
    capsys.readouterr()
    assert called == {
        "ns-train",
        "torchrun",
        "ns-eval",
        "ns-render spiral",
        "ns-render dataset",
        *(f"nerfgen {name}" for name in ("fit", "evaluate", "morph", "sample", "mesh")),
    }
    written = json.loads((out / "gpu_check.json").read_text())
    assert {name for name, found in written.items() if not found["passed"]} == {"mesh"}
    for name in ("steps of nerfgen-tiny", "steps with every option"):
        figures = written[name]["found"]
        assert figures["milliseconds_a_step"] > 0 and figures["frames_a_second"] > 0
        assert figures["device_gigabytes"] is None and figures["synchronizations"] is None
    differences = written["one model on both devices"]["found"]["differences_to_the_processor"]
    assert differences["and back"]["largest"] < 1e-5
    text = results.read_text()
    assert "A table." in text and "| mesh | failed |" in text and "## GPU check on a processor" in text


def test_a_wheel_is_there_for_what_the_check_needs_and_a_machine_with_torch_lacks() -> None:
    wheels = Path(gpu_check.__file__).with_name("gpu_wheels.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in wheels if line and not line.startswith("#"))
    assert {"nerfstudio", "nerfacc", "gsplat", "viser", "tyro", "trimesh"} <= pins.keys()
    constraints = Path(gpu_check.__file__).parents[1].joinpath("constraints.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in constraints if line and not line.startswith("#"))
    assert {name: tested.get(name, pins[name]) for name in pins} == {
        **pins,
        "imageio-ffmpeg": tested["imageio-ffmpeg"],
    }
    assert int(pins["numpy"].split(".")[0]) < 2
