"""Cameras of photographs, refined by a trained run: `nerfgen prepare --from-run`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from nerfgen_ns.cameras.projection import Cameras, project
from nerfgen_ns.cameras.se3 import move_cameras
from nerfgen_ns.datamanagers.dataset import open_dataset
from nerfgen_ns.datamanagers.pixel_store import PixelStore
from nerfgen_ns.errors import UsageError
from nerfgen_ns.inversion.config import FitConfig
from nerfgen_ns.inversion.inversion import latent_space_of, looked_at_factor
from nerfgen_ns.inversion.latent_fit import CameraSpread, Progress, Views, fit_codes
from nerfgen_ns.preprocessing.report.prepare_report import ClassShape, write_report_page
from nerfgen_ns.preprocessing.store import link
from nerfgen_ns.runs.run import Run
from nerfgen_ns.training.checkpoints import MOTIONS_IN_CHECKPOINT
from nerfgen_ns.utils.files import read_json, replace_folder, write_json, write_text
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

    A code that learned beside a wrong camera has made up for it, and networks that move learn to. Here the
    networks stand still, as many errors as they have seen cancel in them, and the Gaussian of the table
    holds the codes to objects that are usual: what is unusual about a photograph is then its camera.

    Args:
        run: a trained run; it stays as it is. Photographs set aside in training are found as well.
        config: see `fit_codes`; with `downscale_factor` the photographs are looked at as it says.
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
    motions = fit_codes(run.model, space, views, config, CameraSpread(), progress).motions
    names = [str(name) for name in dataset.image_filenames]
    return names, move_cameras(matrices, motions.to(matrices))


PATHS = ("file_path", "mask_path", "depth_path", "semantic_path")
"""Files of a frame that the new folder has too."""
WHOLE = ("canonical_landmarks.json",)
"""Files of the folder that the new one has too, beside those that transforms.json names."""


@dataclass(frozen=True)
class RefinedFolder:
    """What came of a run's cameras."""

    path: Path
    """The prepared folder."""
    refitted: bool
    """Whether the cameras were found anew; otherwise they are those that training learned."""
    change: Float[np.ndarray, "n"]
    """By how many degrees each camera was turned."""
    error_before: float | None
    """Median root mean square reprojection error in pixels; None where the folder has no landmarks."""
    error_after: float | None
    """The same with the new cameras."""


def prepare_from_run(load_config: Path, output_dir: Path, stages: Stages | None = None) -> RefinedFolder:
    """Write a prepared folder with the cameras that a run tells of its photographs.

    Those of a run that corrected its poses are the corrected ones. Of any other they are found anew, see
    `nerfgen_ns.inversion.refit`.

    Images and mattes are linked; transforms.json is that of the run's data with the new matrices and, per
    frame, `pose_change` in degrees. Where there are canonical landmarks the reprojection errors are computed
    anew. The folder appears whole or not at all; an earlier one from a run is replaced.

    Args:
        load_config: the run's config.yml.
        output_dir: the folder to make.
        stages: shows progress.

    Raises:
        UsageError: the run's data has changed since, its identities are all the same, or something else lies
            at `output_dir`.
        NerfgenError: the checkpoint is damaged, or the folder cannot be written.
    """
    from nerfgen_ns.dataset_format.transforms import read_frames, transforms_path
    from nerfgen_ns.runs.run import load_run, read_checkpoint

    run = load_run(load_config)
    checkpoint = read_checkpoint(run.config)
    source = transforms_path(run.photographs)
    _check_output(output_dir, source.parent)
    read_frames(source)
    transforms = read_json(source)
    copied = files_to_copy(source, transforms)
    motions = checkpoint["pipeline"].get(MOTIONS_IN_CHECKPOINT)
    if motions is None:
        names, cameras = _refitted_cameras(run, stages)
    else:
        names, cameras = _corrected_cameras(source, motions, load_config)
    frames = {str(source.parent / frame["file_path"]): frame for frame in transforms["frames"]}
    errors_before = [frame.get("reprojection_rmse") for frame in transforms["frames"]]
    change = {}
    for name, camera in zip(names, cameras, strict=True):
        frame = frames[name]
        before = Rotation.from_matrix(np.array(frame["transform_matrix"])[:3, :3])
        change[name] = float(np.degrees((before.inv() * Rotation.from_matrix(camera[:3, :3])).magnitude()))
        frame["transform_matrix"] = camera.round(9).tolist()
        frame["pose_change"] = round(change[name], 4)
    errors_after = _reproject(source.parent, transforms)
    result = RefinedFolder(
        path=output_dir,
        refitted=motions is None,
        change=np.array([change[name] for name in frames]),
        error_before=None if errors_after is None else float(np.median(np.array(errors_before, float))),
        error_after=None if errors_after is None else float(np.median(errors_after)),
    )
    told = {"config": str(load_config), "step": int(checkpoint["step"])}
    _write(source, transforms, copied, result, told)
    return result


