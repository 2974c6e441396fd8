"""The protocols of shapes whose truth is known: `depth`, `keypoint-depth`, `geometry`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerfgen_ns.cameras.projection import Cameras, homogeneous, project, z_depths
from nerfgen_ns.evaluation.comparisons import depths_beside_each_other, ranked
from nerfgen_ns.evaluation.folders import TestFolder, TrainingFolder
from nerfgen_ns.evaluation.protocol import (
    Evaluation,
    Figure,
    Picture,
    Progress,
    ProtocolResult,
    finite_or_none,
    mean_figure,
)
from nerfgen_ns.evaluation.renders import KINDS, FolderRenders, Render
from nerfgen_ns.metrics.geometry import (
    KeypointScore,
    camera_error,
    depth_correlation,
    depth_error,
    depths_at,
    judged_pixels,
    keypoint_score,
    mean_shape_depths,
    normal_error,
    normals_of_colors,
    normals_of_depth,
    relative_depths,
    silhouette_iou,
)
from nerfgen_ns.runs.run import Run
from nerfgen_ns.utils.files import read_json

FACTOR = 2.0
"""A true depth that differs from the rendered one by this factor or more is in another unit."""


class DepthMaps:
    """How well the surface that a render shows follows the true one, inside the matte.

    Source: Pearson's correlation of each image, as Rebain et al., "LOLNeRF: Learn from One Look" (CVPR 2022)
    judge depth, and the root mean square error after the best scale and shift, after Ranftl et al., "Toward
    robust monocular depth estimation" (TPAMI 2020), section 5. Neither depends on the unit of the true depth.
    """

    name: ClassVar[str] = "depth"
    needs_test_folder: ClassVar[bool] = True

    def missing(self, setting: Evaluation) -> str | None:
        """Return None if each view has a depth map; otherwise say how many have none."""
        assert setting.renders is not None
        return setting.renders.folder.missing("depth", [view.number for view in setting.renders.views])

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Render the views and compare their depth with the true one."""
        assert setting.renders is not None
        folder = setting.renders.folder
        # Read first, so that errors in the files are reported before time is spent on renders.
        true_depths = {view: folder.depth(view.number) for view in setting.renders.views}
        renders = setting.renders.render(setting.renders.views, progress)
        unit = unit_of(renders, [true_depths[render.view] for render in renders])
        note = "" if unit == 1.0 else f"the stored depth is {unit:.4g} times the class's unit: divided by it"
        figures: list[Figure] = []
        records: list[dict[str, Any]] = []
        pictures: list[Picture] = []
        for kind in KINDS:
            own = [render for render in renders if render.view.kind == kind]
            if not own:
                continue
            true = [true_depths[render.view] / unit for render in own]
            mattes = [judged_matte(render, depth) for render, depth in zip(own, true, strict=True)]
            compared = list(zip([render.depth for render in own], true, mattes, strict=True))
            correlations = [depth_correlation(*depths) for depths in compared]
            errors = [depth_error(*depths) for depths in compared]
            figures += [
                mean_figure(f"depth correlation, {kind}", correlations, "", "higher", note),
                mean_figure(
                    f"depth error after scale and shift, {kind}", errors, "class units", "lower", note
                ),
            ]
            records += [
                {
                    "file": render.file,
                    "identity": render.view.identity,
                    "depth_correlation": finite_or_none(correlation),
                    "depth_error": finite_or_none(error),
                }
                for render, correlation, error in zip(own, correlations, errors, strict=True)
            ]
            for place, caption in ranked(own, correlations, "depth correlation", ""):
                pictures.append(Picture(caption, depths_beside_each_other(own[place], true[place])))
        return ProtocolResult(
            protocol=self.name,
            source="correlation: LOLNeRF (CVPR 2022); error: Ranftl et al. (TPAMI 2020), section 5",
            settings={
                "views": len(renders),
                "inside": "the mattes" if renders[0].matte is not None else "wherever there is a true depth",
                "unit of the stored depth": unit,
                "downscale_factor": setting.downscale_factor,
            },
            figures=figures,
            views=records,
            pictures=pictures,
        )


