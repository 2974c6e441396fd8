"""Train with several processes: what torch's launcher starts on every one of them.

torchrun --standalone --nproc-per-node 2 -m nerfgen_ns.training.distributed nerfgen-tiny --data PREPARED
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from torch.distributed.elastic.multiprocessing.errors import record

from nerfgen_ns.errors import NerfgenError, UsageError, exit_with_one_line

if TYPE_CHECKING:
    from nerfgen_ns.training.trainer import NerfgenTrainerConfig


PROGRAM = "torchrun --standalone --nproc-per-node N -m nerfgen_ns.training.distributed"
SIGNS_OF_A_LOST_RANK = ("gloo", "nccl", "timed out", "connection")
"""What torch's errors say when a rank cannot be reached; they have no class of their own."""


@dataclass(frozen=True)
class Place:
    """Which of the processes this one is, as torch's launcher says."""

    rank: int
    local_rank: int
    world_size: int

    @classmethod
    def from_environment(cls) -> Place:
        """Read what torchrun has set.

        Raises:
            UsageError: it has not started this process.
        """
        try:
            return cls(*(int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")))
        except (KeyError, ValueError):
            raise UsageError(f"not started by torchrun: call {PROGRAM} METHOD --data FOLDER") from None


def read_command_line() -> NerfgenTrainerConfig:
    """Read the configuration of the method and its options, the same as those of `ns-train`."""
    import tyro
    import yaml

    from nerfgen_ns.configs import METHODS

    choice = tyro.extras.subcommand_type_from_defaults(
        {name: method.config for name, method in METHODS.items()},
        descriptions={name: method.description for name, method in METHODS.items()},
    )
    config: Any = tyro.cli(
        choice, prog=PROGRAM, config=(tyro.conf.SuppressFixed, tyro.conf.FlagConversionOff)
    )
    if config.data:
        config.pipeline.datamanager.data = config.data
    if config.load_config:
        # Like ns-train, this trusts the file: a configuration names Python classes.
        config = yaml.load(config.load_config.read_text(encoding="utf-8"), Loader=yaml.Loader)
    return config


def join(config: NerfgenTrainerConfig, place: Place) -> None:
    """Connect to the other ranks: gloo sends tensors in main memory, and NCCL those on a GPU.

    Raises:
        UsageError: a machine has fewer GPUs than processes.
    """
    import torch
    import torch.distributed as dist

    backend = "gloo"
    if config.machine.device_type == "cuda":
        if place.local_rank >= torch.cuda.device_count():
            raise UsageError(
                f"--nproc-per-node: this machine has {torch.cuda.device_count()} GPUs, one for each process; "
                "start no more, or train with --machine.device-type cpu"
            )
        torch.cuda.set_device(place.local_rank)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=timedelta(minutes=config.rank_timeout_minutes))


def agree_on_the_run(config: NerfgenTrainerConfig, place: Place, nowhere: Path) -> None:
    """Let rank 0 name the run, write its config.yml and have its viewer; output of others is discarded."""
    import torch.distributed as dist

    config.set_timestamp()
    name = [config.timestamp]
    dist.broadcast_object_list(name, src=0)
    config.timestamp = name[0]
    if place.rank == 0:
        config.print_to_terminal()
        config.save_config()
    else:
        config.output_dir, config.vis = nowhere, "tensorboard"


def train(place: Place) -> None:
    """Train as one of the ranks.

    Raises:
        UsageError: the call was wrong.
        NerfgenError: another rank has died or is stuck.
    """
    import torch.distributed as dist
    from nerfstudio.scripts.train import train_loop

    with silent(sys.stderr, place.rank > 0):
        config = read_command_line()
    say_when_ended(place)
    with tempfile.TemporaryDirectory() as nowhere:
        try:
            join(config, place)
            agree_on_the_run(config, place, Path(nowhere))
            train_loop(place.local_rank, place.world_size, config, place.rank)
        except RuntimeError as error:
            if not any(sign in str(error).lower() for sign in SIGNS_OF_A_LOST_RANK):
                raise
            raise NerfgenError(
                f"rank {place.rank} got no answer from another of the {place.world_size} processes: it died "
                f"(then its own output says why), or it is stuck ({str(error).splitlines()[0]}); go on from "
                "the last checkpoint with --load-dir"
            ) from error
    dist.destroy_process_group()


def say_when_ended(place: Place) -> None:
    """Print a message when torch's launcher ends this rank, as it does when another one has failed."""

    def end(signal_number: int, frame: Any) -> None:
        raise NerfgenError(
            f"rank {place.rank} was ended, as is done when another of the {place.world_size} processes has "
            "failed; its own output says why; go on from the last checkpoint with --load-dir"
        )

    signal.signal(signal.SIGTERM, end)


@contextlib.contextmanager
def silent(stream: TextIO, is_silent: bool) -> Iterator[None]:
    """Keep what is written to sys.stdout or sys.stderr off the terminal."""
    redirect = contextlib.redirect_stdout if stream is sys.stdout else contextlib.redirect_stderr
    with open(os.devnull, "w") as nothing, redirect(nothing if is_silent else stream):
        yield


@record
def main() -> None:
    """Run one rank. Exit status: 0 done, 1 the work failed, 2 the call was wrong, 130 interrupted."""
    # Warnings about how nerfstudio uses torch: a user of this command cannot act on them.
    warnings.filterwarnings("ignore", module="nerfstudio")
    with exit_with_one_line():
        place = Place.from_environment()
        with silent(sys.stdout, place.rank > 0):
            train(place)


if __name__ == "__main__":
    main()
