"""The folder of a run: its name, who may write into it, and where it is when the run is opened."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from nerfgen_ns.checkpoints import checkpoints_in
from nerfgen_ns.errors import UsageError

if TYPE_CHECKING:
    from nerfgen_ns.trainer import NerfgenTrainerConfig

CONFIG = "config.yml"
TIME = re.compile(r"\d{4}-\d{2}-\d{2}_\d{6}(-\d+)?")
"""The name that nerfstudio gives a run for which none was chosen."""


def experiment_name(data: Path | None) -> str:
    """What a run on this data is called: as its folder, which `..` and `.` name as well as its own name."""
    if data is None:
        return "unnamed"
    data = data.resolve()
    return (data.parent if data.is_file() else data).stem or "unnamed"


def reserve_run_folder(config: NerfgenTrainerConfig) -> None:
    """Make the run folder of a training that begins, in which no other training writes.

    Where the time is its name and another training began in the same second, the folder gets a number.

    Raises:
        UsageError: another training is there, or the folder would be outside `--output-dir`.
        OSError: it cannot be made.
    """
    folder, first = config.get_base_dir(), config.timestamp
    if not folder.resolve().is_relative_to(config.output_dir.resolve()):
        raise UsageError(
            f"{folder}: is outside --output-dir {config.output_dir}; leave `..` and `/` out of "
            "--experiment-name and --timestamp"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while not _takes(folder, config):
        if not TIME.fullmatch(first):
            goes_on = checkpoints_in(folder / config.relative_model_dir)
            way = (
                f"go on from it with --load-dir {folder}, or remove it" if goes_on else "or remove the folder"
            )
            raise UsageError(f"{folder}: another training is there; choose another --timestamp, {way}")
        number += 1
        config.timestamp = f"{first}-{number}"
        folder = config.get_base_dir()


def _takes(folder: Path, config: NerfgenTrainerConfig) -> bool:
    """Whether the folder is this training's: a new one, or that of the run that it goes on from."""
    loaded = [path.resolve() for path in (config.load_dir, config.load_checkpoint) if path is not None]
    if any(path.is_relative_to(folder.resolve()) for path in loaded):
        return True
    folder.mkdir(exist_ok=True)
    if checkpoints_in(folder / config.relative_model_dir):
        return False
    try:
        # Of several trainings that begin together one makes the file.
        (folder / CONFIG).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def opened_config() -> Path | None:
    """The config.yml that nerfstudio is opening; None outside `eval_setup`.

    nerfstudio hands a configuration the text of its file and never its place. Only the caller knows that, and
    a run is where its config.yml is, wherever the command is called and whatever was moved.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "eval_setup":
        frame = frame.f_back
    path = None if frame is None else frame.f_locals.get("config_path")
    return Path(path) if path is not None else None