def judged_matte(render: Render, true_depth: Float[Tensor, "height width"]) -> Float[Tensor, "height width"]:
    """Return the photograph's matte; where it has none, all pixels that have a true depth."""
    return torch.isfinite(true_depth).float() if render.matte is None else render.matte


def unit_of(renders: Sequence[Render], true_depths: Sequence[Float[Tensor, "height width"]]) -> float:
    """Return how many true depth units one unit of the class is: 1 if they differ by less than `FACTOR`.

    The ratio of the medians, over the images, of their median depths.
    """
    medians = []
    for render, true in zip(renders, true_depths, strict=True):
        judged = judged_pixels(true, judged_matte(render, true))
        if bool(judged.any()):
            medians.append([float(true[judged].median()), float(render.depth[judged].median())])
    if not medians:
        return 1.0
    true_median, rendered_median = np.median(medians, axis=0)
    ratio = float(true_median / rendered_median) if rendered_median > 0 else 1.0
    return 1.0 if 1.0 / FACTOR < ratio < FACTOR else ratio


FEWEST = 3
"""Fewest images: any two points are on a line."""
Depths = Float[np.ndarray, "images landmarks"]


class KeypointDepth:
    """Whether landmarks that are deeper in one image than in another are rendered deeper, too.

    Source: Rebain et al., "LOLNeRF: Learn from One Look" (CVPR 2022), evaluation of depth on 3DFAW, after
    Moniz et al., "Unsupervised Depth Estimation, 3D Face Rotation and Replacement" (NeurIPS 2018): for each
    keypoint the correlation r, over the images, of rendered and true depth, and the sum of |r| over all.
    It also gives Σr, because a depth that is turned inside out has the same |r|. Both are compared with
    chance, and with one mean shape for all images under the true cameras. Depth is relative to the mean of
    the image's landmarks. Landmarks that are not visible are left out.
    """

    name: ClassVar[str] = "keypoint-depth"
    needs_test_folder: ClassVar[bool] = True

    def missing(self, setting: Evaluation) -> str | None:
        """Return None if the views have 3D landmarks and one kind has three; otherwise what is missing."""
        assert setting.renders is not None
        views = setting.renders.views
        without = setting.renders.folder.missing("landmarks3d", [view.number for view in views])
        if without is not None:
            return without
        if max(len(setting.renders.of([kind])) for kind in KINDS) < FEWEST:
            return f"a correlation across images needs {FEWEST} views of one kind, and there are {len(views)}"
        return None

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Render the views, read depths at the landmarks, and correlate them with the true ones."""
        assert setting.renders is not None
        folder = setting.renders.folder
        landmarks = {view: folder.landmarks3d(view.number) for view in setting.renders.views}
        renders = setting.renders.render(setting.renders.views, progress)
        figures: list[Figure] = []
        records: list[dict[str, Any]] = []
        settings: dict[str, Any] = {"downscale_factor": setting.downscale_factor, "views": len(renders)}
        for kind in KINDS:
            own = [render for render in renders if render.view.kind == kind]
            if len(own) < FEWEST:
                continue
            points = np.stack([landmarks[render.view] for render in own])
            cameras = Cameras.from_nerfstudio(render.camera for render in own)
            true = z_depths(cameras, points)
            rendered = np.stack(
                [
                    depths_at(_surface(render), pixels)
                    for render, pixels in zip(own, project(cameras, points), strict=True)
                ]
            )
            score = keypoint_score(*relative_depths(rendered, true), seed=setting.seed)
            shape, where = _mean_shape(setting.renders, own)
            mean_shape = mean_shape_depths(shape, cameras.camera_to_world())
            baseline = keypoint_score(*relative_depths(mean_shape, true), seed=setting.seed)
            figures += _figures(score, baseline, where, kind)
            records += [
                {
                    "landmark": place,
                    "kind": kind,
                    "r": finite_or_none(r),
                    "r of the mean shape": finite_or_none(b),
                }
                for place, (r, b) in enumerate(zip(score.correlations, baseline.correlations, strict=True))
            ]
        return ProtocolResult(
            protocol=self.name,
            source="LOLNeRF (CVPR 2022), depth on 3DFAW",
            settings=settings,
            figures=figures,
            views=records,
        )


def _figures(score: KeypointScore, baseline: KeypointScore, where: str, kind: str) -> list[Figure]:
    of = f"of {score.landmarks} keypoints over {score.images} images"
    chance = f"chance {score.absolute_chance:.3g}, below {score.absolute_chance_95:.3g} in 95 %"
    values = (
        ("Σ|r|", score.absolute_sum, f"{of}; {chance}"),
        ("Σr", score.signed_sum, f"{of}; chance 0"),
        ("Σ|r| of the mean shape", baseline.absolute_sum, f"baseline: {where}"),
        ("Σr of the mean shape", baseline.signed_sum, f"baseline: {where}"),
    )
    return [
        Figure(f"{name}, {kind}", finite_or_none(value), "", "higher", score.images, note)
        for name, value, note in values
    ]


def _mean_shape(
    folder_renders: FolderRenders, own: Sequence[Render]
) -> tuple[Float[np.ndarray, "landmarks 3"], str]:
    """Return one shape for all images, and a note that says where it comes from.

    It is the class's canonical landmarks, or the mean of the training or test landmarks.
    """
    frames = [folder_renders.folder.frames[render.view.number] for render in own]
    test = np.array([frame.landmarks3d for frame in frames])
    trained = folder_renders.training.trained
    path = trained.transforms.parent / "canonical_landmarks.json"
    if path.is_file():
        canonical = np.array(read_json(path)["landmarks"], dtype=np.float64)
        if canonical.shape == test.shape[1:]:
            return canonical, "the canonical landmarks of the training data"
    if trained.missing("landmarks3d", trained.chosen) is None:
        known = [np.array(trained.frames[number].landmarks3d) for number in trained.chosen]
        if all(landmarks.shape == test.shape[1:] for landmarks in known):
            return np.mean(known, axis=0), "the mean landmarks of the training data"
    return test.mean(axis=0), "the mean of the test folder's own landmarks"


def _surface(render: Render) -> Float[np.ndarray, "height width"]:
    """Return the rendered depth where the render shows the object, and NaN elsewhere."""
    return np.where(render.accumulation.numpy() > 0.5, render.depth.numpy(), np.nan)


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
        """Return None if there are mattes or true cameras; otherwise say that both are missing."""
        assert setting.renders is not None
        folder, views = setting.renders.folder, setting.renders.views
        if (views and folder.matte(views[0].number) is not None) or with_true_camera(folder):
            return None
        return f'its frames have neither "mask_path" nor "true_transform_matrix": {folder.where}'

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Render the views and compare outline, surface and cameras with the truth."""
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
"""The name and the unit in a table of each error that `camera_error` returns."""
SAME = 1e-6


def with_true_camera(folder: TestFolder) -> list[int]:
    """Return the photographs whose true camera is known."""
    return [number for number in folder.chosen if folder.frames[number].true_transform_matrix is not None]


def camera_figures(run: Run, training: TrainingFolder, folder: TestFolder) -> list[Figure]:
    """Compute the errors of cameras after one similarity for all; empty where no true camera is known.

    A training photograph is judged by the camera of the run, corrected where training did so. Any other is
    judged by the `transform_matrix` of the folder. A cropped training photograph is found by its `source`.
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
    """Return the cameras of the training photographs, by their file and by the file before cropping."""
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
