"""The tests' run with features, and extractors of a few lines that are offered as an installed package's."""

import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from nerfgen_ns.preprocessing.landmarks import models
from nerfgen_ns.semantics.config import DistillConfig
from nerfgen_ns.semantics.distillation import distill
from nerfgen_ns.semantics.extractors import FEATURE_EXTRACTORS

FEW = DistillConfig(steps=30, rays=512, most_rays=2000, hidden_dim=16, dims=4)
"""A head that is trained in a second."""


class Colors:
    """Colors of cells of 2 × 2 pixels, and where they are: features that are quick to compute."""

    calls = 0

    def __init__(self, file: Path | None = None) -> None:
        self.file = file

    def __call__(self, photograph: np.ndarray) -> np.ndarray:
        type(self).calls += 1
        height, width = photograph.shape[:2]
        cells = photograph[: height // 2 * 2, : width // 2 * 2].astype(np.float32) / 255
        cells = cells.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
        row, column = np.mgrid[: height // 2, : width // 2] / (height / 2)
        return np.concatenate([cells, row[..., None], column[..., None]], axis=-1)


def offer(patch: pytest.MonkeyPatch, **extractors: object) -> None:
    """Offer objects as feature extractors of a package `offered`, beside those that are installed."""
    module = types.ModuleType("offered")
    patch.setitem(sys.modules, "offered", module)
    entries = []
    for name, extractor in extractors.items():
        setattr(module, name, extractor)
        entries.append(EntryPoint(name, f"offered:{name}", FEATURE_EXTRACTORS))
    installed = models.entry_points

    def of_group(group: str) -> list[EntryPoint]:
        return [*installed(group=group), *(entries if group == FEATURE_EXTRACTORS else [])]

    patch.setattr(models, "entry_points", of_group)


def distill_run(config: Path, folder: Path) -> Path:
    """Teach a run the features of `Colors`, in a folder; the config.yml of the run with features."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        offer(patch, colors=Colors)
        return distill(config, "colors", folder / "distilled", FEW).config
