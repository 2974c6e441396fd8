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
    images: tuple[Path, ...] = ()
    """Photographs, or folders of photographs, for which landmarks, matte and camera are found first. Or one
    folder with cameras in the class frame: its frames with the role `query` are fitted, or all frames if none
    has this role."""
    label_maps: Path | None = None
    """A folder of label maps, for a run of `nerfgen label`: those of the photographs, named as they are, or,
    without --images, label maps to be fitted alone. These need cameras: a transforms.json there, whose frames
    name them as `semantic_path`, or --search-cameras."""
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
        self._report(fit(run, self.images, self.output_dir, config, progress_bar, self.label_maps))

    def _report(self, report: FitReport) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        from nerfgen_ns.preprocessing.report.prepare_report import lines_of_unused

        console = Console(highlight=False)
        columns = ("photograph", "identity", "PSNR", "foreground PSNR", "Mahalanobis distance", "camera")
        has_labels = any(fitted.label_agreement is not None for fitted in report.photographs)
        table = Table(*columns, *(("mIoU of labels",) if has_labels else ()))
        for fitted in report.photographs[:MOST_ROWS]:
            whole, inside = (
                "–" if value is None else f"{value:.1f} dB" for value in (fitted.psnr, fitted.foreground_psnr)
            )
            agreement = "–" if fitted.label_agreement is None else f"{fitted.label_agreement:.2f}"
            table.add_row(
                escape(fitted.name),
                str(fitted.identity),
                whole,
                inside,
                f"{fitted.mahalanobis:.1f}",
                fitted.camera,
                *((agreement,) if has_labels else ()),
            )
        console.print(table)
        if len(report.photographs) > MOST_ROWS:
            console.print(f"and {len(report.photographs) - MOST_ROWS} more, see fit.json")
        count = len(report.photographs)
        left_out = f", {len(report.left_out)} left out" if report.left_out else ""
        console.print(
            f"[bold]{count}[/bold] photographs fitted in {report.seconds:.1f} s, "
            f"{len(report.rejected)} rejected{left_out}; "
            f"{_mean_of(report)}"
        )
        for line in lines_of_unused(report.rejected, report.left_out):
            console.print(line, soft_wrap=True)
        for fitted in report.photographs[:MOST_ROWS]:
            for note in fitted.notes:
                console.print(escape(f"  {fitted.name}: {note}"), soft_wrap=True)
        for name in ("config.yml", "codes.npz", "fit.json", "contact_sheet.png"):
            console.print(str(report.config.with_name(name)), soft_wrap=True, markup=False)


def _mean_of(report: FitReport) -> str:
    from statistics import fmean

    psnrs = [fitted.psnr for fitted in report.photographs if fitted.psnr is not None]
    if psnrs:
        return f"mean PSNR {fmean(psnrs):.1f} dB"
    agreements = [one.label_agreement for one in report.photographs if one.label_agreement is not None]
    return f"mean IoU of labels {fmean(agreements):.2f}"
