"""The protocol `keypoint-depth`: the depth of each landmark, compared across images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from nerfgen_ns.cameras.projection import Cameras, project, z_depths
from nerfgen_ns.evaluation.protocol import Evaluation, Figure, Progress, ProtocolResult, finite_or_none
from nerfgen_ns.evaluation.renders import KINDS, FolderRenders, Render
from nerfgen_ns.metrics.depth import (
    KeypointScore,
    depths_at,
    keypoint_score,
    mean_shape_depths,
    relative_depths,
)
from nerfgen_ns.utils.files import read_json

FEWEST = 3
"""Images: any two points lie on a line."""
Depths = Float[np.ndarray, "images landmarks"]


class KeypointDepth:
    """Whether landmarks that lie deeper in one image than in another are rendered deeper, too.

    Source: Rebain et al., "LOLNeRF: Learn from One Look" (CVPR 2022), evaluation of depth on 3DFAW, after
    Moniz et al., "Unsupervised Depth Estimation, 3D Face Rotation and Replacement" (NeurIPS 2018): for each
    keypoint the correlation r, over the images, of rendered and true depth, and the sum of |r| over all.
    Beside it Σr, for a depth that is turned inside out has the same |r|; what chance gives; and what one mean
    shape gives under the true cameras, which knows nothing of whom an image shows. Depth is relative to the
    mean of the image's landmarks. Landmarks that are not visible are left out.
    """

    name: ClassVar[str] = "keypoint-depth"
    needs_test_folder: ClassVar[bool] = True

    def missing(self, setting: Evaluation) -> str | None:
        """It needs the landmarks of three views, in 3D."""
        assert setting.renders is not None
        views = setting.renders.views
        without = setting.renders.folder.missing("landmarks3d", [view.number for view in views])
        if without is not None:
            return without
        if max(len(setting.renders.of([kind])) for kind in KINDS) < FEWEST:
            return f"a correlation across images needs {FEWEST} views of one kind, and there are {len(views)}"
        return None

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Render, read depths at the landmarks, correlate."""
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
    """One shape for all: the class's canonical landmarks, or the mean of the training or test landmarks."""
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
    """The rendered depth where the render shows the object, and nothing elsewhere."""
    return np.where(render.accumulation.numpy() > 0.5, render.depth.numpy(), np.nan)
