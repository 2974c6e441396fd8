"""`nerfgen morph`: one object that becomes another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nerfgen_ns.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from nerfgen_ns.runs.run import Run


@dataclass
class Morph:
    """Film an object that becomes each of two or more identities in turn."""

    load_config: Path
    """The config.yml of a run: trained, or made by `nerfgen fit` or `nerfgen sample`."""
    output_path: Path
    """The film: a .mp4, a .gif, or, without a suffix, a folder of frames as .png."""
    identities: tuple[int, ...] = ()
    """Identities of the run: their rows of the latent table."""
    codes: tuple[str, ...] = ()
    """Codes from files, after the identities: FILE.npz for all codes of a file, FILE.npz:NAME for one, by its
    name or row."""
    kind: Literal["linear", "spherical"] = "linear"
    """linear: along the straight line. spherical: along the arc around the table's mean, where codes between
    the ends are as unusual as the ends."""
    camera: Literal["standing", "turning"] = "turning"
    """standing: in front of the object. turning: a little to both sides, or around the object if the class is
    seen from all around."""
    closed: bool = False
    """Become the first identity again at the end, so that the film can be repeated."""
    frames: int = 72
    """Frames of the film."""
    fps: int = 24
    """Frames a second."""
    size: int = 128
    """Width and height in pixels; even for a .mp4."""

    def run(self) -> None:
        """Film the morph and print the path.

        Raises:
            UsageError: an option is out of range, there is no such run, or it has no such identity.
            NerfgenError: the film cannot be written.
        """
        from nerfgen_ns.latents.latent_space import way
        from nerfgen_ns.runs.loading import load_run
        from nerfgen_ns.utils.console import counted, progress_bar
        from nerfgen_ns.utils.images import check_film, to_bytes, write_film
        from nerfgen_ns.visualization.contact_sheets import morphing

        check_film(self.output_path, self.size)
        if not 1 <= self.fps <= 100:
            raise UsageError(f"--fps must be from 1 to 100, got {self.fps}")
        if not self.codes:
            _check_count(len(self.identities))
        run = load_run(self.load_config)
        stops = self._stops(run)
        if self.frames < len(stops):
            raise UsageError(f"--frames must be at least one for each of the {len(stops)} identities")
        codes = way(stops, self.frames, self.kind, run.codes.mean(dim=0), self.closed)
        with progress_bar("Filming the morph") as progress:
            pictures = (
                to_bytes(outputs["rgb"])
                for outputs in morphing(run, codes, self.size, standing=self.camera == "standing")
            )
            write_film(self.output_path, counted(pictures, self.frames, progress), self.fps)
        print(self.output_path)

    def _stops(self, run: Run) -> Tensor:
        import torch

        from nerfgen_ns.latents.code_files import choose_codes

        rows = [run.model.latent_table.row(row).detach() for row in self.identities]
        model, size = run.model_fingerprint, run.codes.shape[1]
        chosen = [choose_codes(given, size, model).to(run.codes) for given in self.codes]
        stops = torch.cat([*rows, *chosen])
        _check_count(len(stops))
        return stops


def _check_count(objects: int) -> None:
    if objects < 2:
        raise UsageError(f"--identities and --codes: a morph needs two objects, got {objects}; name more")
