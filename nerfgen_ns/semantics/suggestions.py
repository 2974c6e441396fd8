"""Which photographs are most worth labeling."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerfgen_ns.errors import UsageError
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.runs.run import Run
from nerfgen_ns.utils.spacing import evenly_spaced

MOST_CANDIDATES = 512
"""Photographs that are looked at, at most, evenly spread."""
SIDE = 32
"""Pixels along the longer side of the renders whose labels are asked for their doubt."""
DIRECTIONS = 16
"""Strongest directions of the latent space that tell objects apart; the others are noise to a label."""


def suggest_photographs(
    run: Run,
    count: int,
    labeled: Collection[int] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[int]:
    """Choose photographs to label: far from those that are labeled, and where the head is least sure.

    Farthest-point selection (Gonzalez 1985), as in Sener and Savarese, "Active Learning for Convolutional
    Neural Networks: A Core-Set Approach" (ICLR 2018), in the whitened latent space. The distance of a
    candidate counts times the mean entropy of its labels, where the run tells labels. Where nothing is
    labeled, the first choice is the most usual object.

    Args:
        run: a trained run.
        count: how many.
        labeled: photographs that are labeled.
        progress: called with the number of photographs looked at and their total.

    Returns:
        Places in the run's data, the most useful first.

    Raises:
        UsageError: the count is below 1, or everything is labeled.
    """
    if count < 1:
        raise UsageError(f"--suggest {count}: take at least 1")
    others = np.setdiff1d(np.arange(len(run.record.images)), list(labeled))
    if len(others) == 0:
        raise UsageError(f"--suggest {count}: every photograph of the run is labeled; leave it out")
    candidates = others[evenly_spaced(len(others), MOST_CANDIDATES)]
    space = LatentSpace.of(run.codes)
    rows = torch.from_numpy(run.record.rows.astype(np.int64))
    places = space.amounts(run.codes.cpu().to(space.mean))[:, :DIRECTIONS].cpu()
    own = places[rows[candidates]]
    doubt = torch.ones(len(candidates))
    if run.model.label_head is not None:
        doubt = _mean_entropies(run, candidates.tolist(), progress)
    known = places[rows[sorted(labeled)]]
    distances = torch.cdist(own, known).amin(dim=1) if len(known) else own.norm(dim=1)
    chosen: list[int] = []
    for number in range(min(count, len(candidates))):
        scores = doubt * distances
        best = int((distances + 1e-6).argmin() if number == 0 and not len(known) else scores.argmax())
        chosen.append(best)
        apart = (own - own[best]).norm(dim=1)
        distances = apart if number == 0 and not len(known) else torch.minimum(distances, apart)
        distances[chosen] = -1.0
    return candidates[chosen].tolist()


def _mean_entropies(
    run: Run, photographs: list[int], progress: Callable[[int, int], None] | None
) -> Float[Tensor, " photographs"]:
    """Return how much the head doubts on each photograph, relative to the mean of all."""
    entropies = []
    for done, photograph in enumerate(photographs, start=1):
        camera = run.cameras[photograph : photograph + 1]
        camera.rescale_output_resolution(SIDE / float(max(camera.width.max(), camera.height.max())))
        code = run.code(int(run.record.rows[photograph]))
        shown = run.model.render_camera(camera, code, probabilities=True)["label_probabilities"]
        entropies.append(float(-(shown * shown.clamp(min=1e-6).log()).sum(dim=-1).mean()))
        if progress is not None:
            progress(done, len(photographs))
    values = torch.tensor(entropies)
    return values / values.mean().clamp(min=1e-9)
