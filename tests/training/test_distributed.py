"""Two processes that train one model together over gloo, started by torch's launcher; none needs a GPU."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from torch import Tensor

from nerfgen_ns.configs import nerfgen_tiny
from nerfgen_ns.runs.loading import load_run, read_checkpoint
from nerfgen_ns.training.distributed.__main__ import main
from nerfgen_ns.training.distributed.ranks import average_rows
from nerfgen_ns.training.trainer import NerfgenTrainer

STEPS = range(11, 17)
"""In the last of them the sampler's grid is marked, and shared."""
RAYS = 96
TOUCHED_ROWS = [([0, 2, 2], [2, 5]), ([], [4]), ([1], None), ([], []), (None, None)]
TIMEOUT = 240


def make_trainer(heads: Path, output_dir: Path, rank: int, world_size: int, **options: Any) -> NerfgenTrainer:
    """A trainer of small networks in full precision, whose ranks begin with different random numbers."""
    config = copy.deepcopy(nerfgen_tiny.config)
    config.pipeline.datamanager.data, config.output_dir = heads, output_dir
    config.pipeline.datamanager.train_num_rays_per_batch = RAYS
    config.experiment_name, config.timestamp, config.vis = "heads", f"{rank}of{world_size}", "tensorboard"
    # Learning rates that follow the clock are no two times the same.
    config.machine.device_type, config.training_minutes = "cpu", None
    model = config.pipeline.model
    sampler, model.use_bf16 = model.sampler, False
    sampler.kind, sampler.grid_resolution, sampler.num_samples = "importance", 16, 8
    config.optimizers["camera_opt"]["scheduler"].start = 0.0
    model.camera_optimizer.mode = options.pop("camera_optimizer", "off")
    for name, value in options.items():
        setattr(config, name, value)
    torch.manual_seed(rank)
    trainer = config.setup(local_rank=rank, world_size=world_size)
    trainer.setup()
    return trainer


def run_steps(trainer: NerfgenTrainer, rank: int, world_size: int) -> dict[str, Any]:
    """Take a few steps with this rank's part of batches that are the same for any number of ranks."""
    manager, model = trainer.pipeline.datamanager, trainer.pipeline.model
    draw = manager.next_train
    own = slice(rank * RAYS // world_size, (rank + 1) * RAYS // world_size)

    def draw_part(step: int) -> Any:
        torch.manual_seed(step)
        rays, batch = draw(step)
        return rays[own], {name: values[own] for name, values in batch.items()}

    # A small ball, so that the ranks' rays meet the class unequally often.
    occupancy = model.ray_renderer.occupancy
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, occupancy.resolution)] * 3, indexing="ij")
    occupancy.weights.copy_((x**2 + y**2 + z**2 < 0.3**2).float())
    occupancy.mark()
    found: dict[str, Any] = {"losses": [], "gradients": {}, "first": copied(trainer)}
    names = {parameter: name for name, parameter in model.named_parameters()}

    def keep_gradients(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            # A Muon step spends the gradients of its matrices, and is followed by one of Adam.
            for parameter in (value for value in group["params"] if value.grad is not None):
                gradient = parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad
                found["gradients"].setdefault(names[parameter], gradient.clone())

    for optimizer in trainer.optimizers.optimizers.values():
        optimizer.register_step_pre_hook(keep_gradients)
    # Samplers draw a number for each sample of the rays that they are given: here it is the middle one.
    with patch.object(manager, "next_train", draw_part), patch("torch.rand_like", middle):
        for step in STEPS:
            trainer.pipeline.train()
            loss, _, _ = trainer.train_iteration(step)
            found["losses"].append(loss.item())
            for callback in trainer.callbacks:
                callback.run_callback_at_location(step, TrainingCallbackLocation.AFTER_TRAIN_ITERATION)
    found["state"] = copied(trainer)
    return found


def copied(trainer: NerfgenTrainer) -> dict[str, Tensor]:
    state = trainer.pipeline.state_dict()
    return {name: value.clone() for name, value in state.items() if name.startswith("_model.")}


def middle(values: Tensor) -> Tensor:
    return torch.full_like(values, 0.5)


def work(heads: Path, folder: Path) -> None:
    """What each of two ranks does; the tests look at what it leaves in `folder`."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    train_by_command(heads, folder)

    store = f"file://{folder}/store"
    dist.init_process_group("gloo", store, timedelta(seconds=TIMEOUT), world_size, rank)
    found = {"steps": run_steps(make_trainer(heads, folder, rank, world_size), rank, world_size)}
    found["rows"] = [averaged(rows[rank], rank + 1) for rows in TOUCHED_ROWS]
    (checkpoints,) = folder.glob("outputs/*/*/*/nerfstudio_models")
    resumed = make_trainer(heads, folder, rank, world_size, camera_optimizer="SO3xR3", load_dir=checkpoints)
    found["resumed"] = copied(resumed)
    for step in range(2):
        resumed.train_iteration(step)
    found["went on"] = copied(resumed)
    torch.save(found, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


def train_by_command(heads: Path, folder: Path) -> None:
    """Train until the time is over, with corrected poses."""
    sys.argv = ["distributed", *options(heads, folder), "--training-minutes", "0.003"]
    sys.argv += ["--pipeline.model.camera-optimizer.mode", "SO3xR3"]
    main()


def options(heads: Path, folder: Path) -> list[str]:
    """The options of a small training on processors, of any length."""
    return [
        "nerfgen-tiny", "--data", str(heads), "--output-dir", str(folder / "outputs"),
        "--machine.device-type", "cpu", "--vis", "tensorboard",
        "--pipeline.model.sampler.grid-resolution", "16",
        "--pipeline.datamanager.train-num-rays-per-batch", "64", "--steps-per-eval-batch", "2",
        "--steps-per-save", "2", "--optimizers.camera-opt.scheduler.start", "0",
    ]  # fmt: skip


def averaged(rows: list[int] | None, weight: float) -> Tensor | None:
    """The gradient of a table, of which this rank has touched rows or none, after the ranks have met."""
    table = torch.nn.Embedding(7, 2, sparse=True)
    if rows is not None:
        (table(torch.tensor(rows, dtype=torch.long)).sum() * weight).backward()
    average_rows(table.weight)
    return None if table.weight.grad is None else table.weight.grad.to_dense()


def launch(*command: object) -> list[str]:
    """The command that starts two processes with torch's launcher, on a free port."""
    launcher = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, "--nproc-per-node", "2", *map(str, command)]


