"""A run folder made of codes: what `nerfgen fit` and `nerfgen sample` find, ready for every ns-* command."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jaxtyping import Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.cameras.trajectories import turned_cameras, usual_angles
from nerfgen_ns.datamanagers.data_manager import NerfgenDataManagerConfig
from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
from nerfgen_ns.datamanagers.data_record import CANONICAL_LANDMARKS, fingerprint_of, write_record
from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.dataset_format.frame import Frame
from nerfgen_ns.dataset_format.transforms import read_transforms, row_of_identity, write_transforms
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.model.camera_optimizer import CameraOptimizerConfig
from nerfgen_ns.runs.pack import read_pack, read_thumbnails
from nerfgen_ns.runs.run import Run
from nerfgen_ns.training.checkpoints import CODES_IN_CHECKPOINT, CONFIG, FOLDER, MODEL_IN_CHECKPOINT
from nerfgen_ns.training.pipeline import NerfgenPipelineConfig
from nerfgen_ns.training.trainer import NerfgenTrainerConfig
from nerfgen_ns.utils.console import quiet_console
from nerfgen_ns.utils.files import read_whole, replace_folder, write_json
from nerfgen_ns.utils.images import to_bytes, write_image

DATA = "data"
"""The folder of the photographs in such a run."""
LATENT_SPACE = "latent_space.npz"
"""The file of the class's latent space in such a run, whose own codes may be a single one."""


@dataclass
class CodeRunConfig(NerfgenTrainerConfig):
    """A run that was made of codes, not trained. Its folder holds all it needs, photographs too."""


