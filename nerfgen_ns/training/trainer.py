"""nerfstudio's trainer with a budget of minutes and checkpoints that appear whole."""

from __future__ import annotations

import pickle
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import Trainer, TrainerConfig
from nerfstudio.models.base_model import ModelConfig
from nerfstudio.utils import comms
from nerfstudio.utils.misc import step_check
from nerfstudio.utils.rich_utils import CONSOLE
from torch.optim.lr_scheduler import LambdaLR

from nerfgen_ns.datamanagers.data_manager import NerfgenDataManager, NerfgenDataManagerConfig
from nerfgen_ns.datamanagers.data_record import write_record
from nerfgen_ns.errors import NerfgenError, UsageError, check_at_least, exit_with_one_line
from nerfgen_ns.model.config import NerfgenModelConfig
from nerfgen_ns.rendering.ray_renderers import check_volumetric
from nerfgen_ns.training.checkpoints import (
    checkpoints_in,
    experiment_name,
    find_checkpoint,
    newest_checkpoint,
    opened_config,
    reserve_run_folder,
)
from nerfgen_ns.training.distributed.ranks import RankOptimizers, says_first
from nerfgen_ns.training.optimizers import (
    BudgetDecay,
    BudgetDecayConfig,
    RowAdamConfig,
    left_out,
    size_line,
    start_anew,
)
from nerfgen_ns.training.pipeline import NerfgenPipeline, NerfgenPipelineConfig, check_stages
from nerfgen_ns.utils.console import show_on_any_console
from nerfgen_ns.utils.machine import cuda_problem, keep_freed_memory, watch_this_machine

INTERRUPTED = 130
"""Exit status of a training that was interrupted from the keyboard, as a shell gives it."""
LOGGER_KEYS = {"wandb": "WANDB_API_KEY", "comet_ml": "COMET_API_KEY"}
"""The packages that keep logs on a server, and the environment variable that holds the key of each."""
CHECKPOINT_ERRORS = (
    OSError,
    EOFError,
    AssertionError,
    LookupError,
    RuntimeError,
    ValueError,
    pickle.UnpicklingError,
)
"""What nerfstudio and torch raise for a folder without checkpoints, or an incomplete checkpoint."""


@dataclass
class NerfgenTrainerConfig(TrainerConfig):
    """nerfstudio's trainer configuration and a budget in minutes."""

    _target: type = field(default_factory=lambda: NerfgenTrainer)
    """Target class to instantiate."""
    viewer: ViewerConfig = field(
        default_factory=lambda: ViewerConfig(websocket_host="127.0.0.1", num_rays_per_chunk=1 << 15)
    )
    """nerfstudio's viewer, reachable from this machine alone unless asked otherwise."""
    training_minutes: float | None = None
    """Stop training after this many minutes, evaluation and saving not counted, resumed runs counted
    together; the learning rates decay over this or the number of iterations, whichever ends first. If not
    set, only the number of iterations counts."""
    save_optimizer_state: bool = True
    """Whether checkpoints hold the optimizers' moments, which take up to twice the space of the networks and
    the latent table. Without them a run can still render and continue; the moments start again at zero."""
    rank_timeout_minutes: float = 30.0
    """With several processes (`python -m nerfgen_ns.training.distributed`): how long they wait for one that
    does not answer because it is stuck, evaluates all photographs, or is paused from the viewer."""
    run_dir: tyro.conf.Suppress[Path | None] = None
    """The present folder of the run that is opened. Not set in training."""

    def open_in(self, folder: Path) -> None:
        """Open the run in a folder, with its newest checkpoint and what it has kept of its data."""
        self.run_dir = folder.resolve()
        manager: Any = self.pipeline.datamanager
        manager.dataparser.run_dir = self.run_dir
        # nerfstudio can find the newest itself, but takes every other file in the folder for a checkpoint.
        self.load_step = max(checkpoints_in(self.run_dir / self.relative_model_dir), default=None)

    def set_experiment_name(self) -> None:
        """Name the run after its data, unless it has a name."""
        if self.experiment_name is None:
            manager: Any = self.pipeline.datamanager
            given = manager.dataparser.data
            self.experiment_name = experiment_name(manager.data or (given if given != Path() else None))

    def get_base_dir(self) -> Path:
        """Return the run folder."""
        return super().get_base_dir() if self.run_dir is None else self.run_dir

    def get_checkpoint_dir(self) -> Path:
        """Return the folder of the run's checkpoints; nerfstudio calls this before it reads a run."""
        opened = opened_config()
        if opened is None:
            return super().get_checkpoint_dir()
        self.open_in(opened.parent)
        folder = super().get_checkpoint_dir()
        with exit_with_one_line():
            newest_checkpoint(folder)
        return folder

    def print_to_terminal(self) -> None:
        """Print the configuration; this, and what `ns-train` prints after it, on any console."""
        show_on_any_console()
        super().print_to_terminal()

    def save_config(self) -> None:
        """Write the run's config.yml into a folder of its own.

        A folder that cannot be written to, or is another training's, ends the command with one line.
        """
        with exit_with_one_line():
            if isinstance(self.pipeline.datamanager, NerfgenDataManagerConfig):
                self.pipeline.datamanager.check()
            check_whole(self.pipeline.model)
            try:
                reserve_run_folder(self)
                super().save_config()
            except OSError as error:
                raise NerfgenError(
                    f"{self.get_base_dir()}: cannot be written ({error.strerror or error}); "
                    "choose another --output-dir or free some space"
                ) from error


