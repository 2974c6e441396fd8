"""A run folder made of codes: what `nerfgen fit` and `nerfgen sample` find, ready for every ns-* command."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.cameras.projection import homogeneous
from nerfgen_ns.cameras.trajectories import turned_cameras, usual_angles
from nerfgen_ns.dataset_format.transforms import read_frames, rows_of_frames, transforms_path
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.runs.run import Run
from nerfgen_ns.training.checkpoints import CODES_IN_CHECKPOINT
from nerfgen_ns.training.trainer import NerfgenTrainerConfig
from nerfgen_ns.utils.files import replace_folder, write_json
from nerfgen_ns.utils.images import to_bytes, write_image


@dataclass
class CodeRunConfig(NerfgenTrainerConfig):
    """A run that is one folder: its config.yml, its checkpoint and, in `data`, its photographs.

    `output_dir` is that folder until the run is opened.
    """

    def get_base_dir(self) -> Path:
        """The run folder."""
        return self.run_dir or self.output_dir

    def open_in(self, folder: Path) -> None:
        """Let this be the run in a folder, with its photographs."""
        super().open_in(folder)
        self.lie_in(folder)

    def lie_in(self, folder: Path) -> None:
        """Let the run be the one in this folder."""
        self.output_dir = folder.resolve()
        self.pipeline.datamanager.data = self.output_dir / "data"


def write_code_run(
    run: Run,
    codes: Float[Tensor, "n latent"],
    prepared: Path,
    output_dir: Path,
    state: Mapping[str, Tensor] | None = None,
) -> Path:
    """A nerfstudio run folder in which `codes` are the identities.

    `ns-viewer`, `ns-render`, `ns-eval`, `ns-export`, `nerfgen pin` and `load_run` work on it with nothing
    further, from any working directory, also after the folder was moved.

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
        UsageError: the folder holds something else, or the codes and the identities do not go together.
        NerfgenError: the folder cannot be written.
    """
    with replace_folder(output_dir, is_code_run) as making:
        fill_run_folder(making, run, codes, prepared, output_dir, state)
    return output_dir / "config.yml"


def is_code_run(folder: Path) -> bool:
    """Whether `write_code_run` wrote a folder; nothing of it is executed."""
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
    """The contents of a run folder, for a caller that makes it as a part of a larger one.

    Args:
        folder: where to write, an empty folder.
        location: where the folder will lie when all is done.

    For the rest see `write_code_run`.
    """
    identities = max(rows_of_frames(read_frames(transforms_path(prepared)))) + 1
    if identities != len(codes):
        raise UsageError(f"{prepared}: shows {identities} identities, but there are {len(codes)} codes")
    shutil.move(prepared, folder / "data")
    config = _config_of(run, location)
    tensors = {**run.model.state_dict(), **(state or {})}
    pipeline = {f"_model.{name}": tensor.detach().cpu() for name, tensor in tensors.items()}
    pipeline[CODES_IN_CHECKPOINT] = codes.detach().cpu().float()
    checkpoints = folder / config.relative_model_dir
    checkpoints.mkdir()
    # The optimizers' state belongs to the rows of the table that these codes replace.
    contents: dict[str, Any] = {"step": run.step, "pipeline": pipeline, "optimizers": {}, "scalers": {}}
    checkpoint = checkpoints / f"step-{run.step:09d}.ckpt"
    try:
        torch.save(contents, checkpoint)
    except RuntimeError as error:  # what torch makes of a full disk
        raise NerfgenError(f"{checkpoint}: cannot be written whole; free some space") from error
    (folder / "config.yml").write_text(yaml.dump(config), encoding="utf-8")


def _config_of(run: Run, location: Path) -> CodeRunConfig:
    trained = copy.deepcopy(run.config)
    config = CodeRunConfig(**{field.name: getattr(trained, field.name) for field in fields(trained)})
    manager: Any = config.pipeline.datamanager
    # The cameras are those of the class frame, at the size of their photographs, and all are identities.
    manager.dataparser = replace(
        manager.dataparser,
        data=Path(),
        downscale_factor=None,
        scale_factor=1.0,
        orientation_method="none",
        center_method="none",
        auto_scale_poses=False,
        eval_fraction=0.0,
        run_dir=None,
    )
    config.run_dir = None
    config.pipeline.model.identity = None  # type: ignore[attr-defined]
    config.data = config.load_dir = config.load_step = None
    config.experiment_name, config.timestamp = location.resolve().name, "run"
    config.lie_in(location)
    return config


def usual_camera(run: Run) -> Cameras:
    """The camera that stands before the object as the class's photographs do, of shape (1,).

    Its size is that which the run's photographs had in training, and square.
    """
    manager: Any = run.config.pipeline.datamanager
    width = float(run.cameras.width.float().median()) / (manager.dataparser.downscale_factor or 1.0)
    _, pitch = usual_angles(run.cameras)
    return turned_cameras(run.cameras, np.array([[0.0, pitch]]), max(round(width), 1))


def write_rendered_photographs(
    run: Run,
    codes: Float[Tensor, "n latent"],
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """A prepared folder in which each code is an identity, photographed once by `usual_camera`.

    Args:
        run: the run that shows the codes.
        codes: the latent codes; their places are the identities.
        folder: where to write, a folder that is not there.
        progress: called with the number of photographs done and their total.
    """
    camera = usual_camera(run)
    shared = {
        "transform_matrix": homogeneous(camera.camera_to_worlds[0].cpu().numpy()).tolist(),
        "fl_x": float(camera.fx),
        "fl_y": float(camera.fy),
        "cx": float(camera.cx),
        "cy": float(camera.cy),
        "w": int(camera.width),
        "h": int(camera.height),
    }
    digits = max(4, len(str(len(codes) - 1)))
    frames = []
    for identity in range(len(codes)):
        outputs = run.render(codes[identity : identity + 1], camera)
        name = f"{identity:0{digits}d}.png"
        write_image(folder / "images" / name, to_bytes(outputs["rgb"]))
        write_image(folder / "mattes" / name, to_bytes(outputs["accumulation"])[..., 0])
        frames.append(
            {"file_path": f"images/{name}", "mask_path": f"mattes/{name}", "identity": identity, **shared}
        )
        if progress is not None:
            progress(identity + 1, len(codes))
    class_name, landmarks = run.record.class_name, run.record.canonical_landmarks
    head = {"camera_model": "OPENCV", **({"class_name": class_name} if class_name else {})}
    write_json(folder / "transforms.json", {**head, "frames": frames})
    if landmarks is not None:
        shutil.copyfile(landmarks, folder / landmarks.name)
