"""One training of an ablation and its figures, in a folder that its settings determine."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from nerfstudio.engine.trainer import TrainerConfig

from benchmarks.ablation.data import first_photographs
from benchmarks.ablation.variants import Variant
from benchmarks.camera_cost import OWN, WHOLE, new_view_figures, paired_cameras
from benchmarks.machine import RECORD, record_of_run
from nerfgen_ns.cameras.alignment import rotation_errors
from nerfgen_ns.configs import METHODS
from nerfgen_ns.dataset_format.transforms import transforms_path
from nerfgen_ns.errors import UsageError
from nerfgen_ns.evaluation.comparisons import Figures, mean_scores, model_renderer, read_views
from nerfgen_ns.model.config import NerfgenModelConfig
from nerfgen_ns.runs import launch
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.utils.files import hash_of, hash_of_value, read_json, write_json

NEVER = "1000000"


@dataclass(frozen=True)
class Training:
    """What all trainings of one call have in common."""

    data: Path
    """Folder whose first photographs are trained on."""
    method: str
    """Method of `ns-train`."""
    minutes: float
    """Minutes of each training."""
    downscale_factor: int
    """How many times smaller than the files the images are."""
    images: int
    """How many photographs, unless the variant says."""


@dataclass(frozen=True)
class Judging:
    """How all runs of one call are judged."""

    test: Path
    """Folder of new views, of identities that are among the fewest photographs."""
    identities: tuple[int, ...]
    """The identities whose photographs and new views are judged."""
    views: int
    """Largest number of new views, evenly spread."""


def trained(output_dir: Path, training: Training, variant: Variant, seed: int) -> Path:
    """Return the config.yml of a run; train it first unless it is there.

    Everything that decides the result also decides the run's folder: the data, the variant, the method with
    its defaults, minutes, seed. A training that was interrupted begins again.

    Raises:
        NerfgenError: the training failed.
    """
    settings = settings_of(training, variant, seed)
    digest = hash_of_value(settings)[:12]
    folder = output_dir / "runs" / digest
    load_config = folder / "ablate" / training.method / "run" / "config.yml"
    if (folder / "training.json").exists():
        return load_config
    begin = time.perf_counter()
    shutil.rmtree(folder, ignore_errors=True)
    images = variant.images or training.images
    data = first_photographs(training.data, images, folder / "data", variant.cameras)
    launched = launch.Training(
        data,
        folder,
        training.method,
        "ablate",
        minutes=training.minutes,
        downscale_factor=training.downscale_factor,
        options=(
            *("--machine.seed", str(seed)),
            *("--steps-per-eval-image", NEVER, "--steps-per-eval-batch", NEVER),
            *variant.options,
        ),
    )
    command = launched.command()
    launched.run()
    write_json(folder / "training.json", {"settings": settings, RECORD: record_of_run(begin, command)})
    return load_config


def judged(
    load_config: Path,
    training: Training,
    judging: Judging,
    progress: Callable[[int, int], None] | None = None,
) -> Figures:
    """Return the figures of a run; compute them unless they are there for the same judging. See `judge`."""
    path = load_config.parents[3] / "figures.json"
    asked = {**asdict(judging), "test": transforms_path(judging.test).resolve()}
    asked = json.loads(json.dumps(asked, default=str))
    if path.exists() and read_json(path)["judging"] == asked:
        return read_json(path)["figures"]
    figures = judge(load_run(load_config), training, judging, progress)
    write_json(path, {"judging": asked, "figures": figures})
    return figures


def judge(
    run: Run,
    training: Training,
    judging: Judging,
    progress: Callable[[int, int], None] | None = None,
) -> Figures:
    """Judge a run on the photographs that it was trained on, and on new views of the same identities.

    Returns:
        `steps`; the figures of `comparisons.score` with the prefixes `reconstruction_` and `new_views_`;
        where cameras are fitted also `rotation_error`, the median in degrees, and `one_alignment_` figures of
        new views: see `nerfgen_ns.cameras.alignment`.
    """
    factor = training.downscale_factor
    photographs = read_views(run.photographs, factor, judging.identities, trained_on=True)
    new_views = read_views(judging.test, factor, judging.identities, judging.views)
    figures: Figures = {"steps": run.step + 1}
    figures |= _prefixed("reconstruction", mean_scores(model_renderer(run), photographs))
    pairs = paired_cameras(run, run.photographs, run.photographs)
    if np.allclose(pairs.fitted, pairs.true):
        return figures | _prefixed("new_views", mean_scores(model_renderer(run), new_views, progress))
    figures["rotation_error"] = float(np.median(rotation_errors(pairs.fitted, pairs.true)))
    scores = new_view_figures(run, pairs, new_views, progress=progress)
    return figures | _prefixed("new_views", scores[OWN]) | _prefixed("one_alignment", scores[WHOLE])


def training_record(load_config: Path) -> dict[str, Any]:
    """Return what was run for a training, on which machine and for how long."""
    return read_json(load_config.parents[3] / "training.json")[RECORD]


def method_config(method: str) -> NerfgenModelConfig:
    """Return the defaults of a method's model.

    Raises:
        UsageError: there is no such method.
    """
    model = _method(method).pipeline.model
    assert isinstance(model, NerfgenModelConfig)
    return model


def _method(name: str) -> TrainerConfig:
    if name not in METHODS:
        raise UsageError(f"--method {name}: choose one of {', '.join(METHODS)}")
    return METHODS[name].config


def settings_of(training: Training, variant: Variant, seed: int) -> dict[str, Any]:
    """Return everything that decides the result of a training, in a form that JSON can hold."""
    config = _method(training.method)
    # Defaults that have changed since make another run.
    defaults = yaml.dump((config.pipeline, config.optimizers))
    return {
        "data": hash_of([transforms_path(training.data).read_bytes()]),
        "images": variant.images or training.images,
        "cameras": variant.cameras,
        "options": list(variant.options),
        "method": training.method,
        "defaults": hash_of([defaults]),
        "minutes": training.minutes,
        "downscale_factor": training.downscale_factor,
        "seed": seed,
    }


def _prefixed(prefix: str, figures: Figures) -> Figures:
    return {f"{prefix}_{name}": value for name, value in figures.items()}
