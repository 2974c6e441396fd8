"""The protocol `geometry`: silhouettes, normals and cameras, where the truth is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from nerfgen_ns.cameras.projection import homogeneous
from nerfgen_ns.evaluation.folders import TestFolder, TrainingFolder
from nerfgen_ns.evaluation.protocol import (
    Evaluation,
    Figure,
    Progress,
    ProtocolResult,
    finite_or_none,
    mean_figure,
)
from nerfgen_ns.evaluation.renders import KINDS, Render
from nerfgen_ns.metrics.geometry import (
    camera_error,
    normal_error,
    normals_of_colors,
    normals_of_depth,
    silhouette_iou,
)
from nerfgen_ns.runs.run import Run


class Geometry:
    """How outline, surface and cameras agree with the truth.

    Source: ours. Intersection over union of accumulation and matte, each above ½; mean angle, inside the
    matte, between the rendered normals and those of the true depth map; and the errors of the cameras that
    the photographs are seen with (`transform_matrix`) against `true_transform_matrix`, after one similarity
    for all of them: see `nerfgen_ns.cameras.alignment`.
    """

    name: ClassVar[str] = "geometry"
    needs_test_folder: ClassVar[bool] = True

    def missing(self, setting: Evaluation) -> str | None:
        """It needs mattes or true cameras."""
        assert setting.renders is not None
        folder, views = setting.renders.folder, setting.renders.views
        if (views and folder.matte(views[0].number) is not None) or with_true_camera(folder):
            return None
        return f'its frames have neither "mask_path" nor "true_transform_matrix": {folder.where}'

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Render, compare."""
        assert setting.renders is not None
        folder = setting.renders.folder
        renders = setting.renders.render(setting.renders.views, progress)
        has_depth = folder.missing("depth", [render.view.number for render in renders]) is None
        figures: list[Figure] = []
        records: list[dict[str, Any]] = []
        for kind in KINDS:
            own = [render for render in renders if render.view.kind == kind and render.matte is not None]
            if not own:
                continue
            overlaps = [
                silhouette_iou(render.accumulation, render.matte)
                for render in own
                if render.matte is not None
            ]
            angles = [_normal_error(folder, render) if has_depth else math.nan for render in own]
            figures += [
                mean_figure(f"silhouette IoU, {kind}", overlaps, "", "higher"),
                mean_figure(
                    f"normal error, {kind}",
                    angles,
                    "°",
                    "lower",
                    reason='true normals need a depth map of each frame, "depth_path"',
                ),
            ]
            records += [
                {
                    "file": render.file,
                    "identity": render.view.identity,
                    "silhouette_iou": finite_or_none(overlap),
                    "normal_error": finite_or_none(angle),
                }
                for render, overlap, angle in zip(own, overlaps, angles, strict=True)
            ]
        return ProtocolResult(
            protocol=self.name,
            source="silhouettes, normals and cameras against the truth",
            settings={"views": len(renders), "downscale_factor": setting.downscale_factor},
            figures=figures + camera_figures(setting.run, setting.renders.training, folder),
            views=records,
        )


def _normal_error(folder: TestFolder, render: Render) -> float:
    assert render.matte is not None
    true_normals = normals_of_depth(folder.depth(render.view.number), render.camera)
    return normal_error(normals_of_colors(render.normals), true_normals, render.matte)


NAMES = {
    "rotation error, degrees, median": ("camera rotation error, median", "°"),
    "rotation error, degrees, 90th percentile": ("camera rotation error, 90th percentile", "°"),
    "camera center error, units of the truth, median": ("camera center error, median", "units of the truth"),
}
"""Of what `camera_error` tells: the name and the unit in a table."""
SAME = 1e-6


def with_true_camera(folder: TestFolder) -> list[int]:
    """The photographs whose true camera is known."""
    return [number for number in folder.chosen if folder.frames[number].true_transform_matrix is not None]


def camera_figures(run: Run, training: TrainingFolder, folder: TestFolder) -> list[Figure]:
    """The errors of cameras after one similarity for all; nothing where no true camera is known.

    A photograph that trained is judged by the camera that the run knows, corrected where training did so; any
    other by the `transform_matrix` of the folder. A cropped photograph that trained is known by its `source`.
    """
    own = _training_cameras(run, training)
    fitted: dict[str, list[Float[np.ndarray, "4 4"]]] = {}
    true: dict[str, list[Float[np.ndarray, "4 4"]]] = {}
    for number in with_true_camera(folder):
        frame = folder.frames[number]
        file = folder.dataset.image_filenames[number]
        camera = own.get(str(file.resolve()), own.get(file.name))
        whose = "the test folder's cameras" if camera is None else "the run's cameras"
        fitted.setdefault(whose, []).append(frame.photograph_camera()[0] if camera is None else camera)
        true.setdefault(whose, []).append(frame.true_camera)
    figures = []
    for whose in fitted:
        cameras, truth = np.stack(fitted[whose]), np.stack(true[whose])
        if np.abs(cameras - truth).max() < SAME:
            note = "they are the true ones"
            figures.append(Figure(f"camera rotation error, {whose}", 0.0, "°", "lower", len(cameras), note))
            continue
        errors = camera_error(cameras, truth)
        for key, (name, unit) in NAMES.items():
            value = finite_or_none(errors[key])
            note = "it needs three cameras" if value is None else "after one similarity for all"
            figures.append(Figure(f"{name}, {whose}", value, unit, "lower", len(cameras), note))
    return figures


def _training_cameras(run: Run, training: TrainingFolder) -> dict[str, Float[np.ndarray, "4 4"]]:
    """The cameras of the photographs that trained, by their file and by that which they were cropped from."""
    folder = training.trained
    matrices = folder.dataset.cameras.camera_to_worlds
    if run.model.camera_optimizer is not None:
        matrices = run.model.camera_optimizer.move_cameras(matrices)
    cameras = {}
    for number in folder.chosen:
        frame = folder.frames[number]
        matrix = homogeneous(matrices[number].double().numpy())
        camera, _ = replace(frame, transform_matrix=matrix).photograph_camera()
        for file in (str(folder.dataset.image_filenames[number].resolve()), frame.source):
            if file is not None:
                cameras[file if "/" in file else Path(file).name] = camera
    return cameras
