"""`nerfgen edit`: paint over an object's label map, and get the object that it shows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from nerfgen_ns.errors import UsageError
from nerfgen_ns.semantics.config import EditConfig


@dataclass(kw_only=True)
class Edit(EditConfig):
    """Change an object by its label map: paint over the map of one view, and find the object that it shows.

    The command writes a run folder in which identity 0 is the object as it was and identity 1 the edited
    one, for the viewer and every command. The folder also holds their codes (`codes.npz`), how much of the
    edit was reached (`edit.json`) and a sheet of both (`edit_sheet.png`).
    """

    load_config: Path
    """The config.yml of a run with labels: of `nerfgen label`, or a `nerfgen fit` to such a run."""
    identity: int
    """The object: its row of the latent table."""
    label_map: Path | None = None
    """The painted label map: a PNG with a palette or in gray, as large as the photograph or its crop; 255
    stays as it is. A `labels.json` beside it names its numbers; without one they are the run's."""
    output_dir: Path | None = None
    """The run folder to make: new, empty, or one of an earlier call, which is then replaced."""
    render_label_map: Path | None = None
    """Write the label map of the view here, a .png to paint over; without --label-map, only that."""
    photograph: str | None = None
    """The label map is of the camera of this photograph of the run; if not set, of the identity's own."""
    camera: tuple[float, float] | None = None
    """The label map is of a camera at this yaw and pitch in degrees, at the usual distance; as large as the
    photographs."""

    def run(self) -> None:
        """Edit, write, and print how much of the edit was reached.

        Raises:
            UsageError: an option or the label map makes no sense, there is no such run or object, the run has
                no labels, or the folder holds something else.
            NerfgenError: the output cannot be written.
        """
        if self.label_map is None and self.render_label_map is None:
            raise UsageError("--label-map: give the painted label map, or --render-label-map to get one")
        if self.label_map is not None and self.output_dir is None:
            raise UsageError("--output-dir: say where the edited run goes")
        config = EditConfig(**{field.name: getattr(self, field.name) for field in fields(EditConfig)})
        config.check()
        from nerfgen_ns.runs.loading import load_run
        from nerfgen_ns.semantics.edit_runs import SHEET, edit, edit_view, write_view_labels
        from nerfgen_ns.utils.console import progress_bar

        run = load_run(self.load_config)
        view = edit_view(run, self.identity, self.photograph, self.camera)
        if self.render_label_map is not None:
            legend = write_view_labels(run, self.identity, view, self.render_label_map)
            print(", ".join(f"{number} {name}" for number, name in enumerate(legend.names)))
            print(self.render_label_map)
        if self.label_map is None or self.output_dir is None:
            return
        report = edit(run, self.identity, self.label_map, self.output_dir, config, progress_bar, view)
        values = {
            "elsewhere": report.psnr,
            "on the object": report.psnr_object,
            "in other views": report.psnr_other_views,
        }
        kept = ", ".join(f"{value:.1f} dB {where}" for where, value in values.items() if value is not None)
        print(
            f"{100 * report.reached:.0f} % of the changed pixels have their new label (IoU of the change "
            f"{report.edit_iou:.2f}); colors against those before: {kept}"
        )
        if not report.is_reached:
            more = "more --tune-steps" if self.tune_steps else "--tune-steps 200"
            print(
                f"warning: {self.label_map}: no object of this class shows the whole edit (IoU of the change "
                f"{report.edit_iou:.2f}); try {more}, a larger --label-loss-mult, or a smaller change"
            )
        for name in (report.config.name, "codes.npz", "edit.json", SHEET):
            print(report.config.with_name(name))
