"""`nerfgen edit`: an identity and a painted label map become a run folder with both objects, and a sheet."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from PIL import Image
from torch import Tensor

from nerfgen_ns.cameras.trajectories import turned_cameras, usual_angles
from nerfgen_ns.dataset_format.frame import Frame
from nerfgen_ns.dataset_format.label_maps import (
    LEGEND,
    SUFFIX,
    UNLABELED,
    LabelMap,
    Legend,
    MappedPhotograph,
    label_map_of_crop,
    read_label_map,
    read_legend,
)
from nerfgen_ns.dataset_format.transforms import write_transforms
from nerfgen_ns.errors import UsageError
from nerfgen_ns.inversion.inputs import stored_size
from nerfgen_ns.inversion.inversion import Stages, silent
from nerfgen_ns.latents.code_files import write_codes
from nerfgen_ns.runs.code_runs import DATA, fill_run_folder, is_code_run
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.config import EditConfig
from nerfgen_ns.semantics.editing import Edited, edit_code, labels_of_view
from nerfgen_ns.semantics.labeling import photographs_of
from nerfgen_ns.training.checkpoints import CONFIG
from nerfgen_ns.utils.files import replace_folder, write_json
from nerfgen_ns.utils.images import contact_sheet, resize, to_bytes, write_image
from nerfgen_ns.visualization.contact_sheets import TURNS, TURNS_AROUND

SHEET = "edit_sheet.png"
REPORT = "edit.json"
LEAST_REACHED = 0.5
"""IoU of the wanted change and the change below which a report warns."""
SHOWN_SIZE = 128
CONTRAST = 4.0
"""Factor of differences of colors on the sheet."""


@dataclass(frozen=True)
class EditView:
    """The view that a label map is of."""

    camera: Cameras
    """Its camera, of shape (1,)."""
    photograph: MappedPhotograph
    """What the label map has to fit."""


def edit_view(
    run: Run, identity: int, photograph: str | None = None, angles: tuple[float, float] | None = None
) -> EditView:
    """Return the view of an edit: by default the first photograph of the identity.

    Args:
        run: the run.
        identity: the row of the latent table.
        photograph: the name of another photograph of the run, whose camera is used.
        angles: yaw and pitch in degrees of a camera at the usual distance instead.

    Raises:
        UsageError: there is no such identity or photograph, or both a photograph and angles are given.
    """
    run.code(identity)
    photographs = photographs_of(run)
    if photograph is not None and angles is not None:
        raise UsageError("--photograph and --camera both choose the view: give one of them")
    if angles is not None:
        size = stored_size(run)
        name = f"yaw {angles[0]:g} pitch {angles[1]:g}"
        return EditView(
            turned_cameras(run.cameras, np.array([angles]), size), MappedPhotograph(name, name, size, size)
        )
    if photograph is None:
        assert run.cameras.metadata is not None
        places = (run.cameras.metadata["cam_idx"].flatten() == identity).nonzero()[:, 0].tolist()
    else:
        places = [
            place
            for place, one in enumerate(photographs)
            if photograph in (one.crop_name, run.record.images[place].name, one.source, Path(one.source).stem)
        ]
        if not places:
            raise UsageError(
                f"--photograph {photograph}: the run has no photograph of this name; its first is "
                f"{run.record.images[0].name}"
            )
    return EditView(run.cameras[places[0] : places[0] + 1], photographs[places[0]])


def write_view_labels(run: Run, identity: int, view: EditView, path: Path) -> Legend:
    """Write the label map of an identity in a view, to paint over; its palette has the colors of the labels.

    Returns:
        What its numbers mean.

    Raises:
        UsageError: the run has no labels, the file is no .png, or it is beside another labels.json.
        NerfgenError: the file cannot be written.
    """
    legend = run.legend
    if path.suffix.lower() != SUFFIX:
        raise UsageError(f"{path}: label maps are written as {SUFFIX}; give a file name that ends so")
    if _legend_beside(path, legend).names != legend.names:
        raise UsageError(
            f"{path}: the {LEGEND} beside it has other labels than the run; choose another folder"
        )
    legend.write_map(path, labels_of_view(run, run.code(identity), view.camera))
    return legend


def _legend_beside(path: Path, own: Legend) -> Legend:
    return read_legend(path.parent) if (path.parent / LEGEND).is_file() else own


def read_view_map(run: Run, path: Path) -> LabelMap:
    """Read a label map of a view, by the numbers of the run.

    A `labels.json` beside it names its numbers; without one they are those of the run.

    Raises:
        UsageError: the run has no labels, or the label map cannot be used.
    """
    legend = _legend_beside(path, run.legend)
    return run.legend.renumbered(read_label_map(path, legend), legend, path)


@dataclass(frozen=True)
class EditReport:
    """What `nerfgen edit` did; `edit.json` holds the same."""

    config: Path
    """The config.yml of the new run: row 0 of its latent table is the object as it was, row 1 the edited."""
    identity: int
    """The identity of the run before."""
    view: str
    """The photograph, or the angles, of the view."""
    changed: float
    """The share of the view's pixels whose label should change."""
    edit_iou: float
    """IoU of the wanted change and the change; see `editing.Agreement`."""
    reached: float
    """The share of the pixels that should change that have the wanted label."""
    psnr: float | None
    """PSNR in dB of the colors outside the changed region, against those before; None if all are the same."""
    psnr_object: float | None
    """The same of the object alone."""
    psnr_other_views: float | None
    """The same in other views, of surface that the view shows outside the changed region."""
    distance: float
    """How far the code moved: the Mahalanobis distance."""

    @property
    def is_reached(self) -> bool:
        """Return whether most of the edit was reached."""
        return self.edit_iou >= LEAST_REACHED


