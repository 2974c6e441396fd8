"""Cameras of photographs, refined by a trained run: `nerfgen prepare --from-run`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from nerfgen_ns.cameras.projection import homogeneous, project
from nerfgen_ns.cameras.se3 import move_cameras
from nerfgen_ns.datamanagers.dataset import open_dataset
from nerfgen_ns.datamanagers.pixel_store import PixelStore
from nerfgen_ns.dataset_format.columns import open_landmarks
from nerfgen_ns.dataset_format.frame import Frame
from nerfgen_ns.dataset_format.transforms import (
    Transforms,
    read_transforms,
    transforms_path,
    write_transforms,
)
from nerfgen_ns.errors import UsageError
from nerfgen_ns.inversion.config import FitConfig
from nerfgen_ns.inversion.inversion import latent_space_of, looked_at_factor
from nerfgen_ns.inversion.latent_fit import PoseStd, Progress, Views, fit_codes
from nerfgen_ns.model.camera_optimizer import CameraOptimizer
from nerfgen_ns.preprocessing.report.prepare_report import ClassShape, write_report_page
from nerfgen_ns.preprocessing.store import link
from nerfgen_ns.runs.run import Run
from nerfgen_ns.utils.files import read_json, replace_folder, write_json
from nerfgen_ns.utils.machine import keep_freed_memory

if TYPE_CHECKING:
    from nerfgen_ns.inversion.inversion import Stages


def refit_cameras(
    run: Run,
    config: FitConfig | None = None,
    start: Float[Tensor, "photographs 3 4"] | None = None,
    progress: Progress | None = None,
) -> tuple[list[str], Float[Tensor, "photographs 3 4"]]:
    """Find the cameras of a run's photographs together with new codes, all of them from the table's mean.

    A code that was trained with a wrong camera compensates for it, and so do networks in training. Here the
    networks are frozen: the errors of many cameras average out in them. The Gaussian of the table keeps the
    codes close to usual objects, so the camera explains what is unusual about a photograph.

    Args:
        run: a trained run; it stays as it is. Photographs set aside in training are found as well.
        config: see `fit_codes`; `downscale_factor` sets the size of the photographs.
        start: where the search begins, in the run's class frame; if None, at the cameras of the data.
        progress: called with the number of steps done and their total.

    Returns:
        The image files in the order of the run's photographs, and their camera-to-world matrices, in float64.

    Raises:
        UsageError: the data has changed so that it cannot be read, or the latent table has no spread.
    """
    config = config or FitConfig()
    space = latent_space_of(run)
    dataset = open_dataset(run.photographs, looked_at_factor(run, config))
    cameras = dataset.cameras
    matrices = (cameras.camera_to_worlds if start is None else start).double()
    cameras.camera_to_worlds = matrices.float()
    if run.model.device.type == "cpu":
        keep_freed_memory()
    every = torch.arange(len(dataset))
    assert cameras.metadata is not None
    objects = cameras.metadata["cam_idx"][:, 0].long()
    views = Views(PixelStore(dataset, every.numpy()), every, cameras, objects)
    motions = fit_codes(run.model, space, views, config, PoseStd(), progress).motions
    names = [str(name) for name in dataset.image_filenames]
    return names, move_cameras(matrices, motions.to(matrices))


WHOLE = ("canonical_landmarks.json",)
"""Files of the folder that the new one has too, beside those that transforms.json names."""


@dataclass(frozen=True)
class RefinedFolder:
    """A prepared folder with the cameras of a run."""

    path: Path
    """The prepared folder."""
    refitted: bool
    """Whether the cameras were fitted again; otherwise they are those that training learned."""
    change: Float[np.ndarray, " n"]
    """The angle in degrees by which each camera turned."""
    error_before: float | None
    """Median root mean square reprojection error in pixels; None where the folder has no landmarks."""
    error_after: float | None
    """The same with the new cameras."""


def prepare_from_run(load_config: Path, output_dir: Path, stages: Stages | None = None) -> RefinedFolder:
    """Write a prepared folder with the cameras that a run finds for its photographs.

    If the run corrected its poses in training, these cameras are used. Otherwise they are fitted again, see
    `refit_cameras`.

    Images and mattes are linked; transforms.json is that of the run's data with the new matrices and, per
    frame, `pose_change` in degrees. Where there are canonical landmarks the reprojection errors are computed
    again. The folder appears whole or not at all; an earlier one from a run is replaced.

    Args:
        load_config: the run's config.yml.
        output_dir: the folder to make.
        stages: shows progress.

    Raises:
        UsageError: the run's data has changed since, its identities are all the same, or `output_dir`
            holds something else.
        NerfgenError: the checkpoint is damaged, or the folder cannot be written.
    """
    from nerfgen_ns.runs.loading import load_run

    run = load_run(load_config)
    _check_output(output_dir, transforms_path(run.photographs).parent)
    # The new folder has files under the same names: none may lead out of it.
    before = read_transforms(run.photographs, allow_outside=False)
    optimizer = run.model.camera_optimizer
    if optimizer is None:
        names, cameras = _refitted_cameras(run, stages)
    else:
        names, cameras = _refined_cameras(run, optimizer)
    moved = dict(zip(names, cameras, strict=True))
    frames = [
        _with_camera(frame, moved[str(file)]) for file, frame in zip(before.files, before.frames, strict=True)
    ]
    errors = _reprojection_errors(before, frames)
    if errors is not None:
        frames = [
            replace(frame, reprojection_rmse=round(error, 4))
            for frame, error in zip(frames, errors.tolist(), strict=True)
        ]
    known = [frame.reprojection_rmse for frame in before.frames]
    result = RefinedFolder(
        path=output_dir,
        refitted=optimizer is None,
        change=np.array([frame.pose_change for frame in frames]),
        error_before=None if errors is None else float(np.median(np.array(known, dtype=np.float64))),
        error_after=None if errors is None else float(np.median(errors)),
    )
    told = {"config": str(load_config), "step": run.step}
    _write(replace(before, frames=frames), result, told)
    return result


def files_to_copy(transforms: Transforms) -> list[str]:
    """Return the files that the new folder has too, each under the same name."""
    names = [name for frame in transforms.frames for name in frame.files]
    if "landmarks_path" in transforms.head:
        names.append(transforms.head["landmarks_path"])
    there = [name for name in WHOLE if (transforms.path.parent / name).is_file()]
    return list(dict.fromkeys([*names, *there]))


def _with_camera(frame: Frame, camera: Float[np.ndarray, "4 4"]) -> Frame:
    """Return the frame with another camera, and with the angle in degrees between both as `pose_change`."""
    own, other = (Rotation.from_matrix(matrix[:3, :3]) for matrix in (frame.transform_matrix, camera))
    change = round(float(np.degrees((own.inv() * other).magnitude())), 4)
    return replace(frame, transform_matrix=camera.round(9), pose_change=change)


def _check_output(output_dir: Path, data: Path) -> None:
    output, source = output_dir.resolve(), data.resolve()
    if output == source or output in source.parents or source in output.parents:
        raise UsageError(f"{output_dir}: overlaps with the run's data in {data}; choose one beside it")


def _is_from_run(folder: Path) -> bool:
    report = folder / "report.json"
    return report.is_file() and "from_run" in read_json(report)


def _refined_cameras(run: Run, optimizer: CameraOptimizer) -> tuple[list[str], Float[np.ndarray, "n 4 4"]]:
    """Return the image files in the order of the run's photographs, and the cameras that it learned."""
    cameras = optimizer.move_cameras(run.record.cameras.camera_to_worlds.double().to(run.model.device))
    return [str(name) for name in run.record.images], homogeneous(cameras.cpu().numpy())


