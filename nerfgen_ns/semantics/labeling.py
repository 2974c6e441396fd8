"""`nerfgen label`: label maps of a few photographs become a run that tells labels everywhere."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from nerfgen_ns.datamanagers.data_record import write_record
from nerfgen_ns.dataset_format.label_maps import (
    LEGEND,
    SUFFIX,
    LabelMap,
    Legend,
    MappedPhotograph,
    list_label_maps,
    match_label_maps,
    read_legend,
)
from nerfgen_ns.dataset_format.transforms import read_transforms, transforms_path
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.inversion.inversion import Stages, silent
from nerfgen_ns.preprocessing.store import link
from nerfgen_ns.runs.code_runs import LATENT_SPACE, fill_run_folder, write_photographs_of_pack
from nerfgen_ns.runs.loading import load_run, read_checkpoint, read_config_nodes
from nerfgen_ns.runs.pack import SUFFIX as PACKED
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.config import LabelConfig
from nerfgen_ns.semantics.label_training import with_labels
from nerfgen_ns.semantics.suggestions import suggest_photographs
from nerfgen_ns.training.checkpoints import CONFIG, FOLDER, MODEL_IN_CHECKPOINT
from nerfgen_ns.utils.files import replace_folder, write_json

MAPS = "label_maps"
"""The folder of the label maps in a labeled run."""
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
    with replace_folder(output_dir, is_labeled_run) as making:
        if load_config.suffix == PACKED:
            _fill_from_pack(making, load_config, labeled, output_dir)
        else:
            _fill_from_folder(making, load_config, labeled, output_dir)
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


def _fill_from_pack(folder: Path, packed: Path, labeled: Run, location: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        prepared = Path(temporary) / "data"
        write_photographs_of_pack(packed, labeled, prepared)
        fill_run_folder(folder, labeled, labeled.codes, prepared, location)


def _fill_from_folder(folder: Path, load_config: Path, labeled: Run, location: Path) -> None:
    """Write the run with the head: its configuration, checkpoint and record, and its data if it is inside."""
    config = read_config_nodes(load_config)
    _set(_value(_value(config, "pipeline"), "model"), "label_head", labeled.model.config.label_head)
    (folder / CONFIG).write_text(yaml.serialize(config), encoding="utf-8")
    contents = read_checkpoint(load_config)
    assert labeled.model.label_head is not None
    head = labeled.model.label_head.state_dict(prefix=f"{MODEL_IN_CHECKPOINT}label_head.")
    kept = _without_head(contents["pipeline"])
    pipeline = {**kept, **{name: tensor.cpu() for name, tensor in head.items()}}
    checkpoint = folder / FOLDER / f"step-{labeled.step:09d}.ckpt"
    checkpoint.parent.mkdir()
    try:
        # The optimizers' state would be of use only to a training, which knows nothing of labels.
        torch.save({"step": labeled.step, "pipeline": pipeline, "optimizers": {}, "scalers": {}}, checkpoint)
    except RuntimeError as error:  # torch raises this for a full disk
        raise NerfgenError(f"{checkpoint}: cannot be written whole; free some space") from error
    record, source = labeled.record, load_config.resolve().parent
    if (source / LATENT_SPACE).is_file():
        shutil.copyfile(source / LATENT_SPACE, folder / LATENT_SPACE)
    if record.data.is_relative_to(source) and record.data != source:
        shutil.copytree(record.data, folder / record.data.relative_to(source), copy_function=_link)
        record = replace(record, data=folder / record.data.relative_to(source))
        moved = {
            name: files and [folder / file.relative_to(source) for file in files]
            for name, files in (("images", record.images), ("mattes", record.mattes))
        }
        record = replace(record, **moved)  # type: ignore[arg-type]
        location = folder
    write_record(folder, record, record.fingerprint, location)


def _link(source: str, target: str) -> None:
    link(Path(source), Path(target))


def _without_head(tensors: Mapping[str, Any]) -> dict[str, Any]:
    prefix = f"{MODEL_IN_CHECKPOINT}label_head."
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}


def _value(node: yaml.Node, key: str) -> yaml.Node:
    return next(value for name, value in node.value if name.value == key)


def _set(node: yaml.Node, key: str, value: object) -> None:
    """Set a key of a mapping of YAML; nothing that the file names is called."""
    made = yaml.compose(yaml.dump(value))
    name = yaml.ScalarNode("tag:yaml.org,2002:str", key)
    node.value = [pair for pair in node.value if pair[0].value != key] + [(name, made)]
