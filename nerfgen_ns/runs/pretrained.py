"""A whole run in one small file: networks, latent table, cameras and small photographs, as safetensors.

Nothing in it is code: the model's configuration stands in the file's header as JSON.
"""

from __future__ import annotations

import copy
import json
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.datamanagers.dataset import open_dataset
from nerfgen_ns.dataset_format.frame import Frame
from nerfgen_ns.dataset_format.transforms import write_transforms
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.model.config import NerfgenModelConfig
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.runs.code_runs import write_code_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.training.checkpoints import CODES_IN_CHECKPOINT
from nerfgen_ns.utils.console import quiet_console
from nerfgen_ns.utils.files import replace_file
from nerfgen_ns.utils.images import resize, write_image

MODEL, PHOTOGRAPHS, CAMERAS, INTRINSICS = "model.", "photographs", "camera_to_world", "intrinsics"
CODES = CODES_IN_CHECKPOINT.removeprefix("_model.")
PHOTOGRAPH_SIZE = 32
"""Width and height of the photographs, which show who is who in the viewer."""
FORMAT = 1
HEADS = Path(__file__).with_name("heads.safetensors")
"""256 heads of the embedded class: a run of `nerfgen demo`."""


def pack(run: Run, path: Path) -> None:
    """Write a run as one file.

    Args:
        run: a trained run whose photographs are square and show one identity each.
        path: the file.

    Raises:
        NerfgenError: the file cannot be written.
    """
    from safetensors.torch import save

    tensors = {MODEL + name: _compact(tensor) for name, tensor in _own_tensors(run.model).items()}
    dataset = open_dataset(run.photographs)
    photographs = [resize(dataset.get_numpy_image(row), PHOTOGRAPH_SIZE) for row in range(len(dataset))]
    tensors[PHOTOGRAPHS] = torch.from_numpy(np.stack(photographs))
    cameras = dataset.cameras
    tensors[CAMERAS] = cameras.camera_to_worlds
    parts = (cameras.fx, cameras.fy, cameras.cx, cameras.cy)
    tensors[INTRINSICS] = torch.cat(parts, dim=1) / cameras.width * PHOTOGRAPH_SIZE
    header = {"format": FORMAT, "step": run.step, "model": _plain_fields(run.model.config)}
    contents = save(
        {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, {"nerfgen": json.dumps(header)}
    )
    with replace_file(path) as temporary:
        temporary.write_bytes(contents)


def unpack(path: Path, output_dir: Path) -> Path:
    """Make a run folder of a file, for every command that takes `--load-config`.

    Args:
        path: a file that `pack` wrote.
        output_dir: the run folder; see `nerfgen_ns.runs.code_runs.write_code_run`.

    Returns:
        The run's config.yml.

    Raises:
        UsageError: the folder holds something else.
        NerfgenError: the file is damaged, or the folder cannot be written.
    """
    header, tensors = _read(path)
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "photographs"
        cameras = _write_photographs(
            prepared, tensors[PHOTOGRAPHS].numpy(), tensors[CAMERAS], tensors[INTRINSICS]
        )
        run = _run(header, tensors, prepared, cameras)
        return write_code_run(run, run.codes, prepared, output_dir)


def _own_tensors(model: NerfgenModel) -> dict[str, Tensor]:
    """The tensors of the model, those that it knows by several names once."""
    by_place = {tensor.data_ptr(): name for name, tensor in reversed(model.state_dict().items())}
    return {
        name: tensor for name, tensor in model.state_dict().items() if by_place[tensor.data_ptr()] == name
    }


def _compact(tensor: Tensor) -> Tensor:
    """Grids are large and need few digits; what is learned keeps them."""
    return tensor.half() if tensor.dim() == 3 else tensor


def _plain_fields(config: NerfgenModelConfig) -> dict[str, Any]:
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float | str | tuple) or value is None
    }


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["nerfgen"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise NerfgenError(f"{path}: not a whole model file ({error}); install nerfgen-ns again") from error
    if header["format"] != FORMAT:
        raise NerfgenError(f"{path}: made for another version of nerfgen; install nerfgen-ns again")
    return header, tensors


def _write_photographs(
    folder: Path,
    photographs: UInt8[np.ndarray, "identities size size 3"],
    matrices: Float[Tensor, "identities 3 4"],
    intrinsics: Float[Tensor, "identities 4"],
) -> Cameras:
    """A prepared folder, and its cameras."""
    size = photographs.shape[1]
    frames = []
    for identity, (photograph, matrix, (fl_x, fl_y, cx, cy)) in enumerate(
        zip(photographs, matrices.tolist(), intrinsics.tolist(), strict=True)
    ):
        name = f"images/{identity:04d}.png"
        write_image(folder / name, photograph)
        frames.append(
            Frame(
                file_path=name,
                transform_matrix=np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]]),
                fl_x=fl_x,
                fl_y=fl_y,
                cx=cx,
                cy=cy,
                w=size,
                h=size,
                identity=identity,
            )
        )
    write_transforms(folder, frames)
    return open_dataset(folder).cameras


def _run(header: dict[str, Any], tensors: dict[str, Tensor], prepared: Path, cameras: Cameras) -> Run:
    from nerfgen_ns.configs import nerfgen_tiny

    config = copy.deepcopy(nerfgen_tiny.config)
    for name, value in header["model"].items():
        setattr(config.pipeline.model, name, tuple(value) if isinstance(value, list) else value)
    config.pipeline.datamanager.data = prepared
    with quiet_console():
        pipeline = config.pipeline.setup(device="cpu", test_mode="inference")
    model = pipeline.model.eval()
    state = model.state_dict()
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name.startswith(MODEL):
                state[name.removeprefix(MODEL)].copy_(tensor)
    return Run(model, cameras, config, header["step"], pipeline.datamanager.dataparser.record)