def _refitted_cameras(run: Run, stages: Stages | None) -> tuple[list[str], Float[np.ndarray, "n 4 4"]]:
    """Return the same for a run that kept its cameras as they were."""
    from nerfgen_ns.inversion.inversion import silent

    with (stages or silent)("finding cameras") as progress:
        names, cameras = refit_cameras(run, progress=progress)
    return names, homogeneous(cameras.numpy())


def _reprojection_errors(before: Transforms, frames: Sequence[Frame]) -> Float[np.ndarray, " n"] | None:
    """Compute the reprojection error of each frame in pixels; None without landmarks."""
    folder = before.path.parent
    canonical, landmarks = folder / "canonical_landmarks.json", open_landmarks(folder)
    if not canonical.is_file() or landmarks is None:
        return None
    shape = ClassShape.of(read_json(canonical))
    errors = []
    for frame, seen in zip(frames, landmarks, strict=True):
        distances = np.square(project(frame.camera, shape.points_of(frame))[0] - seen[:, :2]).sum(axis=-1)
        errors.append(np.sqrt(np.nanmean(distances)))
    return np.array(errors)


def _write(transforms: Transforms, result: RefinedFolder, run: dict[str, Any]) -> None:
    source = transforms.path.parent
    with replace_folder(result.path, _is_from_run) as making:
        for name in files_to_copy(transforms):
            (making / name).parent.mkdir(parents=True, exist_ok=True)
            link((source / name).resolve(), making / name)
        write_transforms(making, transforms.frames, transforms.head)
        write_json(making / "report.json", _report(source, result, run))
        write_report_page(making)


def _report(folder: Path, result: RefinedFolder, run: dict[str, Any]) -> dict[str, Any]:
    before = folder / "report.json"
    report = read_json(before) if before.is_file() else {}
    report.pop("fingerprint", None)
    change = result.change
    return {
        **report,
        "median_error": None,  # the cameras do not come from landmarks any more
        "from_run": {
            **run,
            "refitted": result.refitted,
            "pose_change": {
                "mean": float(change.mean()),
                "median": float(np.median(change)),
                "largest": float(change.max()),
            },
            "reprojection_rmse": {"before": result.error_before, "after": result.error_after},
        },
    }