def check_whole(model: ModelConfig) -> None:
    """Check that objects are shown as they are.

    Raises:
        UsageError: the configuration is of a run of `nerfgen region`.
    """
    if isinstance(model, NerfgenModelConfig) and model.region is not None:
        raise UsageError(
            "--load-config: parts of the run's objects are edited, and it does not train; train the run that "
            "it was made of"
        )


@contextmanager
def loggers_in_one_line(vis: str) -> Iterator[None]:
    """Run the block, and name the option if a package that keeps logs on a server cannot start.

    Most often a key is missing.

    Args:
        vis: the value of the option `--vis`.

    Raises:
        UsageError: such a package raised, or is not installed.
    """
    try:
        yield
    except Exception as error:
        frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
        raisers = {name.partition(".")[0] for name in (*frames, getattr(error, "name", None) or "")}
        for logger in LOGGER_KEYS.keys() & raisers:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise UsageError(
                f"--vis {vis}: {reason}; set {LOGGER_KEYS[logger]}, or choose --vis tensorboard"
            ) from error
        raise


class NerfgenTrainer(Trainer):
    """nerfstudio's trainer with a budget of minutes, which writes checkpoints whole."""

    config: NerfgenTrainerConfig
    stop_training = False

    def setup_optimizers(self) -> Optimizers:
        """Make nerfstudio's optimizers, and give the budget to the schedulers that follow it."""
        with exit_with_one_line():
            try:
                optimizers = self._make_optimizers()
            except ValueError as error:  # torch raises this for a number out of range
                raise UsageError(f"--optimizers: {error}") from error
        self.decays = [
            decay
            for scheduler in optimizers.schedulers.values()
            for decay in getattr(scheduler, "lr_lambdas", [])
            if isinstance(decay, BudgetDecay)
        ]
        for decay in self.decays:
            decay.max_steps = self.config.max_num_iterations
            decay.minutes = self.config.training_minutes
        return optimizers

    def _make_optimizers(self) -> Optimizers:
        if isinstance(self.pipeline, NerfgenPipeline) and self.world_size > 1:
            config, groups = self.config.optimizers.copy(), self.pipeline.get_param_groups()
            return RankOptimizers(config, groups, self.pipeline.tables.values())
        return super().setup_optimizers()

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """Read the data and make the model; a run that fails or is interrupted here leaves no files."""
        with exit_with_one_line():
            self._check_options()
            self._check_device()
        if self.device == "cpu":
            keep_freed_memory()
        # On a GPU the sums of bf16 products keep the precision of fp32.
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        # The viewer keeps its camera paths in this folder: let it be the run's, not the photographs'.
        self.config.data = None
        self.pace_watch = watch_this_machine() if self.device == "cpu" else None
        try:
            with exit_with_one_line(), loggers_in_one_line(self.config.vis):
                super().setup(test_mode)
            self._keep_record()
        except BaseException as error:
            self._remove_folder()
            if not isinstance(error, KeyboardInterrupt):
                raise
            print("\nnerfgen: interrupted before training began", file=sys.stderr)
            raise SystemExit(INTERRUPTED) from None

    def _check_options(self) -> None:
        """Check the options for numbers that no training can use.

        Raises:
            UsageError: there is one.
        """
        config, manager = self.config, self.config.pipeline.datamanager
        check_whole(config.pipeline.model)
        lowest: dict[str, tuple[float, float]] = {
            "--max-num-iterations": (config.max_num_iterations, 1),
            "--steps-per-save": (config.steps_per_save, 0),
            "--logging.max-buffer-size": (config.logging.max_buffer_size, 1),
            "--logging.steps-per-log": (config.logging.steps_per_log, 1),
        }
        if isinstance(manager, NerfgenDataManagerConfig):
            lowest["--pipeline.datamanager.train-num-rays-per-batch"] = (manager.train_num_rays_per_batch, 1)
            lowest["--pipeline.datamanager.eval-num-rays-per-batch"] = (manager.eval_num_rays_per_batch, 1)
            pixels = manager.pixel_sampler.pixels_per_image
            lowest["--pipeline.datamanager.pixel-sampler.pixels-per-image"] = (pixels, 1)
            lowest["--pipeline.datamanager.pixel-memory"] = (manager.pixel_memory, 0.0)
            landmarks = manager.pixel_sampler.landmark_fraction
            lowest["--pipeline.datamanager.pixel-sampler.landmark-fraction"] = (landmarks, 0.0)
            if (size := manager.dataparser.training_size) is not None:
                lowest["--pipeline.datamanager.dataparser.training-size"] = (size, 1)
        for group, parts in config.optimizers.items():
            if isinstance(decay := parts["scheduler"], BudgetDecayConfig):
                option = f"--optimizers.{group.replace('_', '-')}.scheduler"
                lowest[f"{option}.warmup-steps"] = (decay.warmup_steps, 0)
                lowest[f"{option}.cooldown"] = (decay.cooldown, 0.0)
            if isinstance(rows := parts["optimizer"], RowAdamConfig) and rows.max_norm is not None:
                raise UsageError(
                    f"--optimizers.{group.replace('_', '-')}.optimizer.max-norm {rows.max_norm}: sparse "
                    "gradients have no norm in PyTorch; leave it out"
                )
        for option, (value, least) in lowest.items():
            check_at_least(option, value, least)
        if config.training_minutes is not None and config.training_minutes <= 0:
            raise UsageError(f"--training-minutes {config.training_minutes}: give more than 0")
        if isinstance(config.pipeline, NerfgenPipelineConfig):
            check_stages(config.pipeline, self.world_size)

    def _check_device(self) -> None:
        """Say why a GPU is not used, and refuse what cannot work on the device.

        Raises:
            UsageError: the GPU, or the sampler that was chosen, does not work here.
        """
        model = self.config.pipeline.model
        if self.device == "cpu":
            # There is no message about a GPU that works but was not chosen.
            if not torch.cuda.is_available() and (problem := cuda_problem()):
                CONSOLE.log(f"Training runs on the processor: the GPU cannot be used ({problem}).")
        elif self.device.startswith("cuda") and (
            problem := cuda_problem() or (None if torch.cuda.is_available() else "this machine has no GPU")
        ):
            raise UsageError(f"--machine.device-type cuda: {problem}; call nerfgen doctor, or choose cpu")
        if isinstance(model, NerfgenModelConfig) and model.sampler.kind == "volumetric":
            check_volumetric(torch.device(self.device))

    def _keep_record(self) -> None:
        """Write into the run folder what opening the run needs from the data."""
        manager = self.pipeline.datamanager
        if isinstance(manager, NerfgenDataManager) and comms.is_main_process():
            with exit_with_one_line():
                write_record(self.base_dir, manager.dataparser.record, manager.fingerprint)

    def _remove_folder(self) -> None:
        """Remove the run folder if it holds config.yml alone, and those above it that are then empty."""
        files = [path.name for path in self.base_dir.glob("*")]
        if not comms.is_main_process() or files != ["config.yml"]:
            return
        (self.base_dir / "config.yml").unlink()
        within = takewhile(lambda folder: folder != self.config.output_dir, self.base_dir.parents)
        with suppress(OSError):
            for folder in (self.base_dir, *within):
                folder.rmdir()

    def train(self) -> None:
        """Train; an interruption from the keyboard saves a checkpoint and says how to continue."""
        try:
            super().train()
        except KeyboardInterrupt:
            if self.training_state == "completed":
                return
            self.save_checkpoint(self.step)
            if comms.is_main_process():
                place = f"at step {self.step}; go on with --load-dir {self.checkpoint_dir}"
                print(f"\nnerfgen: interrupted {place}", file=sys.stderr)
            raise SystemExit(INTERRUPTED) from None

    def train_iteration(self, step: int) -> Any:
        """Train one iteration, by the clock of rank 0, which also decides when all ranks stop.

        The metrics for the log also hold the mean length of the latent codes.
        """
        begin = time.perf_counter()
        result = super().train_iteration(step)
        if step_check(step, self.config.logging.steps_per_log, run_at_zero=True):
            _, _, metrics = result
            metrics["latent_norm"] = self.pipeline.model.latent_table.mean_norm()
        seconds = time.perf_counter() - begin
        if (
            self.pace_watch is not None
            and (slow := self.pace_watch.after_step(seconds))
            and comms.is_main_process()
        ):
            CONSOLE.print(slow, soft_wrap=True)
        said = says_first([seconds, self.stop_training], self.device)
        self.stop_training = bool(said[1])
        for decay in self.decays:
            decay.seconds += said[0]
        minutes = self.config.training_minutes
        if minutes is not None and self.decays and self.decays[0].seconds >= 60.0 * minutes:
            self.stop_training = True
        return result

    def eval_iteration(self, step: int) -> None:
        """Evaluate, on one process only; whenever nerfstudio evaluates an image, draw a panel too."""
        if not comms.is_main_process():
            return
        super().eval_iteration(step)
        if step_check(step, self.config.steps_per_eval_image):
            from nerfgen_ns.training.preview import put_panel

            put_panel(self, step)

    def _load_checkpoint(self) -> None:
        config = self.config
        with exit_with_one_line():
            if config.load_dir is not None:
                config.load_checkpoint = find_checkpoint(config.load_dir, config.load_step)
                config.load_dir = None
            elif config.load_checkpoint is not None and config.load_checkpoint.exists():
                config.load_checkpoint = find_checkpoint(config.load_checkpoint, None, "--load-checkpoint")
            try:
                super()._load_checkpoint()
            except CHECKPOINT_ERRORS as error:
                raise UsageError(
                    f"{config.load_checkpoint}: is no whole checkpoint to go on from; --load-checkpoint "
                    "takes a .ckpt file of a run, --load-dir its folder"
                ) from error
        self._catch_up()
        if self._start_step > 0 and (said := start_anew(self.optimizers)):
            CONSOLE.log(said)

    def _catch_up(self) -> None:
        """Let the learning rates follow the budget from the loaded step on.

        nerfstudio takes `max_num_iterations` further steps, and the rates of a run at its end may be zero.
        The schedulers of what is new in the run, which no checkpoint has, begin where the others are.
        """
        schedulers = [
            scheduler for scheduler in self.optimizers.schedulers.values() if isinstance(scheduler, LambdaLR)
        ]
        for decay in self.decays:
            decay.max_steps = self._start_step + self.config.max_num_iterations
            decay.seconds = max(other.seconds for other in self.decays)
        for scheduler in schedulers:
            step = scheduler.last_epoch = max(other.last_epoch for other in schedulers)
            rates = zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
            scheduler._last_lr = [rate * factor(step) for rate, factor in rates]
            for group, rate in zip(scheduler.optimizer.param_groups, scheduler._last_lr, strict=True):
                group["lr"] = rate

    def save_checkpoint(self, step: int) -> None:
        """Save into a temporary folder, then rename: an interruption does not damage the last checkpoint.

        If there are several processes, one saves. A full disk ends the command with one line.
        """
        if not comms.is_main_process():
            return
        final_dir = self.checkpoint_dir
        with exit_with_one_line():
            try:
                self._save_whole(step, final_dir)
            except (OSError, RuntimeError) as error:
                raise NerfgenError(
                    f"{final_dir}: the checkpoint cannot be written ({error}); free some space and go on "
                    "from the last one with --load-dir"
                ) from error
            finally:
                self.checkpoint_dir = final_dir

    def _save_whole(self, step: int, final_dir: Path) -> None:
        final_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.base_dir, prefix=".checkpoint-") as temporary:
            self.checkpoint_dir = Path(temporary)
            with_state = self.config.save_optimizer_state
            with nullcontext() if with_state else left_out(self.optimizers):
                super().save_checkpoint(step)
            for written in Path(temporary).glob("*.ckpt"):
                CONSOLE.log(size_line(written, self.optimizers, with_state))
                written.replace(final_dir / written.name)
                if self.config.save_only_latest_checkpoint:
                    for old in final_dir.glob("*.ckpt"):
                        if old.name != written.name:
                            old.unlink()