@contextmanager
def started(command: list[str], log: Path) -> Iterator[subprocess.Popen]:
    """Run a command in the background, and end it with the block."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            yield process
        finally:
            # The launcher passes it on to its ranks.
            process.terminate()
            process.wait()


@pytest.fixture(scope="module")
def folder(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two ranks have worked."""
    folder = tmp_path_factory.mktemp("ranks")
    with started(launch(__file__, heads, folder), folder / "log") as process:
        assert process.wait(TIMEOUT) == 0, (folder / "log").read_text()[-4000:]
    return folder


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[str, Any]]:
    """What each of them found."""
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def one_process(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process does with the rays of both."""
    return run_steps(make_trainer(heads, tmp_path_factory.mktemp("one"), 0, 1), 0, 1)


def test_two_halves_of_a_batch_have_the_loss_of_the_whole(ranks, one_process) -> None:
    first, second = (torch.tensor(rank["steps"]["losses"]) for rank in ranks)
    assert (first != second).all()
    torch.testing.assert_close((first + second) / 2, torch.tensor(one_process["losses"]), rtol=1e-5, atol=0)


def test_two_halves_of_a_batch_have_the_gradients_of_the_whole(ranks, one_process) -> None:
    for rank in ranks:
        gradients = rank["steps"]["gradients"]
        assert gradients.keys() == one_process["gradients"].keys()
        for name, expected in one_process["gradients"].items():
            scale = float(expected.abs().max())
            torch.testing.assert_close(gradients[name], expected, rtol=1e-4, atol=1e-5 * scale)


def test_two_ranks_take_the_steps_of_one_process(ranks, one_process) -> None:
    for name, expected in one_process["state"].items():
        if len(expected) > 0:
            moved = float((expected - one_process["first"][name]).abs().max())
            assert moved > 0, name
            torch.testing.assert_close(ranks[0]["steps"]["state"][name], expected, rtol=0, atol=1e-3 * moved)


def test_ranks_stay_equal_bit_for_bit(ranks) -> None:
    for state in ("resumed", "went on"):
        for name, value in ranks[0][state].items():
            assert torch.equal(value, ranks[1][state][name]), (state, name)
    for name, value in ranks[0]["steps"]["state"].items():
        assert torch.equal(value, ranks[1]["steps"]["state"][name]), name


def test_rows_that_one_rank_touched_or_none_are_averaged_over_all(ranks) -> None:
    expected = torch.zeros(4, 7, 2)
    expected[0, [0, 2, 5]] = torch.tensor([[0.5], [2.0], [1.0]])
    expected[1, 4], expected[2, 1] = 1.0, 0.5
    for rank in ranks:
        assert torch.equal(torch.stack(rank["rows"][:4]), expected)
        assert rank["rows"][4] is None


def test_a_command_leaves_one_checkpoint_that_one_process_loads(folder: Path, ranks) -> None:
    (config,) = folder.glob("outputs/*/*/*/config.yml")
    state = read_checkpoint(config)["pipeline"]
    assert not [name for name in state if "module" in name]
    run = load_run(config)
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, ranks[1]["resumed"][f"_model.{name}"]), name
    assert run.model.camera_optimizer.pose_deltas.weight.any()
    (log_folder,) = {path.parent for path in folder.rglob("events.out.*") if "outputs" in path.parts}
    assert log_folder == config.parent
    assert (folder / "log").read_text().count("Training Finished") == 1


def test_a_rank_that_dies_ends_all_with_a_clear_error(heads: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with started(launch("-m", "nerfgen_ns.training.distributed", *options(heads, tmp_path)), log) as process:
        deadline = time.monotonic() + TIMEOUT
        while not list(tmp_path.glob("outputs/*/*/*/nerfstudio_models/*.ckpt")):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.1)
        os.kill(rank_of(process, 1), signal.SIGKILL)
        assert process.wait(TIMEOUT) == 1
    said = log.read_text()
    # By whichever comes first: the broken connection, or the launcher, which ends the others.
    line = next(line for line in said.splitlines() if line.startswith("nerfgen: rank 0 "))
    assert "2 processes" in line and "--load-dir" in said


def rank_of(launcher: subprocess.Popen, rank: int) -> int:
    """The number of the process that the launcher has started as a rank."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    (pid,) = [pid for pid in children if f"RANK={rank}\0" in Path(f"/proc/{pid}/environ").read_text()]
    return int(pid)


@pytest.mark.filterwarnings("ignore:Unable to enable fault handler")
def test_without_the_launcher_the_call_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(SystemExit, match="2"):
        main()
    error = capsys.readouterr().err
    assert error.startswith("nerfgen: ") and error.count("\n") == 1 and "torchrun" in error


if __name__ == "__main__":
    work(Path(sys.argv[1]), Path(sys.argv[2]))
