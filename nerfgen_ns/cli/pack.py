"""`nerfgen pack`: a run in one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Pack:
    """Write a trained run as one file that is safe to give away: tensors and JSON, nothing to execute.

    Every command with --load-config takes the file, and so does `nerfgen_ns.load`. It holds the networks, the
    latent table, the cameras and the canonical landmarks. It holds small photographs only with --thumbnails.
    """

    load_config: Path
    """The config.yml of the run."""
    output_path: Path
    """The file to write; it ends in .safetensors."""
    thumbnails: bool = False
    """Whether to put in a small picture of each photograph, by which the viewer shows the identities."""

    def run(self) -> None:
        """Pack the run and print the size of the file.

        Raises:
            UsageError: there is no such run, or the file's name ends in something else.
            NerfgenError: the file cannot be written.
        """
        from nerfgen_ns.runs.loading import load_run
        from nerfgen_ns.runs.pack import write_pack

        write_pack(load_run(self.load_config), self.output_path, self.thumbnails)
        print(f"{self.output_path}: {self.output_path.stat().st_size / 1e6:.2f} MB")
