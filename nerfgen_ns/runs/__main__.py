"""Make the model that ships with the package: `python -m nerfgen_ns.runs --load-config RUN/config.yml`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from nerfgen_ns.errors import exit_with_one_line
from nerfgen_ns.runs.pretrained import HEADS, pack
from nerfgen_ns.utils.console import show_on_any_console


@dataclass
class Pack:
    """Write a trained run as one small file. The shipped one is a run of `nerfgen demo`."""

    load_config: Path
    """The config.yml of the run."""
    output_path: Path = HEADS
    """The file to write."""

    def run(self) -> None:
        """Pack the run and print the size of the file."""
        from nerfgen_ns.runs.run import load_run

        pack(load_run(self.load_config), self.output_path)
        print(f"{self.output_path}: {self.output_path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    show_on_any_console()
    with exit_with_one_line():
        tyro.cli(Pack).run()
