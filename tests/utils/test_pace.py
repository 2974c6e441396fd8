"""The pace of a training: when a user hears that another process slows it down, and when not."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from nerfstudio.engine.trainer import Trainer

from nerfgen_ns.training import trainer as trainer_module
from nerfgen_ns.utils.machine import PaceWatch
from tests.helpers.short_trainings import set_up, short_config


def said(seconds: list[float], load: float | None = 4.0, cores: int = 2) -> list[str]:
    """What a watch says in the course of steps that take so long each."""
    watch = PaceWatch(cores, lambda: load)
    return [line for line in map(watch.after_step, seconds) if line]


def test_a_training_that_becomes_slow_on_a_busy_machine_is_told_once_and_what_to_do() -> None:
    (line,) = said([0.05] * 200 + [1.0] * 500 + [0.05] * 100 + [1.0] * 500)
    assert "OMP_NUM_THREADS=1" in line and "20 times" in line and "\n" not in line


@pytest.mark.parametrize(
    ("seconds", "load"),
    [
        ([0.05] * 300, 4.0),
        ([2.0] * 30 + [0.05] * 200, 4.0),
        ([0.05] * 100 + [0.15] * 300, 4.0),
        ([0.05] * 100 + [600.0] + [0.05] * 100, 4.0),
        ([0.05] * 100 + [1.0] * 300, 2.0),
        ([0.05] * 100 + [1.0] * 300, None),
        ([1.0] * 300, 4.0),
    ],
    ids=[
        "steady",
        "slow at first",
        "a little slower",
        "asleep once",
        "no load",
        "load unknown",
        "always slow",
    ],
)
def test_nothing_is_said_otherwise(seconds: list[float], load: float | None) -> None:
    assert not said(seconds, load)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that a step moves by `step`, and an evaluation by a minute."""
    clock = SimpleNamespace(now=0.0, step=0.05)

    def train_iteration(self: Trainer, step: int) -> tuple[torch.Tensor, dict, dict]:
        clock.now += clock.step
        return torch.zeros(()), {}, {}

    monkeypatch.setattr(trainer_module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(Trainer, "train_iteration", train_iteration)
    return clock


def test_a_training_says_it_and_evaluations_do_not_count(
    clock: SimpleNamespace, heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = set_up(short_config(heads, tmp_path, 1, small=True))
    trainer.pace_watch = PaceWatch(2, lambda: 4.0)
    capsys.readouterr()
    for step in range(200):
        trainer.train_iteration(step)
        clock.now += 60.0
    assert "OMP_NUM_THREADS" not in capsys.readouterr().out
    clock.step = 1.0
    for step in range(200, 400):
        trainer.train_iteration(step)
    assert capsys.readouterr().out.count("OMP_NUM_THREADS") == 1
