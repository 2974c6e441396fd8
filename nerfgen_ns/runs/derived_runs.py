"""A run folder made from another run whose model has other heads or effects: networks and data stay."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from torch import nn

from nerfgen_ns.datamanagers.data_record import write_record
from nerfgen_ns.dataset_format.label_maps import LEGEND, MAPS
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.preprocessing.store import link
from nerfgen_ns.runs.code_runs import LATENT_SPACE, fill_run_folder, write_photographs_of_pack
from nerfgen_ns.runs.loading import read_checkpoint, read_config_nodes
from nerfgen_ns.runs.pack import SUFFIX as PACKED
from nerfgen_ns.runs.run import Run
from nerfgen_ns.training.checkpoints import CONFIG, FOLDER, MODEL_IN_CHECKPOINT
from nerfgen_ns.utils.files import replace_folder


@contextmanager
def derived_run_folder(
    output_dir: Path, is_own: Callable[[Path], bool], load_config: Path, made: Run, changed: Sequence[str]
) -> Iterator[Path]:
    """Yield the folder of a run made from another one, to which the block adds files; whole or not at all.

    Data and label maps inside the other run's folder are linked or copied, so that the new run does not need
    that folder.

    Args:
        output_dir: the run folder to make: new, empty, or one that may be replaced.
        is_own: whether a folder that is there may be replaced.
        load_config: the config.yml of the other run, or a packed run.
        made: that run with the changes.
        changed: the fields of the model's configuration that differ. Where the model has a module of this
            name, its tensors are written too.

    Raises:
        UsageError: the folder holds something else.
        NerfgenError: it cannot be written.
    """
    with replace_folder(output_dir, is_own) as making:
        if load_config.suffix == PACKED:
            with tempfile.TemporaryDirectory() as temporary:
                prepared = Path(temporary) / "data"
                write_photographs_of_pack(load_config, made, prepared)
                fill_run_folder(making, made, made.codes, prepared, output_dir)
        else:
            source = load_config.resolve().parent
            _write_networks(making, load_config, made, changed)
            _write_record(making, source, made, output_dir)
            for name in (LATENT_SPACE, LEGEND):
                if (source / name).is_file():
                    link(source / name, making / name)
            if (source / MAPS).is_dir():
                shutil.copytree(source / MAPS, making / MAPS, copy_function=_link)
        yield making


def _write_networks(folder: Path, load_config: Path, made: Run, changed: Sequence[str]) -> None:
    """Write the configuration and the checkpoint: those of the other run with what differs."""
    config = read_config_nodes(load_config)
    model_config = _value(_value(config, "pipeline"), "model")
    pipeline = dict(read_checkpoint(load_config)["pipeline"])
    for name in changed:
        _set(model_config, name, getattr(made.model.config, name))
        prefix = f"{MODEL_IN_CHECKPOINT}{name}."
        pipeline = {key: tensor for key, tensor in pipeline.items() if not key.startswith(prefix)}
        module = getattr(made.model, name, None)
        if isinstance(module, nn.Module):
            pipeline |= {key: tensor.cpu() for key, tensor in module.state_dict(prefix=prefix).items()}
    (folder / CONFIG).write_text(yaml.serialize(config), encoding="utf-8")
    checkpoint = folder / FOLDER / f"step-{made.step:09d}.ckpt"
    checkpoint.parent.mkdir()
    try:
        # The optimizers' state would be of use only to a training, which knows nothing of the changes.
        torch.save({"step": made.step, "pipeline": pipeline, "optimizers": {}, "scalers": {}}, checkpoint)
    except RuntimeError as error:  # torch raises this for a full disk
        raise NerfgenError(f"{checkpoint}: cannot be written whole; free some space") from error


def _write_record(folder: Path, source: Path, made: Run, location: Path) -> None:
    """Write the record, and the data if it is in the folder of the other run, `source`."""
    record = made.record
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


def _value(node: yaml.Node, key: str) -> yaml.Node:
    return next(value for name, value in node.value if name.value == key)


def _set(node: yaml.Node, key: str, value: object) -> None:
    """Set a key of a mapping of YAML; nothing that the file names is called."""
    made = yaml.compose(yaml.dump(value))
    name = yaml.ScalarNode("tag:yaml.org,2002:str", key)
    node.value = [pair for pair in node.value if pair[0].value != key] + [(name, made)]
