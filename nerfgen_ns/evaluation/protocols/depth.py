"""The protocol `depth`: rendered depth maps against true ones, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerfgen_ns.evaluation.comparisons import depths_beside_each_other, ranked
from nerfgen_ns.evaluation.protocol import (
    Evaluation,
    Figure,
    Picture,
    Progress,
    ProtocolResult,
    finite_or_none,
    mean_figure,
)
from nerfgen_ns.evaluation.renders import KINDS, Render
from nerfgen_ns.metrics.depth import depth_correlation, depth_error, judged_pixels

FACTOR = 2.0
"""A true depth that is so many times larger or smaller than the rendered one is in another unit."""


class DepthMaps:
    """How well the surface that a render shows follows the true one, inside the matte.

    Source: Pearson's correlation of each image, as Rebain et al., "LOLNeRF: Learn from One Look" (CVPR 2022)
    judge depth, and the root mean square error after the best scale and shift, after Ranftl et al., "Toward
    robust monocular depth estimation" (TPAMI 2020), section 5. Neither depends on the unit of the true depth.
    """

    name: ClassVar[str] = "depth"
    needs_test_folder: ClassVar[bool] = True

    def missing(self, setting: Evaluation) -> str | None:
        """It needs a depth map of each view."""
        assert setting.renders is not None
        return setting.renders.folder.missing("depth", [view.number for view in setting.renders.views])

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Render, compare."""
        assert setting.renders is not None
        folder = setting.renders.folder
        # Read first: what is wrong with the files is said before time is spent on renders.
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
    """The photograph's matte; where it has none, everything that has a true depth."""
    return torch.isfinite(true_depth).float() if render.matte is None else render.matte


def unit_of(renders: Sequence[Render], true_depths: Sequence[Float[Tensor, "height width"]]) -> float:
    """How many of the class's units one unit of the true depths is: 1 if they differ by less than `FACTOR`.

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