def edit(
    run: Run,
    identity: int,
    label_map: Path,
    output_dir: Path,
    config: EditConfig | None = None,
    stages: Stages = silent,
    view: EditView | None = None,
) -> EditReport:
    """Edit an identity by a painted label map, and make a run folder of the object before and after.

    It also holds `codes.npz`, `edit.json` and `edit_sheet.png`. It appears when all is done, or not at all.

    Args:
        run: a run with labels; it stays as it is.
        identity: the row of the latent table.
        label_map: the file.
        output_dir: the run folder: new, empty, or one of an earlier call, which is then replaced.
        config: the options.
        stages: shows progress.
        view: the view that the label map is of; if not set, the identity's first photograph.

    Raises:
        UsageError: the run has no labels, there is no such identity, the label map or an option cannot be
            used, or `output_dir` holds something else.
        NerfgenError: the output cannot be written.
    """
    config = config or EditConfig()
    view = view or edit_view(run, identity)
    wanted = label_map_of_crop(label_map, read_view_map(run, label_map), view.photograph)
    with (
        replace_folder(output_dir, is_code_run) as making,
        tempfile.TemporaryDirectory(prefix="nerfgen-edit-") as temporary,
    ):
        edited = edit_code(run, run.code(identity), wanted, view.camera, config, stages, str(label_map))
        codes = torch.cat([edited.before, edited.code])
        data = Path(temporary) / DATA
        after = replace(run, model=edited.model)
        renders = [
            _write_photographs(one, code, data, place, view.camera)
            for place, (one, code) in enumerate(((run, edited.before), (after, edited.code)))
        ]
        legend = run.legend
        for frame, labels in zip(renders, (edited.labels_before, edited.wanted), strict=True):
            assert frame.semantic_path is not None
            legend.write_map(data / frame.semantic_path, labels)
        write_transforms(data, renders, {"semantic_labels": list(legend.names)})
        fill_run_folder(making, run, codes, data, output_dir, edited.state)
        made = load_run(making / CONFIG)
        names = [f"identity_{identity}", f"identity_{identity}_edited"]
        write_codes(making / "codes.npz", codes, names, made.model_fingerprint)
        report = _report(edited, identity, view, output_dir)
        write_json(
            making / REPORT, {**asdict(report), "config": str(report.config), "options": asdict(config)}
        )
        with stages("drawing the sheet"):
            write_image(making / SHEET, edit_sheet(run, after, edited, view.camera))
    return report


def _report(edited: Edited, identity: int, view: EditView, output_dir: Path) -> EditReport:
    agreement = edited.agreement
    psnr, psnr_object, psnr_other_views = (value if np.isfinite(value) else None for value in agreement[2:])
    return EditReport(
        output_dir / CONFIG,
        identity,
        view.photograph.crop_name,
        float((edited.wanted != edited.labels_before).mean()),
        agreement.edit_iou,
        agreement.reached,
        psnr,
        psnr_object,
        psnr_other_views,
        edited.distance,
    )


def _write_photographs(
    run: Run, code: Float[Tensor, "1 latent"], folder: Path, identity: int, camera: Cameras
) -> Frame:
    outputs = run.render(code, camera)
    name = f"{identity:04d}.png"
    write_image(folder / "images" / name, to_bytes(outputs["rgb"]))
    write_image(folder / "mattes" / name, to_bytes(outputs["accumulation"])[..., 0])
    return Frame.of_camera(
        f"images/{name}",
        camera,
        mask_path=f"mattes/{name}",
        semantic_path=f"semantics/{name}",
        identity=identity,
    )


def edit_sheet(
    before: Run, after: Run, edited: Edited, camera: Cameras
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw an edit: the first column as it was, the second as it is, the third what changed.

    The first row is the label map that was given, the next the labels and colors in its view, then those of
    turned views. White did not change. A changed pixel has the color of its new label, or is the darker the
    more its color differs.
    """
    legend = before.legend
    rows = {"label map": _label_pictures(legend, edited.labels_before, edited.wanted)}
    all_around, pitch = usual_angles(before.cameras)
    yaws = TURNS_AROUND if all_around else TURNS
    turned = turned_cameras(before.cameras, np.array([[yaw, pitch] for yaw in yaws]), SHOWN_SIZE)
    views = {"": camera, **{f"yaw {yaw:+.0f}° ": turned[place : place + 1] for place, yaw in enumerate(yaws)}}
    for name, one in views.items():
        renders = [
            run.render(code, one)["rgb"] for run, code in ((before, edited.before), (after, edited.code))
        ]
        labels = [
            labels_of_view(run, code, one) for run, code in ((before, edited.before), (after, edited.code))
        ]
        difference = 1.0 - CONTRAST * (renders[1] - renders[0]).abs()
        rows[f"{name}labels"] = _label_pictures(legend, *labels)
        rows[f"{name}colors"] = [resize(to_bytes(one), SHOWN_SIZE) for one in (*renders, difference)]
    return contact_sheet(rows)


def _label_pictures(legend: Legend, before: LabelMap, after: LabelMap) -> list[UInt8[np.ndarray, "s s 3"]]:
    changed = np.where(after == before, UNLABELED, after)
    size = (SHOWN_SIZE, SHOWN_SIZE)
    return [
        np.asarray(Image.fromarray(legend.picture(one)).resize(size, Image.Resampling.NEAREST))
        for one in (before, after, changed)
    ]
