"""The configuration of a run of codes, which stays whole when its folder is moved."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from nerfgen_ns.trainer import NerfgenTrainerConfig


@dataclass
class CodeRunConfig(NerfgenTrainerConfig):
    """A run that is one folder: its config.yml, its checkpoint and, in `data`, its photographs.

    `output_dir` is that folder. nerfstudio's commands read a config.yml as text, wherever it lies; so that
    they find the rest of a run that was moved, a configuration looks, as it is loaded, for the file that the
    command line names.
    """

    def get_base_dir(self) -> Path:
        """The run folder."""
        return self.output_dir

    def lie_in(self, folder: Path) -> None:
        """Let the run be the one in this folder."""
        self.output_dir = folder.resolve()
        self.pipeline.datamanager.data = self.output_dir / "data"

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        named = config_on_command_line()
        if named is not None and (named.parent / self.relative_model_dir).is_dir():
            self.lie_in(named.parent)


def config_on_command_line() -> Path | None:
    """The file that this process was told to load with `--load-config`, if it was."""
    arguments = [*sys.argv[1:], ""]
    for argument, following in pairwise(arguments):
        option, equals, value = argument.partition("=")
        if option in ("--load-config", "--load_config"):
            return Path(value if equals else following)
    return None
