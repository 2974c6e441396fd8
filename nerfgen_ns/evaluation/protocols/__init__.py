"""All protocols, in the order in which they are run and shown."""

from __future__ import annotations

from nerfgen_ns.evaluation.protocol import EvaluationProtocol
from nerfgen_ns.evaluation.protocols.features import Features
from nerfgen_ns.evaluation.protocols.geometry import DepthMaps, Geometry, KeypointDepth
from nerfgen_ns.evaluation.protocols.labels import Labels
from nerfgen_ns.evaluation.protocols.latent_space import LatentSpaceProtocol, Samples
from nerfgen_ns.evaluation.protocols.reconstruction import (
    HeldOutPhotographs,
    NovelViews,
    TrainingReconstruction,
)

PROTOCOLS: tuple[EvaluationProtocol, ...] = (
    NovelViews(),
    HeldOutPhotographs(),
    DepthMaps(),
    KeypointDepth(),
    Geometry(),
    Labels(),
    Features(),
    TrainingReconstruction(),
    Samples(),
    LatentSpaceProtocol(),
)
