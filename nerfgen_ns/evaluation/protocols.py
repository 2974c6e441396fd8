"""All protocols, in the order in which they are run and shown."""

from __future__ import annotations

from nerfgen_ns.evaluation.depth import DepthMaps
from nerfgen_ns.evaluation.geometry import Geometry
from nerfgen_ns.evaluation.held_out import HeldOutPhotographs
from nerfgen_ns.evaluation.keypoint_depth import KeypointDepth
from nerfgen_ns.evaluation.latent_space import LatentSpaceProtocol
from nerfgen_ns.evaluation.novel_views import NovelViews
from nerfgen_ns.evaluation.protocol import EvaluationProtocol
from nerfgen_ns.evaluation.samples import Samples
from nerfgen_ns.evaluation.training_reconstruction import TrainingReconstruction

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
