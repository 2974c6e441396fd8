"""`nerfgen fit`: find new photographs in the latent space of a trained class."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from nerfgen_ns.inversion.config import FitConfig

if TYPE_CHECKING:
    from nerfgen_ns.inversion.inversion import FitReport


MOST_ROWS = 24


@dataclass(kw_only=True)
class Fit(FitConfig):
    """Find new photographs in the latent space of a trained class, and make a run of their objects.

    The command writes a run folder in which the objects are the identities, for `ns-viewer`, `ns-render`,
    `ns-export` and every command of nerfgen. The folder also holds their codes (`codes.npz`), how similar
    each reconstruction is (`fit.json`) and a contact sheet.
    """

    load_config: Path
    """The config.yml of a trained run."""
    images: tuple[Path, ...]
    """Photographs, or folders of photographs, for which landmarks, matte and camera are found first. Or one
    folder with cameras in the class frame: its frames with the role `query` are fitted, or all frames if none
    has this role."""
    output_dir: Path
    """The run folder to make: new, empty, or one of an earlier call, which is then replaced."""

    def run(self) -> None:
        """Fit, write, and print how similar each reconstruction is.

        Raises:
            UsageError: an option makes no sense, there is no such run or photograph, or the folder holds
                something else.
            NerfgenError: no photograph can be used, or the folder cannot be written.
        """
        from nerfgen_ns.inversion.inversion import fit
        from nerfgen_ns.runs.loading import load_run
        from nerfgen_ns.utils.console import progress_bar

        config = FitConfig(**{field.name: getattr(self, field.name) for field in fields(FitConfig)})
        config.check()
        run = load_run(self.load_config)
        self._report(fit(run, self.images, self.output_dir, config, progress_bar))

    def _report(self, report: FitReport) -> None:
        from statistics import fmean

        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        from nerfgen_ns.preprocessing.report.prepare_report import lines_of_unused

        console = Console(highlight=False)
        table = Table("photograph", "identity", "PSNR", "foreground PSNR", "Mahalanobis distance", "camera")
        for fitted in report.photographs[:MOST_ROWS]:
            inside = "–" if fitted.foreground_psnr is None else f"{fitted.foreground_psnr:.1f} dB"
            table.add_row(
                escape(fitted.name),
                str(fitted.identity),
                f"{fitted.psnr:.1f} dB",
                inside,
                f"{fitted.mahalanobis:.1f}",
                fitted.camera,
            )
        console.print(table)
        if len(report.photographs) > MOST_ROWS:
            console.print(f"and {len(report.photographs) - MOST_ROWS} more, see fit.json")
        count = len(report.photographs)
        left_out = f", {len(report.left_out)} left out" if report.left_out else ""
        console.print(
            f"[bold]{count}[/bold] photographs fitted in {report.seconds:.1f} s, "
            f"{len(report.rejected)} rejected{left_out}; "
            f"mean PSNR {fmean(fitted.psnr for fitted in report.photographs):.1f} dB"
        )
        for line in lines_of_unused(report.rejected, report.left_out):
            console.print(line, soft_wrap=True)
        for fitted in report.photographs[:MOST_ROWS]:
            for note in fitted.notes:
                console.print(escape(f"  {fitted.name}: {note}"), soft_wrap=True)
        for name in ("config.yml", "codes.npz", "fit.json", "contact_sheet.png"):
            console.print(str(report.config.with_name(name)), soft_wrap=True, markup=False)
