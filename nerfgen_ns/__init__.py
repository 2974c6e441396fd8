"""nerfgen: a class of objects in 3D from single photographs, inside nerfstudio."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nerfgen_ns.class_model import ClassModel


def load(load_config: Path | str) -> ClassModel:
    """Load a trained class from the `config.yml` of its run.

    Raises:
        UsageError: it is not a run of nerfgen, or it has no checkpoint.
        NerfgenError: the checkpoint is damaged.
    """
    # nerfstudio's commands import this package to find its methods: torch is imported when it is needed.
    from nerfgen_ns.class_model import ClassModel
    from nerfgen_ns.runs.loading import load_run

    return ClassModel(load_run(Path(load_config)))