def write_code_run(
    run: Run,
    codes: Float[Tensor, "n latent"],
    prepared: Path,
    output_dir: Path,
    state: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write a nerfstudio run folder in which `codes` are the identities.

    `ns-viewer`, `ns-render`, `ns-eval`, `ns-export`, `nerfgen pin` and `load_run` need nothing else to
    work on it, from any working directory, also after the folder was moved.

    Args:
        run: the trained run whose networks show the codes.
        codes: the rows of the new latent table.
        prepared: a prepared folder whose frames show the identities of these rows, in their order, with
            cameras in the class frame of `run`; moved into the run folder as `data`.
        output_dir: the run folder: new, empty, or one that this function wrote, which is then replaced.
        state: tensors of the model that replace `run`'s, by their name in its `state_dict`.

    Returns:
        The run's config.yml, `output_dir / "config.yml"`.

    Raises:
        UsageError: the folder holds something else, or the codes and the identities do not match.
        NerfgenError: the folder cannot be written.
    """
    with replace_folder(output_dir, is_code_run) as making:
        fill_run_folder(making, run, codes, prepared, output_dir, state)
    return output_dir / "config.yml"


def is_code_run(folder: Path) -> bool:
    """Return whether `write_code_run` wrote a folder; nothing of it is executed."""
    try:
        with (folder / "config.yml").open("rb") as file:
            return CodeRunConfig.__qualname__.encode() in file.readline()
    except OSError:
        return False


def fill_run_folder(
    folder: Path,
    run: Run,
    codes: Float[Tensor, "n latent"],
    prepared: Path,
    location: Path,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the contents of a run folder, for a caller that makes it as a part of a larger one.

    Args:
        folder: where to write, an empty folder.
        location: where the folder will be at the end.

    For the rest see `write_code_run`.
    """
    identities = len(row_of_identity(read_transforms(prepared).frames))
    if identities != len(codes):
        raise UsageError(f"{prepared}: shows {identities} identities, but there are {len(codes)} codes")
    shutil.move(prepared, folder / DATA)
    parser = NerfgenDataParserConfig(data=folder / DATA).setup()
    with quiet_console():
        photographs = NerfgenDataset(parser.get_dataparser_outputs(split="train"))
    record = replace(parser.record, given=DATA)
    write_record(folder, record, fingerprint_of(photographs))
    space = _space_of(run)
    if len(space.deviations) > 0:
        with (folder / LATENT_SPACE).open("wb") as file:
            np.savez(file, **{name: tensor.cpu().numpy() for name, tensor in vars(space).items()})
    # The refined poses belong to the cameras of other photographs.
    own = {
        name: tensor
        for name, tensor in {**run.model.state_dict(), **(state or {})}.items()
        if not name.startswith("camera_optimizer.")
    }
    pipeline = {f"{MODEL_IN_CHECKPOINT}{name}": tensor.detach().cpu() for name, tensor in own.items()}
    pipeline[CODES_IN_CHECKPOINT] = codes.detach().cpu().float()
    checkpoints = folder / FOLDER
    checkpoints.mkdir()
    # The optimizers' state belongs to the rows of the table that these codes replace.
    contents: dict[str, Any] = {"step": run.step, "pipeline": pipeline, "optimizers": {}, "scalers": {}}
    checkpoint = checkpoints / f"step-{run.step:09d}.ckpt"
    try:
        torch.save(contents, checkpoint)
    except RuntimeError as error:  # torch raises this for a full disk
        raise NerfgenError(f"{checkpoint}: cannot be written whole; free some space") from error
    (folder / CONFIG).write_text(yaml.dump(_config_of(run, location)), encoding="utf-8")


def _config_of(run: Run, location: Path) -> CodeRunConfig:
    # The cameras are those of the class frame, at the size of their photographs, and all are identities.
    dataparser = NerfgenDataParserConfig(data=Path(DATA))
    return CodeRunConfig(
        method_name=run.method_name,
        project_name="nerfgen",
        output_dir=location.resolve(),
        experiment_name=location.resolve().name,
        timestamp="run",
        pipeline=NerfgenPipelineConfig(
            datamanager=NerfgenDataManagerConfig(dataparser=dataparser),
            model=replace(run.model.config, identity=None, camera_optimizer=CameraOptimizerConfig()),
        ),
    )


def class_space(run: Run) -> LatentSpace:
    """Return the latent space of the class of a run.

    It is that of its latent table or, where the run was made of codes, of the table they were found with.

    Raises:
        UsageError: the latent table has no spread.
        NerfgenError: the file of the space is damaged.
    """
    space = _space_of(run)
    if len(space.deviations) == 0:
        raise UsageError("the run's identities are all the same: train it on more photographs, or longer")
    return space


def _space_of(run: Run) -> LatentSpace:
    path = None if run.folder is None else run.folder / LATENT_SPACE
    if path is None or not path.is_file():
        return LatentSpace.of(run.codes)
    with read_whole(path, "copy the whole run folder again, or make it again"):
        with np.load(path, allow_pickle=False) as arrays:
            parts = [torch.from_numpy(arrays[field.name]).to(run.codes) for field in fields(LatentSpace)]
        space = LatentSpace(*parts)
        size = (len(space.deviations), run.codes.shape[1])
        if space.directions.shape != size or space.mean.shape != size[1:] or space.deviations.ndim != 1:
            raise ValueError("its arrays do not fit the codes of the run")
    return space


def usual_camera(run: Run) -> Cameras:
    """Return a camera in front of the object, as the class is usually photographed, of shape (1,).

    Its image is square, as wide as the run's photographs were in training.
    """
    width = float(run.cameras.width.float().median()) / run.downscale_factor
    _, pitch = usual_angles(run.cameras)
    return turned_cameras(run.cameras, np.array([[0.0, pitch]]), max(round(width), 1))


def unpack(path: Path, output_dir: Path) -> Path:
    """Make a run folder from a packed run, for nerfstudio's commands, which cannot read packed runs.

    Its photographs are the thumbnails or, where the file has none, renders.

    Args:
        path: a file of `nerfgen_ns.runs.pack`.
        output_dir: the run folder; see `write_code_run`.

    Returns:
        The run's config.yml.

    Raises:
        UsageError: the folder holds something else.
        NerfgenError: the file is damaged, or the folder cannot be written.
    """
    run = read_pack(path)
    with tempfile.TemporaryDirectory() as temporary:
        prepared = Path(temporary) / DATA
        write_photographs_of_pack(path, run, prepared)
        return write_code_run(run, run.codes, prepared, output_dir)


def write_photographs_of_pack(path: Path, run: Run, folder: Path) -> None:
    """Write a prepared folder for a packed run: of its thumbnails or, where the file has none, of renders."""
    thumbnails = read_thumbnails(path)
    if thumbnails is None:
        write_rendered_photographs(run, run.codes, folder)
    else:
        _write_thumbnails(run, thumbnails.numpy(), folder)


def _write_thumbnails(
    run: Run, thumbnails: UInt8[np.ndarray, "photographs size size 3"], folder: Path
) -> None:
    size = thumbnails.shape[1]
    cameras = run.record.outputs(float(run.record.cameras.width[0]) / size).cameras
    frames = []
    for number, (row, thumbnail) in enumerate(zip(run.record.rows.tolist(), thumbnails, strict=True)):
        name = f"images/{number:06d}.png"
        write_image(folder / name, thumbnail)
        frames.append(Frame.of_camera(name, cameras[number : number + 1], identity=row))
    write_transforms(folder, frames)


def write_rendered_photographs(
    run: Run,
    codes: Float[Tensor, "n latent"],
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a prepared folder in which each code is an identity, photographed once by `usual_camera`.

    Args:
        run: the run that shows the codes.
        codes: the latent codes; their places are the identities.
        folder: where to write, a folder that does not exist.
        progress: called with the number of photographs done and their total.
    """
    camera = usual_camera(run)
    digits = max(4, len(str(len(codes) - 1)))
    frames = []
    for identity in range(len(codes)):
        outputs = run.render(codes[identity : identity + 1], camera)
        name = f"{identity:0{digits}d}.png"
        write_image(folder / "images" / name, to_bytes(outputs["rgb"]))
        write_image(folder / "mattes" / name, to_bytes(outputs["accumulation"])[..., 0])
        frames.append(
            Frame.of_camera(f"images/{name}", camera, mask_path=f"mattes/{name}", identity=identity)
        )
        if progress is not None:
            progress(identity + 1, len(codes))
    class_name, landmarks = run.record.class_name, run.record.canonical_landmarks
    write_transforms(folder, frames, {"class_name": class_name} if class_name else None)
    if landmarks is not None:
        write_json(folder / CANONICAL_LANDMARKS, landmarks)
