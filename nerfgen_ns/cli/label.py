"""`nerfgen label`: teach a trained class the names of its parts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from nerfgen_ns.errors import UsageError
from nerfgen_ns.semantics.config import LabelConfig


@dataclass(kw_only=True)
class Label(LabelConfig):
    """Learn labels everywhere from label maps of a few photographs, and write a run that tells them.

    Its geometry and colors stay as they are. The viewer, `ns-render --rendered-output-names rgb labels`,
    `ns-export` and every command of nerfgen take the new run.
    """

    load_config: Path
    """The config.yml of a trained run, or a packed run."""
    masks: Path | None = None
    """A folder of label maps: PNGs with a palette or in gray whose values are label numbers, 255 for
    unlabeled. Each is named after a photograph of the run, as crop or as it was before it was prepared.
    `labels.json` beside them names the numbers."""
    output_dir: Path | None = None
    """The run folder to make: new, empty, or one of an earlier call, which is then replaced."""
    suggest: int = 0
    """Name this many photographs that are most worth labeling next; without --masks, only that."""

    def run(self) -> None:
        """Train, write, and print the run's path and the suggestions.

        Raises:
            UsageError: an option, a label map or its name makes no sense, or the folder holds something else.
            NerfgenError: the folder cannot be written.
        """
        if self.masks is None and (self.suggest == 0 or self.output_dir is not None):
            raise UsageError("--masks: give a folder of label maps, or --suggest alone to know what to label")
        if self.masks is not None and self.output_dir is None:
            raise UsageError("--output-dir: say where the labeled run goes")
        config = LabelConfig(**{field.name: getattr(self, field.name) for field in fields(LabelConfig)})
        config.check()
        if self.suggest < 0:
            raise UsageError(f"--suggest {self.suggest}: take at least 1")
        from nerfgen_ns.runs.loading import load_run
        from nerfgen_ns.semantics.labeling import label, suggest
        from nerfgen_ns.utils.console import progress_bar

        if self.masks is None or self.output_dir is None:
            # Without a bar: other programs can use the names.
            print("\n".join(suggest(load_run(self.load_config), self.suggest)))
            return
        report = label(self.load_config, self.masks, self.output_dir, config, self.suggest, progress_bar)
        shares = sum(report.labels.values())
        for name, pixels in report.labels.items():
            print(f"  {name}: {100.0 * pixels / max(shares, 1):.1f} % of the labeled pixels")
        print(f"{report.label_maps} label maps, learned in {report.seconds:.1f} s")
        if report.suggested:
            print("label next: " + " ".join(report.suggested))
        print(report.config)
