"""The photographs that a run was trained on, and those that were set aside from training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nerfgen_ns.datamanagers.data_parser import evenly_spread
from nerfgen_ns.evaluation.test_folder import TestFolder, open_test_folder
from nerfgen_ns.run import Run


@dataclass(frozen=True)
class TrainingFolder:
    """What a run learned from."""

    trained: TestFolder
    """Its data; judged are the photographs that trained."""
    set_aside: TestFolder | None
    """Its data; judged are the photographs set aside by `--eval-fraction`. None where there are none."""
    rows: dict[int | str, int]
    """The row of the latent table of each identity with a photograph that trained."""

    @property
    def files(self) -> set[Path]:
        """The photographs that trained."""
        names = self.trained.dataset.image_filenames
        return {names[number].resolve() for number in self.trained.chosen}


def open_training_folder(run: Run, downscale_factor: int) -> TrainingFolder:
    """The data of a run, at the size at which it is judged.

    Raises:
        UsageError: it cannot be read any more.
    """
    folder = open_test_folder(run.photographs, "training", downscale_factor)
    dataparser: Any = run.config.pipeline.datamanager.dataparser  # type: ignore[attr-defined]
    aside = evenly_spread(len(folder.frames), dataparser.eval_fraction)
    trained = np.setdiff1d(np.arange(len(folder.frames)), aside).tolist()
    metadata: Any = folder.dataset.cameras.metadata
    learned = {int(row) for row in metadata["cam_idx"][trained]}
    return TrainingFolder(
        replace(folder, chosen=trained),
        replace(folder, name="set-aside", chosen=aside.tolist()) if len(aside) else None,
        {identity: row for identity, row in run.record.row_of_identity.items() if row in learned},
    )
