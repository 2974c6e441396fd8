"""The protocol `geometry`: silhouettes, normals and cameras, where the truth is known."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from nerfgen_ns.evaluation.camera_figures import camera_figures, with_true_camera
from nerfgen_ns.evaluation.figures import finite_or_none, mean_figure
from nerfgen_ns.evaluation.geometry_metrics import (
    normal_error,
    normals_of_colours,
    normals_of_depth,
    silhouette_iou,
)
from nerfgen_ns.evaluation.protocol import Evaluation, Figure, Progress, ProtocolResult
from nerfgen_ns.evaluation.renders import Render
from nerfgen_ns.evaluation.subjects import KINDS
from nerfgen_ns.evaluation.test_folder import TestFolder


class Geometry:
    """How outline, surface and cameras agree with the truth.

    Source: ours. Intersection over union of accumulation and matte, each above ½; mean angle, inside the
    matte, between the rendered normals and those of the true depth map; and the errors of the cameras that
    the photographs are seen with (`transform_matrix`) against `true_transform_matrix`, after one similarity
    for all of them: see `nerfgen_ns.camera_alignment`.
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
    return normal_error(normals_of_colours(render.normals), true_normals, render.matte)
