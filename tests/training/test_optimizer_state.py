"""Checkpoints with the optimizers' state and without."""

from pathlib import Path

import pytest
import torch

from nerfgen_ns.runs.loading import read_checkpoint
from nerfgen_ns.training.optimizers import RowAdam
from nerfgen_ns.training.trainer import NerfgenTrainer
from tests.helpers.short_trainings import set_up, short_config


def trainer_of(folder: Path, output_dir: Path, **changes) -> NerfgenTrainer:
    return set_up(short_config(folder, output_dir, 3, small=True), training_minutes=100.0, **changes)


@pytest.fixture
def folder(make_prepared) -> Path:
    return make_prepared()


def test_a_checkpoint_without_optimizer_state_is_smaller_says_so_and_training_goes_on(
    folder, tmp_path, capsys
):
    whole = trainer_of(folder, tmp_path / "whole")
    whole.train()
    whole_size = next(whole.checkpoint_dir.iterdir()).stat().st_size
    assert "optimizer state." in capsys.readouterr().out

    lean = trainer_of(folder, tmp_path / "lean", save_optimizer_state=False)
    lean.train()
    (path,) = lean.checkpoint_dir.iterdir()
    said = " ".join(capsys.readouterr().out.split())
    assert f"Saved {path.name}" in said and "optimizer state left out" in said
    assert path.stat().st_size < 0.7 * whole_size
    assert read_checkpoint(lean.base_dir / "config.yml")["optimizers"] == {}
    # What was left out of the file stays in the training.
    assert all(optimizer.state for name, optimizer in lean.optimizers.optimizers.items())

    resumed = trainer_of(folder, tmp_path / "again", load_dir=lean.checkpoint_dir)
    said = " ".join(capsys.readouterr().out.split())
    assert "holds no optimizer state" in said and "latent_table" in said
    assert resumed._start_step == 3
    for name, value in lean.pipeline.state_dict().items():
        assert torch.equal(resumed.pipeline.state_dict()[name], value)
    for name, optimizer in resumed.optimizers.optimizers.items():
        assert not optimizer.state
        # The budget of three further steps: the rate, which had come to its end, is what it is half way.
        ended = lean.optimizers.optimizers[name].param_groups[0]["lr"]
        (scheduled,) = resumed.optimizers.schedulers[name].get_last_lr()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(scheduled) and scheduled > ended
    resumed.train()
    assert resumed.step == 5


def test_a_whole_checkpoint_goes_on_with_its_moments_and_says_nothing(folder, tmp_path, capsys):
    first = trainer_of(folder, tmp_path / "first")
    first.train()
    capsys.readouterr()
    second = trainer_of(folder, tmp_path / "second", load_dir=first.checkpoint_dir)
    assert "holds no optimizer state" not in " ".join(capsys.readouterr().out.split())
    ours, theirs = (trainer.optimizers.optimizers["latent_table"] for trainer in (first, second))
    assert isinstance(ours, RowAdam) and isinstance(theirs, RowAdam)
    (saved,), (loaded,) = ours.state_dict()["state"].values(), theirs.state_dict()["state"].values()
    assert saved["count"] == loaded["count"] > 0
    for name in ("rows", "exp_avg", "exp_avg_sq"):
        assert torch.equal(saved[name], loaded[name])
