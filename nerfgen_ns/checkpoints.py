"""The checkpoints of a run."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from nerfgen_ns.errors import NerfgenError, UsageError

FOLDER = Path("nerfstudio_models")
"""Where nerfstudio keeps them in a run folder."""
CODES_IN_CHECKPOINT = "_model.latent_table.codes.weight"
"""The latent table among the tensors of a checkpoint."""
MOTIONS_IN_CHECKPOINT = "_model.pose_correction.motions.weight"
"""The motions of the photographs' cameras there, of a run that corrects them."""
NAME = re.compile(r"step-(\d+)\.ckpt")
SHOWN = 10
"""Steps that a message names at most."""


def checkpoints_in(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder by their steps, the newest last; other files are left alone.

    Raises:
        NerfgenError: the folder cannot be read.
    """
    try:
        found = [(NAME.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
    except OSError as error:
        raise NerfgenError(f"{folder}: cannot be read ({error.strerror or error})") from error
    return dict(sorted((int(name[1]), path) for name, path in found if name))


def newest_checkpoint(folder: Path) -> Path:
    """The newest checkpoint of a run.

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
    """The checkpoint to go on from.

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
