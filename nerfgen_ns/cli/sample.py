"""`nerfgen sample`: new objects of the class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfgen_ns.errors import UsageError, check_picture_size

if TYPE_CHECKING:
    from torch import Tensor

    from nerfgen_ns.runs.run import Run


SHEET, TURNTABLE, CODES, NOVELTY, RUN = (
    "contact_sheet.png",
    "turntable.mp4",
    "codes.npz",
    "novelty.json",
    "run",
)
COLUMNS, FRAMES = 8, 32


@dataclass
class Sample:
    """Draw new identities from the Gaussian of the latent table, show them, and make a run of them.

    The command writes a contact sheet, a turntable video, their codes, how new they are, and a run folder.
    They are the identities of that run, for `ns-viewer`, `ns-render`, `ns-export` and every command of
    nerfgen.
    """

    load_config: Path
    """The config.yml of a trained run."""
    output_dir: Path
    """Folder to write into: new, empty, or one of an earlier call, which is then replaced."""
    num_samples: int = 12
    """How many identities to draw."""
    truncation: float = 0.8
    """Factor on the standard deviations of the Gaussian: 1 is the table's own spread, smaller values
    give more usual objects, 0 gives the mean."""
    seed: int = 0
    """Which identities are drawn."""
    picture_size: int = 96
    """Width and height of each render in the pictures, in pixels; even."""

    def run(self) -> None:
        """Draw, write, and print how new each is.

        Raises:
            UsageError: an option is out of range, there is no such run, or the folder holds something else.
            NerfgenError: the folder cannot be written.
        """
        from nerfgen_ns.latents.latent_space import LatentSpace
        from nerfgen_ns.runs.loading import load_run
        from nerfgen_ns.utils.files import replace_folder

        if self.num_samples < 1:
            raise UsageError(f"--num-samples must be at least 1, got {self.num_samples}")
        if not 0.0 <= self.truncation < float("inf"):
            raise UsageError(f"--truncation must be at least 0, got {self.truncation}")
        if abs(self.seed) >= 2**63:
            raise UsageError(f"--seed must have fewer digits, got {self.seed}")
        check_picture_size(self.picture_size)
        run = load_run(self.load_config)
        codes = LatentSpace.of(run.codes).sample(self.num_samples, self.truncation, self.seed)
        novelty = novelty_of(codes, run.codes)
        with replace_folder(self.output_dir, is_sample_folder) as folder:
            self._write(folder, run, codes, novelty)
        self._report(novelty)

    def _write(self, folder: Path, run: Run, codes: Tensor, novelty: dict[str, Any]) -> None:
        import tempfile

        from nerfgen_ns.latents.code_files import write_codes
        from nerfgen_ns.runs.code_runs import fill_run_folder, write_rendered_photographs
        from nerfgen_ns.utils.console import counted, progress_bar
        from nerfgen_ns.utils.files import write_json
        from nerfgen_ns.utils.images import write_image, write_video
        from nerfgen_ns.visualization.contact_sheets import turning_sheet, turntable

        write_codes(folder / CODES, codes, model=run.model_fingerprint)
        options = {"seed": self.seed, "truncation": self.truncation}
        write_json(folder / NOVELTY, {**options, **novelty})
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            prepared = Path(temporary) / "data"
            with progress_bar("Photographing the samples") as progress:
                write_rendered_photographs(run, codes, prepared, progress)
            (folder / RUN).mkdir()
            fill_run_folder(folder / RUN, run, codes, prepared, self.output_dir / RUN)
        with progress_bar("Drawing the contact sheet") as progress:
            sheet = turning_sheet(run, codes, self.picture_size, columns=COLUMNS, progress=progress)
        write_image(folder / SHEET, sheet)
        with progress_bar("Filming the samples") as progress:
            frames = turntable(run, codes, self.picture_size, FRAMES)
            write_video(folder / TURNTABLE, counted(frames, FRAMES, progress), fps=16)

    def _report(self, novelty: dict[str, Any]) -> None:
        from rich.console import Console
        from rich.table import Table

        console = Console(highlight=False)
        table = Table("sample", "nearest row", "distance", "relative to the rows' own")
        for sample in novelty["samples"]:
            relative = "–" if sample["relative"] is None else f"{sample['relative']:.2f}"
            table.add_row(
                str(sample["sample"]), str(sample["nearest_row"]), f"{sample['distance']:.3f}", relative
            )
        console.print(table)
        if novelty["usual_distance"] is not None:
            usual = f"{novelty['usual_distance']:.3f}"
            console.print(f"The median distance of a training row to the nearest other is {usual}.")
        for name, product in {
            "contact sheet": SHEET,
            "turntable": TURNTABLE,
            "codes": CODES,
            "novelty": NOVELTY,
            "run": f"{RUN}/config.yml",
        }.items():
            console.print(f"{name + ':':15}{self.output_dir / product}", soft_wrap=True, markup=False)


def novelty_of(codes: Tensor, table: Tensor) -> dict[str, Any]:
    """Measure how far each code is from the nearest row of a latent table, and the rows from each other.

    Returns:
        `usual_distance`, the median distance of a row to the nearest other, or None for a single row; and
        `samples`: for each code its `nearest_row`, the `distance` to it, and that `relative` to the usual.
    """
    import math

    from nerfgen_ns.latents.latent_space import nearest, usual_distance

    distances, rows = nearest(codes, table)
    usual = usual_distance(table)
    comparable = math.isfinite(usual) and usual > 0.0
    return {
        "usual_distance": usual if math.isfinite(usual) else None,
        "samples": [
            {
                "sample": sample,
                "nearest_row": int(row),
                "distance": float(distance),
                "relative": float(distance) / usual if comparable else None,
            }
            for sample, (distance, row) in enumerate(zip(distances, rows, strict=True))
        ],
    }


def is_sample_folder(folder: Path) -> bool:
    """Return whether a folder holds what `nerfgen sample` writes, and nothing else."""
    from nerfgen_ns.runs.code_runs import is_code_run

    products = {SHEET, TURNTABLE, CODES, NOVELTY, RUN}
    return {path.name for path in folder.iterdir()} == products and is_code_run(folder / RUN)
