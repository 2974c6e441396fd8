"""All protocols, in the order in which they are run and shown."""

from __future__ import annotations

from nerfgen_ns.evaluation.protocol import EvaluationProtocol
from nerfgen_ns.evaluation.protocols.depth import DepthMaps
from nerfgen_ns.evaluation.protocols.geometry import Geometry
from nerfgen_ns.evaluation.protocols.keypoint_depth import KeypointDepth
from nerfgen_ns.evaluation.protocols.latent_space import LatentSpaceProtocol
from nerfgen_ns.evaluation.protocols.reconstruction import (
    HeldOutPhotographs,
    NovelViews,
    TrainingReconstruction,
)
from nerfgen_ns.evaluation.protocols.samples import Samples

PROTOCOLS: tuple[EvaluationProtocol, ...] = (
    NovelViews(),
    HeldOutPhotographs(),
    DepthMaps(),
    KeypointDepth(),
    Geometry(),
    TrainingReconstruction(),
    Samples(),
    LatentSpaceProtocol(),
)