def files_to_copy(source: Path, transforms: dict[str, Any]) -> list[str]:
    """The files that the new folder has too, each under the same name.

    Raises:
        UsageError: one of them leads out of the folder.
    """
    from nerfgen_ns.dataset_format.transforms import check_inside

    names = [
        check_inside(source, f"frame {place}: ", key, frame[key])
        for place, frame in enumerate(transforms["frames"])
        for key in PATHS
        if key in frame
    ]
    if "landmarks_path" in transforms:
        names.append(check_inside(source, "", "landmarks_path", transforms["landmarks_path"]))
    there = [name for name in (*WHOLE, *names) if (source.parent / name).is_file()]
    return list(dict.fromkeys([*names, *there]))


def _check_output(output_dir: Path, data: Path) -> None:
    output, source = output_dir.resolve(), data.resolve()
    if output == source or output in source.parents or source in output.parents:
        raise UsageError(f"{output_dir}: overlaps with the run's data in {data}; choose one beside it")


def _is_from_run(folder: Path) -> bool:
    report = folder / "report.json"
    return report.is_file() and "from_run" in read_json(report)


def _corrected_cameras(
    source: Path, motions: Any, load_config: Path
) -> tuple[list[str], Float[np.ndarray, "n 4 4"]]:
    """Image files in the order of the run's photographs, and their cameras."""
    from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
    from nerfgen_ns.model.camera_optimizer import PoseCorrection
    from nerfgen_ns.utils.console import quiet_console

    with quiet_console():
        outputs = NerfgenDataParserConfig(data=source).setup().get_dataparser_outputs("train")
    if len(outputs.image_filenames) != len(motions):
        raise UsageError(
            f"{source}: has {len(outputs.image_filenames)} frames and the run {load_config} knows "
            f"{len(motions)}; put the data back as it was in training"
        )
    correction = PoseCorrection(len(motions))
    correction.motions.weight.data.copy_(motions)
    cameras = correction.move_cameras(outputs.cameras.camera_to_worlds.double())
    return [str(name) for name in outputs.image_filenames], _as_4x4(cameras.numpy())


def _refitted_cameras(run: Run, stages: Stages | None) -> tuple[list[str], Float[np.ndarray, "n 4 4"]]:
    """The same for a run that kept its cameras as they were."""
    from nerfgen_ns.inversion.inversion import silent

    with (stages or silent)("finding cameras") as progress:
        names, cameras = refit_cameras(run, progress=progress)
    return names, _as_4x4(cameras.numpy())


def _as_4x4(matrices: Float[np.ndarray, "n 3 4"]) -> Float[np.ndarray, "n 4 4"]:
    return np.concatenate([matrices, np.tile([[[0.0, 0.0, 0.0, 1.0]]], (len(matrices), 1, 1))], axis=1)


def _reproject(folder: Path, transforms: dict[str, Any]) -> Float[np.ndarray, "n"] | None:
    """Put the reprojection errors of the frames' cameras into the frames; None without landmarks."""
    canonical = folder / "canonical_landmarks.json"
    if not canonical.is_file() or "landmarks_path" not in transforms:
        return None
    shape = ClassShape.of(read_json(canonical))
    landmarks = np.load(folder / transforms["landmarks_path"], mmap_mode="r")
    errors = np.empty(len(landmarks))
    for place, frame in enumerate(transforms["frames"]):
        coefficients = np.array(frame.get("coefficients") or np.zeros(len(shape.basis)))
        points = shape.mean + np.tensordot(coefficients, shape.basis, axes=1)
        rotation = np.array(frame["transform_matrix"])[:3, :3].T
        camera = Cameras(
            rotation[None],
            -(rotation @ np.array(frame["transform_matrix"])[:3, 3])[None],
            np.array([frame["fl_x"]]),
            np.array([[frame["cx"], frame["cy"]]]),
        )
        distances = np.square(project(camera, points)[0] - landmarks[place, :, :2]).sum(axis=-1)
        errors[place] = np.sqrt(np.nanmean(distances))
        frame["reprojection_rmse"] = round(float(errors[place]), 4)
    return errors


def _write(
    source: Path,
    transforms: dict[str, Any],
    copied: list[str],
    result: RefinedFolder,
    run: dict[str, Any],
) -> None:
    with replace_folder(result.path, _is_from_run) as making:
        for name in copied:
            (making / name).parent.mkdir(parents=True, exist_ok=True)
            link((source.parent / name).resolve(), making / name)
        lines = ",\n".join(json.dumps(frame, ensure_ascii=False) for frame in transforms.pop("frames"))
        head = json.dumps(transforms, ensure_ascii=False)[:-1]
        text = f'{head}{", " if transforms else ""}"frames": [\n{lines}\n]}}\n'
        write_text(making / "transforms.json", text)
        write_json(making / "report.json", _report(source.parent, result, run))
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
