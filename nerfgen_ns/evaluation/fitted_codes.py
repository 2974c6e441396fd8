"""The codes of a test folder's new objects, found by `nerfgen_ns.fitting`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nerfgen_ns.capture.prepared_folder import Rejection
from nerfgen_ns.evaluation.protocol import Progress
from nerfgen_ns.evaluation.subjects import View, queries_of
from nerfgen_ns.evaluation.test_folder import TestFolder, open_test_folder
from nerfgen_ns.files import read_json, write_json
from nerfgen_ns.fitting.config import FitConfig
from nerfgen_ns.fitting.find import Stages, find, silent
from nerfgen_ns.fitting.gather import canonical_landmarks_of
from nerfgen_ns.fitting.photograph import write_folder
from nerfgen_ns.run import Run


@dataclass(frozen=True)
class FittedView:
    """What a fit found for one photograph that is judged."""

    code: Float[Tensor, "1 latent"]
    """The code of its object."""
    camera_to_world: Float[Tensor, "3 4"] | None
    """Its camera as the fit corrected it; None: as the folder says."""


def fit_views(
    run: Run, folder: TestFolder, views: Sequence[View], config: FitConfig, progress: Progress
) -> dict[int, FittedView]:
    """The codes of views, by the number of their photographs.

    The objects of new identities are fitted to all their photographs with the role `query` jointly, new
    photographs each by itself; all of them in one fit.

    Raises:
        UsageError: the latent table has no spread, or a file is missing.
    """
    identities: list[int | str] = list(
        dict.fromkeys(
            view.identity for view in views if view.kind == "new identities" and view.identity is not None
        )
    )
    alone = [view.number for view in views if view.kind == "new photographs"]
    asked = [
        (number, place)
        for place, identity in enumerate(identities)
        for number in queries_of(folder, identity)
    ]
    asked += [(number, len(identities) + place) for place, number in enumerate(alone)]
    with tempfile.TemporaryDirectory(prefix="nerfgen-evaluate-") as temporary:
        transforms = Path(temporary) / "asked" / "transforms.json"
        write_json(transforms, _subset(folder, asked))
        looked_at = replace(config, downscale_factor=folder.downscale_factor)
        found = find(run, [transforms], looked_at, Path(temporary) / "work", _stages(progress))
    codes = found.codes.detach()
    camera_of = {
        photograph.identity: torch.tensor(photograph.camera["transform_matrix"])[:3]
        for photograph in found.photographs
    }
    fitted = {}
    for view in views:
        if view.kind == "new identities":
            place = identities.index(folder.frames[view.number]["identity"])
            fitted[view.number] = FittedView(codes[place : place + 1], None)
    for place, number in enumerate(alone, start=len(identities)):
        moved = camera_of[place] if config.refine_cameras else None
        fitted[number] = FittedView(codes[place : place + 1], moved)
    return fitted


def capture_photographs(
    run: Run,
    photographs: Path,
    name: str,
    downscale_factor: int,
    config: FitConfig,
    work: Path,
    stages: Stages = silent,
) -> tuple[TestFolder, list[Rejection]]:
    """A folder of raw photographs with cameras and codes, and the photographs that cannot be used.

    Args:
        work: an empty folder, which has to last as long as the test folder.

    Raises:
        NerfgenError: none of them can be used.
    """
    looked_at = replace(config, downscale_factor=downscale_factor)
    found = find(run, [photographs], looked_at, work, stages)
    write_folder(found.photographs, work / "photographs-with-cameras", canonical_landmarks_of(run))
    codes = found.codes.detach()[[photograph.identity for photograph in found.photographs]]
    return open_test_folder(work / "photographs-with-cameras", name, downscale_factor, codes), found.rejected


def _subset(folder: TestFolder, asked: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """A transforms.json of some photographs where they lie, each with the number of its object."""
    shared = {key: value for key, value in read_json(folder.transforms).items() if key != "frames"}
    root = folder.transforms.parent.resolve()
    frames: list[dict[str, Any]] = []
    for number, place in asked:
        frame = {key: value for key, value in folder.frames[number].items() if key != "role"}
        paths: dict[str, Any] = {
            key: str(root / frame[key]) for key in ("file_path", "mask_path") if key in frame
        }
        frames.append({**frame, **paths, "identity": place})
    return {**shared, "frames": frames}


def _stages(progress: Progress) -> Stages:
    @contextmanager
    def stage(name: str) -> Iterator[Progress]:
        yield progress

    return stage
