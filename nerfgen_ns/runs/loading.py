"""Load a run from its config.yml or from a packed file. Nothing in either is executed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from nerfgen_ns.datamanagers.data_record import read_record
from nerfgen_ns.errors import UsageError
from nerfgen_ns.model.config import NerfgenModelConfig, set_options
from nerfgen_ns.runs.pack import SUFFIX, read_pack
from nerfgen_ns.runs.run import Run, check_sizes, make_run
from nerfgen_ns.training.checkpoints import FOLDER, MODEL_IN_CHECKPOINT, newest_checkpoint
from nerfgen_ns.utils.files import read_whole

TRAINER_CONFIGS = (
    "nerfgen_ns.training.trainer.NerfgenTrainerConfig",
    "nerfgen_ns.runs.code_runs.CodeRunConfig",
)
"""The classes whose objects the config.yml of a run holds."""
EXPECTED = "--load-config takes the config.yml of a trained nerfgen run, or a file of nerfgen pack"


def load_run(load_config: Path) -> Run:
    """Load a run with its newest checkpoint, on the GPU where there is one.

    A run is where its config.yml is. It needs nothing else: no photograph, no other folder.

    Args:
        load_config: the config.yml of a run, or a file of `nerfgen_ns.runs.pack`.

    Raises:
        UsageError: it is not a run of nerfgen, or it has no checkpoint.
        NerfgenError: the checkpoint or the packed file is damaged.
    """
    if load_config.suffix == SUFFIX:
        return read_pack(load_config)
    values = read_config(load_config)
    config = NerfgenModelConfig()
    try:
        parser = values["pipeline"]["datamanager"]["dataparser"]
        method_name, eval_fraction = values["method_name"], float(parser["eval_fraction"])
        given, size = float(parser["downscale_factor"] or 0), int(parser.get("training_size") or 0)
        if not isinstance(method_name, str):
            raise ValueError("method_name is no name")
        set_options(config, values["pipeline"]["model"])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UsageError(
            f"{load_config}: made by another version of nerfgen ({error}); train again"
        ) from error
    with read_whole(load_config, "copy the whole run folder again, or train again"):
        checkpoint = read_checkpoint(load_config)
        prefix = len(MODEL_IN_CHECKPOINT)
        tensors = {
            name[prefix:]: tensor
            for name, tensor in checkpoint["pipeline"].items()
            if name.startswith(MODEL_IN_CHECKPOINT)
        }
        try:
            check_sizes(config, tensors)
        except ValueError as error:
            raise UsageError(f"{load_config}: {error}; use the config.yml beside the checkpoint") from error
        folder = load_config.resolve().parent
        record = read_record(folder)
        factor = record.downscale_factor(given, size or None)
        run = make_run(config, method_name, int(checkpoint["step"]), record, factor, eval_fraction)
        run.model.load_state_dict(tensors)
    return replace(run, folder=folder)


def read_checkpoint(load_config: Path) -> dict[str, Any]:
    """Read a run's newest checkpoint; see `newest_checkpoint` for what it raises."""
    # Mapped: only the parts of the latent table that are used are read; it may be large.
    path = newest_checkpoint(load_config.parent / FOLDER)
    with read_whole(path, "copy the checkpoint again, or train again"):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


class PlainLoader(yaml.SafeLoader):
    """Reads a configuration as plain values: objects as dicts of their fields, classes as their names."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave merge keys alone: no configuration has any, and a few of them unfold to gigabytes."""


def _fields(loader: PlainLoader, suffix: str, node: yaml.Node) -> Any:
    return loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else None


def _tuple(loader: PlainLoader, node: yaml.Node) -> Any:
    return tuple(loader.construct_sequence(node, deep=True)) if isinstance(node, yaml.SequenceNode) else ()


def _path(loader: PlainLoader, suffix: str, node: yaml.Node) -> Any:
    """Return a path where the file has a call that makes one; other calls give None."""
    return Path(*_tuple(loader, node)) if suffix.startswith("pathlib.") else None


PYTHON = "tag:yaml.org,2002:python/"
PlainLoader.add_constructor(f"{PYTHON}tuple", _tuple)
PlainLoader.add_multi_constructor(f"{PYTHON}object/apply:", _path)
PlainLoader.add_multi_constructor(f"{PYTHON}object:", _fields)
PlainLoader.add_multi_constructor(f"{PYTHON}name:", lambda loader, suffix, node: suffix)
PlainLoader.add_multi_constructor(PYTHON, lambda loader, suffix, node: None)


def read_config(load_config: Path) -> dict[str, Any]:
    """Read the config.yml of a run as plain values. Nothing that it names is imported or called.

    Raises:
        UsageError: the file is missing or is not the `config.yml` of such a run.
    """
    node = read_config_nodes(load_config)
    loader = PlainLoader("")
    try:
        return loader.construct_document(node)
    except (yaml.YAMLError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise UsageError(f"{load_config}: not a readable configuration; {EXPECTED}") from error
    finally:
        loader.dispose()


def read_config_nodes(load_config: Path) -> yaml.MappingNode:
    """Read the config.yml of a run as YAML's nodes; see `read_config`."""
    try:
        node = yaml.compose(load_config.read_text(encoding="utf-8"), PlainLoader)
    except (OSError, RecursionError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or "not a readable configuration"
        raise UsageError(f"{load_config}: {reason}; {EXPECTED}") from error
    kinds = [f"{PYTHON}object:{kind}" for kind in TRAINER_CONFIGS]
    if not isinstance(node, yaml.MappingNode) or node.tag not in kinds:
        raise UsageError(f"{load_config}: not a run of nerfgen; {EXPECTED}")
    return node
