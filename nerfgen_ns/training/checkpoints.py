"""A run's folder and its checkpoints: their names, who may write there, and the place of an opened run."""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from nerfgen_ns.errors import NerfgenError, UsageError

if TYPE_CHECKING:
    from nerfgen_ns.training.trainer import NerfgenTrainerConfig


FOLDER = Path("nerfstudio_models")
"""Where nerfstudio keeps them in a run folder."""
MODEL_IN_CHECKPOINT = "_model."
"""What the names of the model's tensors begin with in a checkpoint."""
CODES_IN_CHECKPOINT = "_model.latent_table.codes.weight"
"""The latent table among the tensors of a checkpoint."""
POSE_DELTAS_IN_CHECKPOINT = "_model.camera_optimizer.pose_deltas.weight"
"""The pose deltas of the photographs' cameras in a checkpoint of a run with a camera optimizer."""
NAME = re.compile(r"step-(\d+)\.ckpt")
SHOWN = 10
"""Steps that a message names at most."""


def checkpoints_in(folder: Path) -> dict[int, Path]:
    """Find the checkpoints in a folder by their steps, the newest last; other files are ignored.

    Raises:
        NerfgenError: the folder cannot be read.
    """
    try:
        found = [(NAME.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
    except OSError as error:
        raise NerfgenError(f"{folder}: cannot be read ({error.strerror or error})") from error
    return dict(sorted((int(name[1]), path) for name, path in found if name))


def newest_checkpoint(folder: Path) -> Path:
    """Find the newest checkpoint of a run.

    Args:
        folder: `nerfstudio_models` of the run.

    Raises:
        UsageError: there is none.
        NerfgenError: it is damaged, or the folder cannot be read.
    """
    checkpoints = list(checkpoints_in(folder).values())
    if not checkpoints:
        raise UsageError(f"{folder}: no checkpoint here; train the run first, or longer")
    if not zipfile.is_zipfile(checkpoints[-1]):
        raise NerfgenError(
            f"{checkpoints[-1]}: the checkpoint is damaged; delete it to use the one before, or train again"
        )
    return checkpoints[-1]


def find_checkpoint(given: Path, step: int | None = None, option: str = "--load-dir") -> Path:
    """Find the checkpoint to continue from.

    Args:
        given: a folder of checkpoints, a run folder, its config.yml, or a checkpoint.
        step: which one; if not set, the newest, or the one that is given.
        option: the option that named it, for messages.

    Raises:
        UsageError: there is none, or none of that step.
        NerfgenError: the folder cannot be read.
    """
    if given.is_file() and given.suffix == ".ckpt" and step is None:
        return given
    folder = given.parent if given.is_file() else given
    if not checkpoints_in(folder) and (folder / FOLDER).is_dir():
        folder /= FOLDER
    found = checkpoints_in(folder)
    if not found:
        raise UsageError(
            f"{given}: holds no checkpoint to go on from; {option} takes a run folder, its "
            "nerfstudio_models or one of the .ckpt files in it"
        )
    if step is None:
        return list(found.values())[-1]
    if step not in found:
        steps = ", ".join(map(str, list(found)[-SHOWN:]))
        raise UsageError(
            f"--load-step {step}: {folder} holds no checkpoint of that step; choose one of "
            f"{'…, ' if len(found) > SHOWN else ''}{steps}"
        )
    return found[step]


CONFIG = "config.yml"
TIME = re.compile(r"\d{4}-\d{2}-\d{2}_\d{6}(-\d+)?")
"""The name that nerfstudio gives a run for which none was chosen."""


def experiment_name(data: Path | None) -> str:
    """Return the name of a run on this data: that of its folder, also where it is given as `..` or `.`."""
    if data is None:
        return "unnamed"
    data = data.resolve()
    return (data.parent if data.is_file() else data).stem or "unnamed"


def reserve_run_folder(config: NerfgenTrainerConfig) -> None:
    """Make the run folder of a training that begins, in which no other training writes.

    If its name is the time and another training began in the same second, the folder gets a number.

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
    """Return whether the folder is this training's: a new one, or that of the run that it continues."""
    loaded = [path.resolve() for path in (config.load_dir, config.load_checkpoint) if path is not None]
    if any(path.is_relative_to(folder.resolve()) for path in loaded):
        return True
    folder.mkdir(exist_ok=True)
    if checkpoints_in(folder / config.relative_model_dir):
        return False
    try:
        # If several trainings begin together, one of them makes the file.
        (folder / CONFIG).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def opened_config() -> Path | None:
    """Return the path of the config.yml that nerfstudio is opening; None outside `eval_setup`.

    nerfstudio gives a configuration the text of its file and never its path. Only the caller knows the path,
    and a run is where its config.yml is: the working directory and earlier places do not matter.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "eval_setup":
        frame = frame.f_back
    path = None if frame is None else frame.f_locals.get("config_path")
    return Path(path) if path is not None else None
