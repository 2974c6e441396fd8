"""The checkpoints of a run."""

import zipfile
from pathlib import Path

from nerfgen_ns.errors import NerfgenError, UsageError


def newest_checkpoint(folder: Path) -> Path:
    """The newest checkpoint of a run.

    Args:
        folder: `nerfstudio_models` of the run.

    Raises:
        UsageError: there is none.
        NerfgenError: it is damaged, or the folder cannot be read.
    """
    try:
        checkpoints = sorted(folder.glob("step-*.ckpt"))
        whole = bool(checkpoints) and zipfile.is_zipfile(checkpoints[-1])
    except OSError as error:
        raise NerfgenError(f"{folder}: cannot be read ({error.strerror or error})") from error
    if not checkpoints:
        raise UsageError(f"{folder}: no checkpoint here; train the run first, or longer")
    if not whole:
        raise NerfgenError(
            f"{checkpoints[-1]}: the checkpoint is damaged; delete it to use the one before, or train again"
        )
    return checkpoints[-1]
