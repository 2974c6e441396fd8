"""A whole run in one file that is safe to give away: tensors and JSON, as safetensors.

Nothing in it is executed. Without thumbnails it holds no photograph and no photograph's path.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfgen_ns.datamanagers.data_record import DataRecord, parts_of, record_of
from nerfgen_ns.datamanagers.dataset import open_dataset
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.model.config import NerfgenModelConfig, options_of, set_options
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.runs.run import Run, check_sizes, make_run
from nerfgen_ns.utils.files import read_whole, replace_file
from nerfgen_ns.utils.images import resize

SUFFIX = ".safetensors"
MODEL, RECORD, THUMBNAILS = "model.", "record.", "thumbnails"
THUMBNAIL_SIZE = 32
"""Width and height of the thumbnails, which show in the viewer which identity is which."""
FORMAT = 2
FIX = "pack the run again"
HEADS = Path(__file__).with_name("heads.safetensors")
"""256 heads of the embedded class: a run of `nerfgen demo`."""


def write_pack(run: Run, path: Path, thumbnails: bool = False) -> None:
    """Write a run as one file.

    Args:
        run: a trained run.
        path: the file, which ends in .safetensors.
        thumbnails: whether to put a small picture of each photograph into it.

    Raises:
        UsageError: the path ends in something else, or the thumbnails' photographs are missing.
        NerfgenError: the file cannot be written.
    """
    from safetensors.torch import save

    if path.suffix != SUFFIX:
        raise UsageError(f"{path}: a packed run ends in {SUFFIX}; choose another --output-path")
    count = len(run.record.images)
    names = [f"{photograph:0{len(str(count - 1))}d}" for photograph in range(count)]
    # Names of objects may be names of people.
    numbers: list[int | str] = list(range(len(run.record.identities)))
    text, arrays = parts_of(
        replace(run.record, given="", sources=names, identities=numbers, fingerprint=None)
    )
    tensors = {f"{MODEL}{name}": _compact(tensor) for name, tensor in _own_tensors(run.model).items()}
    tensors |= {f"{RECORD}{name}": torch.from_numpy(array) for name, array in arrays.items()}
    if thumbnails:
        photographs = open_dataset(run.photographs)
        pictures = [
            resize(photographs.get_numpy_image(number), THUMBNAIL_SIZE) for number in range(len(photographs))
        ]
        tensors[THUMBNAILS] = torch.from_numpy(np.stack(pictures))
    header = {
        "format": FORMAT,
        "method_name": run.method_name,
        "step": run.step,
        "downscale_factor": run.downscale_factor,
        "model": options_of(run.model.config),
        "record": text,
        "canonical_landmarks": run.record.canonical_landmarks,
    }
    contents = save(
        {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, {"nerfgen": json.dumps(header)}
    )
    with replace_file(path) as temporary:
        temporary.write_bytes(contents)


def read_pack(path: Path) -> Run:
    """Read a run that `write_pack` wrote.

    Raises:
        UsageError: there is no such file.
        NerfgenError: it is damaged, or of another version.
    """
    header, tensors = _read(path, MODEL, RECORD)
    config = NerfgenModelConfig()
    with read_whole(path, FIX):
        set_options(config, header["model"])
        own = {name.removeprefix(MODEL): tensor for name, tensor in _named(tensors, MODEL)}
        check_sizes(config, own)
        parts = {name.removeprefix(RECORD): tensor.numpy() for name, tensor in _named(tensors, RECORD)}
        record, factor = _record_of(header, parts, path), float(header["downscale_factor"])
        run = make_run(config, str(header["method_name"]), int(header["step"]), record, factor)
        _fill(run.model, own)
    return run


def read_thumbnails(path: Path) -> Tensor | None:
    """Read the thumbnails of a packed run, (photographs, size, size, 3) in bytes; None where it has none."""
    return _read(path, THUMBNAILS)[1].get(THUMBNAILS)


def _record_of(header: dict[str, Any], arrays: dict[str, np.ndarray], path: Path) -> DataRecord:
    return record_of(
        header["record"],
        arrays,
        data=path,
        images=[path.parent / f"{name}.png" for name in header["record"]["sources"]],
        mattes=None,
        canonical_landmarks=header["canonical_landmarks"],
    )


def _fill(model: NerfgenModel, tensors: dict[str, Tensor]) -> None:
    """Give a model the tensors of a file; a tensor with several names is in the file once."""
    state = model.state_dict()
    filled = set()
    with torch.no_grad():
        for name, tensor in tensors.items():
            if state[name].shape != tensor.shape:
                raise ValueError(f"{name} is of shape {tuple(tensor.shape)}, not {tuple(state[name].shape)}")
            state[name].copy_(tensor)
            filled.add(state[name].data_ptr())
    missing = [name for name, tensor in state.items() if tensor.data_ptr() not in filled]
    if missing:
        raise ValueError(f"{missing[0]} is missing")


def _own_tensors(model: NerfgenModel) -> dict[str, Tensor]:
    """Return the tensors of the model; one that has several names appears once."""
    by_place = {tensor.data_ptr(): name for name, tensor in reversed(model.state_dict().items())}
    return {
        name: tensor for name, tensor in model.state_dict().items() if by_place[tensor.data_ptr()] == name
    }


def _compact(tensor: Tensor) -> Tensor:
    """Return grids in half precision, as they are large and need few digits, and other tensors unchanged."""
    return tensor.half() if tensor.dim() == 3 else tensor


def _named(tensors: dict[str, Tensor], prefix: str) -> list[tuple[str, Tensor]]:
    return [(name, tensor) for name, tensor in tensors.items() if name.startswith(prefix)]


def _read(path: Path, *prefixes: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the header, and the tensors whose names begin with one of the prefixes."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UsageError(f"{path}: no such file; --load-config takes a run or a file of nerfgen pack")
    with read_whole(path, FIX):
        try:
            with safe_open(path, "pt") as file:
                header = json.loads(file.metadata()["nerfgen"])
                names = [name for name in file.keys() if name.startswith(prefixes)]  # noqa: SIM118
                tensors = {name: file.get_tensor(name) for name in names}
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        if header["format"] != FORMAT:
            raise NerfgenError(f"{path}: packed by another version of nerfgen; pack the run again")
    return header, tensors
