"""The heads that ship, with labels whose truth is known: what is above a height is hair, the rest skin."""

from functools import cache

import numpy as np

import nerfgen_ns
from nerfgen_ns.class_model import ClassModel
from nerfgen_ns.dataset_format.label_maps import LabelMap, Legend
from nerfgen_ns.runs.pack import HEADS
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.config import LabelConfig
from nerfgen_ns.semantics.label_training import with_labels

HEIGHT = 0.1
"""Where hair begins, in the class frame."""
LEGEND = Legend.of_names(("background", "hair", "skin"))
FEW = LabelConfig(steps=80, rays=512, most_rays=10_000, hidden_dim=16)


def parts_of_photograph(run: Run, place: int) -> LabelMap:
    """The true label map of a photograph, as the run renders it."""
    camera = run.cameras[place : place + 1]
    outputs = run.render(run.code(int(run.record.rows[place])), camera)
    rays = camera.generate_rays(camera_indices=0, keep_shape=True)
    heights = (rays.origins + rays.directions * outputs["depth"].cpu())[..., 1].numpy()
    parts = np.where(heights > HEIGHT, 1, 2)
    return np.where(outputs["accumulation"][..., 0].cpu().numpy() < 0.5, 0, parts).astype(np.uint8)


@cache
def parted_heads() -> ClassModel:
    """The class, which tests must leave as it is."""
    run = nerfgen_ns.load(HEADS).run
    maps = {place: parts_of_photograph(run, place) for place in range(0, 24, 4)}
    return ClassModel(with_labels(run, maps, LEGEND, FEW))
