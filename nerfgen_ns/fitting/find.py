"""The codes and cameras of photographs, and networks tuned to them where that is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nerfgen_ns.allocator import keep_freed_memory
from nerfgen_ns.capture.prepared_folder import Rejection
from nerfgen_ns.datamanagers.pixel_store import PixelStore
from nerfgen_ns.errors import UsageError
from nerfgen_ns.evaluation.photographs import open_dataset
from nerfgen_ns.fitting.camera_corrections import CameraSpread
from nerfgen_ns.fitting.camera_search import search_cameras
from nerfgen_ns.fitting.code_fit import Progress, codes_at, fit_codes
from nerfgen_ns.fitting.config import FitConfig
from nerfgen_ns.fitting.gather import gather
from nerfgen_ns.fitting.photograph import Photograph, write_folder
from nerfgen_ns.fitting.sampling import Views
from nerfgen_ns.fitting.tuning import tune
from nerfgen_ns.latent_space import LatentSpace
from nerfgen_ns.rigid_motions import move_cameras
from nerfgen_ns.run import Run

Stages = Callable[[str], AbstractContextManager[Progress]]
"""From the name of a stage, a context in which the stage tells how far it is."""


@contextmanager
def silent(stage: str) -> Iterator[Progress]:
    """Show no progress."""
    yield lambda done, total: None


@dataclass(frozen=True)
class Found:
    """What a fit found, before anything is written."""

    photographs: list[Photograph]
    """The photographs, by their identities, with their final cameras."""
    rejected: list[Rejection]
    """The photographs that could not be used."""
    codes: Float[Tensor, "objects latent"]
    """A code for each identity."""
    distances: Float[Tensor, "objects"]
    """How unusual each is: its Mahalanobis distance to the table's mean."""
    state: dict[str, Tensor] | None
    """Tuned tensors of the model, where networks were tuned."""
    seconds: float
    """What it took, from the pixels on: capture does not count."""
    left_out: list[Rejection] = field(default_factory=list)
    """What is beside the photographs in their folders."""


def find(run: Run, images: Sequence[Path], config: FitConfig, work: Path, stages: Stages = silent) -> Found:
    """Find the codes of photographs in the latent space of a run, all photographs together.

    Args:
        run: a trained run; it stays as it is.
        images: photographs, folders of them, or one folder with cameras; see `gather`.
        config: how.
        work: an empty folder for what is made of the photographs.
        stages: shows progress.

    Raises:
        UsageError: an option or a path makes no sense, or the latent table has no spread.
        NerfgenError: no photograph can be used.
    """
    config.check()
    space = latent_space_of(run)
    gathered = gather(images, run, config, work)
    photographs = sorted(gathered.photographs, key=lambda photograph: photograph.identity)
    if run.model.device.type == "cpu":
        keep_freed_memory()
    begin = time.perf_counter()
    views = _views(run, photographs, config, work / "looked-at")
    matrices = views.cameras.camera_to_worlds.clone()
    searched = torch.tensor([photograph.searched for photograph in photographs])
    if searched.any():
        with stages("searching cameras") as progress:
            lost = views.select(searched.nonzero()[:, 0])
            matrices[searched] = search_cameras(run.model, space, lost, run.cameras, config, progress)
        views.cameras.camera_to_worlds = matrices
    with stages("fitting codes") as progress:
        spread = CameraSpread() if config.refine_cameras else None
        fitted = fit_codes(run.model, space, views, config, spread, progress)
    codes = codes_at(space, fitted.amounts)
    matrices = move_cameras(matrices, fitted.motions.to(matrices))
    views.cameras.camera_to_worlds = matrices
    state = None
    if config.tune_steps:
        with stages("tuning networks") as progress:
            state = tune(run.model, views, codes, config, progress)
    seconds = time.perf_counter() - begin
    placed = [
        replace(photograph, camera={**photograph.camera, "transform_matrix": _as_4x4(matrix)})
        for photograph, matrix in zip(photographs, matrices, strict=True)
    ]
    return Found(
        placed, gathered.rejected, codes, fitted.amounts.norm(dim=1), state, seconds, gathered.left_out
    )


def _views(run: Run, photographs: Sequence[Photograph], config: FitConfig, folder: Path) -> Views:
    """The photographs' pixels and cameras, as small as the class was trained on."""
    write_folder(photographs, folder, canonical_landmarks=None)
    dataset = open_dataset(folder, looked_at_factor(run, config))
    every = torch.arange(len(dataset))
    identities = torch.tensor([photograph.identity for photograph in photographs])
    return Views(PixelStore(dataset, every.numpy()), every, dataset.cameras, identities)


def latent_space_of(run: Run) -> LatentSpace:
    """The space in which codes are sought.

    Raises:
        UsageError: the latent table has no spread.
    """
    space = LatentSpace.of(run.codes)
    if len(space.deviations) == 0:
        raise UsageError("the run's identities are all the same: train it on more photographs, or longer")
    return space


def looked_at_factor(run: Run, config: FitConfig) -> int:
    """How many times smaller than stored the photographs are looked at."""
    dataparser: Any = run.config.pipeline.datamanager.dataparser  # type: ignore[attr-defined]
    return config.downscale_factor or int(dataparser.downscale_factor or 1)


def _as_4x4(matrix: Float[Tensor, "3 4"]) -> list[list[float]]:
    return [*matrix.double().numpy().round(9).tolist(), [0.0, 0.0, 0.0, 1.0]]
