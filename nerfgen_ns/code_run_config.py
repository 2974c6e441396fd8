"""The configuration of a run of codes, which stays whole when its folder is moved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerfgen_ns.trainer import NerfgenTrainerConfig


@dataclass
class CodeRunConfig(NerfgenTrainerConfig):
    """A run that is one folder: its config.yml, its checkpoint and, in `data`, its photographs.

    `output_dir` is that folder until the run is opened.
    """

    def get_base_dir(self) -> Path:
        """The run folder."""
        return self.run_dir or self.output_dir

    def open_in(self, folder: Path) -> None:
        """Let this be the run in a folder, with its photographs."""
        super().open_in(folder)
        self.lie_in(folder)

    def lie_in(self, folder: Path) -> None:
        """Let the run be the one in this folder."""
        self.output_dir = folder.resolve()
        self.pipeline.datamanager.data = self.output_dir / "data"
