"""`nerfgen label`: label maps of a few photographs become a run that tells labels everywhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nerfgen_ns.dataset_format.label_maps import (
    LEGEND,
    MAPS,
    SUFFIX,
    LabelMap,
    Legend,
    MappedPhotograph,
    list_label_maps,
    match_label_maps,
    read_legend,
)
from nerfgen_ns.dataset_format.transforms import read_transforms, transforms_path
from nerfgen_ns.inversion.inversion import Stages, silent
from nerfgen_ns.runs.derived_runs import derived_run_folder
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.config import LabelConfig
from nerfgen_ns.semantics.label_training import with_labels
from nerfgen_ns.semantics.suggestions import suggest_photographs
from nerfgen_ns.training.checkpoints import CONFIG
from nerfgen_ns.utils.files import write_json

REPORT = "label.json"


@dataclass(frozen=True)
class LabelReport:
    """What `nerfgen label` did; `label.json` holds the same."""

    config: Path
    """The config.yml of the labeled run."""
    labels: dict[str, int]
    """How many pixels of the label maps have each label."""
    label_maps: int
    """How many label maps there were."""
    seconds: float
    """How long the training of the head took, without loading and writing."""
    suggested: list[str]
    """The photographs most worth labeling next."""


def label(
    load_config: Path,
    masks: Path,
    output_dir: Path,
    config: LabelConfig | None = None,
    suggest: int = 0,
    stages: Stages = silent,
) -> LabelReport:
    """Teach a trained run labels, and write it as another run folder, whole or not at all.

    Args:
        load_config: the config.yml of a run, or a packed run.
        masks: a folder of label maps, see `read_label_maps`.
        output_dir: the run folder to make: new, empty, or one of an earlier call, which is then replaced.
        config: the options.
        suggest: how many photographs to suggest for labeling next.
        stages: shows progress.

    Raises:
        UsageError: there is no such run, a label map or an option makes no sense, or the folder holds
            something else.
        NerfgenError: the folder cannot be written.
    """
    run = load_run(load_config)
    legend, label_maps = read_label_maps(run, masks)
    begin = time.perf_counter()
    with stages("labels") as progress:
        labeled = with_labels(run, label_maps, legend, config, progress)
    seconds = time.perf_counter() - begin
    suggested: list[str] = []
    if suggest:
        with stages("suggestions") as progress:
            suggested = names_of(run, suggest_photographs(labeled, suggest, label_maps, progress))
    joined = np.concatenate([one.ravel() for one in label_maps.values()])
    counts = {name: int((joined == number).sum()) for number, name in enumerate(legend.names)}
    report = LabelReport(output_dir / CONFIG, counts, len(label_maps), seconds, suggested)
    with derived_run_folder(output_dir, is_labeled_run, load_config, labeled, ("label_head",)) as making:
        shutil.rmtree(making / MAPS, ignore_errors=True)  # of earlier labels
        legend.write(making)
        names = names_of(run, label_maps)
        for name, label_map in zip(names, label_maps.values(), strict=True):
            legend.write_map(making / MAPS / f"{Path(name).stem}{SUFFIX}", label_map)
        legend.write(making / MAPS)
        write_json(making / REPORT, {**vars(report), "config": str(report.config), "photographs": names})
    return report


def is_labeled_run(folder: Path) -> bool:
    """Return whether `label` made a folder."""
    return all((folder / name).is_file() for name in (CONFIG, LEGEND, REPORT))


def photographs_of(run: Run) -> list[MappedPhotograph]:
    """Return what label maps of a run's photographs may be called, and how large they are."""
    crops: dict[Path, Any] = {}
    if transforms_path(run.data).is_file():
        transforms = read_transforms(run.data, allow_outside=True)
        files = zip(transforms.files, transforms.frames, strict=True)
        crops = {file: frame.photograph_to_crop for file, frame in files}
    widths, heights = (side.flatten().tolist() for side in (run.cameras.width, run.cameras.height))
    return [
        MappedPhotograph(image.stem, source, width, height, crops.get(image))
        for image, source, width, height in zip(
            run.record.images, run.record.sources, widths, heights, strict=True
        )
    ]


def read_label_maps(run: Run, masks: Path) -> tuple[Legend, dict[int, LabelMap]]:
    """Read the label maps of a folder as the crops of a run's photographs show them.

    A label map is a PNG with a palette or in gray: the value of a pixel is the number of its label, and 255
    is unlabeled. It has the name of a photograph, as crop or as it was before. `labels.json` names the
    numbers: `{"names": ["background", "hair"], "colors": [[0, 0, 0], [60, 40, 30]]}`.

    Returns:
        The labels; and the maps by the place of their photograph in the run's data.

    Raises:
        UsageError: one cannot be used; the line names it.
    """
    maps = list_label_maps(masks, "--masks")
    legend = read_legend(masks)
    found = match_label_maps(maps, photographs_of(run), legend)
    return legend, dict(sorted(found.items()))


def labeled_photographs(run: Run) -> list[int]:
    """Return the photographs that a labeled run has label maps of; none of another run."""
    maps = run.folder / MAPS if run.folder is not None else None
    if maps is None or not maps.is_dir():
        return []
    return list(read_label_maps(run, maps)[1])


def suggest(run: Run, count: int, stages: Stages = silent) -> list[str]:
    """Return the names of the photographs of a run most worth labeling next, the most useful first."""
    with stages("suggestions") as progress:
        return names_of(run, suggest_photographs(run, count, labeled_photographs(run), progress))


def names_of(run: Run, photographs: Collection[int]) -> list[str]:
    """Return the names of the crops of photographs."""
    return [run.record.images[number].name for number in photographs]
