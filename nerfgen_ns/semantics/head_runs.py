"""Run folders of runs that got a head: everything of the run they were made of, and the heads."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from nerfgen_ns.datamanagers.data_record import write_record
from nerfgen_ns.dataset_format.label_maps import LEGEND
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.preprocessing.store import link
from nerfgen_ns.runs.code_runs import fill_run_folder, write_photographs_of_pack
from nerfgen_ns.runs.loading import read_checkpoint, read_config_nodes
from nerfgen_ns.runs.pack import SUFFIX as PACKED
from nerfgen_ns.runs.run import Run
from nerfgen_ns.training.checkpoints import CONFIG, FOLDER, MODEL_IN_CHECKPOINT
from nerfgen_ns.utils.files import replace_folder

MAPS = "label_maps"
"""The folder of the label maps in a labeled run."""
HEADS = ("label_head", "feature_head")
"""What the model and its configuration call the heads."""


@contextmanager
def head_run_folder(
    output_dir: Path, is_own: Callable[[Path], bool], load_config: Path, run: Run
) -> Iterator[Path]:
    """Yield the folder of a run with heads, to which the block adds files, written whole or not at all.

    Label maps that the run was labeled with come along.

    Args:
        output_dir: the run folder to make: new, empty, or one that may be replaced.
        is_own: whether a folder that is there may be replaced.
        load_config: the config.yml of the run that it was made of, or a packed run.
        run: that run with its heads.

    Raises:
        UsageError: the folder holds something else.
        NerfgenError: it cannot be written.
    """
    with replace_folder(output_dir, is_own) as making:
        if load_config.suffix == PACKED:
            with tempfile.TemporaryDirectory() as temporary:
                prepared = Path(temporary) / "data"
                write_photographs_of_pack(load_config, run, prepared)
                fill_run_folder(making, run, run.codes, prepared, output_dir)
        else:
            _fill(making, load_config, run, output_dir)
            _link_label_maps(making, load_config.parent, run)
        yield making


def _fill(folder: Path, load_config: Path, run: Run, location: Path) -> None:
    """Write the run: its configuration, checkpoint and record, and its data if it is inside."""
    config = read_config_nodes(load_config)
    model = _value(_value(config, "pipeline"), "model")
    heads: dict[str, torch.Tensor] = {}
    for name in HEADS:
        _set(model, name, getattr(run.model.config, name))
        head = getattr(run.model, name)
        if head is not None:
            heads |= head.state_dict(prefix=f"{MODEL_IN_CHECKPOINT}{name}.")
    (folder / CONFIG).write_text(yaml.serialize(config), encoding="utf-8")
    pipeline = {
        **_without_heads(read_checkpoint(load_config)["pipeline"]),
        **{name: tensor.cpu() for name, tensor in heads.items()},
    }
    checkpoint = folder / FOLDER / f"step-{run.step:09d}.ckpt"
    checkpoint.parent.mkdir()
    try:
        # The optimizers' state would be of use only to a training, which knows nothing of heads.
        torch.save({"step": run.step, "pipeline": pipeline, "optimizers": {}, "scalers": {}}, checkpoint)
    except RuntimeError as error:  # torch raises this for a full disk
        raise NerfgenError(f"{checkpoint}: cannot be written whole; free some space") from error
    record, source = run.record, load_config.resolve().parent
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


def _link_label_maps(folder: Path, source: Path, run: Run) -> None:
    if run.model.label_head is not None and (source / MAPS).is_dir():
        shutil.copytree(source / MAPS, folder / MAPS, copy_function=_link)
        if (source / LEGEND).is_file():
            link(source / LEGEND, folder / LEGEND)


def _link(source: str, target: str) -> None:
    link(Path(source), Path(target))


def _without_heads(tensors: Mapping[str, Any]) -> dict[str, Any]:
    prefixes = tuple(f"{MODEL_IN_CHECKPOINT}{name}." for name in HEADS)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(prefixes)}


def _value(node: yaml.Node, key: str) -> yaml.Node:
    return next(value for name, value in node.value if name.value == key)


def _set(node: yaml.Node, key: str, value: object) -> None:
    """Set a key of a mapping of YAML; nothing that the file names is called."""
    made = yaml.compose(yaml.dump(value))
    name = yaml.ScalarNode("tag:yaml.org,2002:str", key)
    node.value = [pair for pair in node.value if pair[0].value != key] + [(name, made)]
