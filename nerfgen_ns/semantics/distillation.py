"""`nerfgen distill`: what a 2D extractor sees in photographs becomes features of a whole class, in 3D."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.fields.heads import FeatureHead, FeatureHeadConfig
from nerfgen_ns.inversion.inversion import Stages, silent
from nerfgen_ns.preprocessing.landmarks.models import load_model
from nerfgen_ns.rendering.volume_rendering import VISIBLE, SeenSamples
from nerfgen_ns.runs.derived_runs import derived_run_folder
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.config import DistillConfig
from nerfgen_ns.semantics.extractors import FEATURE_EXTRACTORS, FeatureExtractor, open_extractor
from nerfgen_ns.semantics.head_training import (
    Progress,
    batch_of_samples,
    fit_head,
    made_head,
    reordered,
    samples_of_pixels,
    with_head,
)
from nerfgen_ns.training.checkpoints import CONFIG
from nerfgen_ns.utils.files import (
    digest_of,
    hash_of_value,
    read_json,
    replace_file,
    writable_cache_folder,
    write_json,
)
from nerfgen_ns.utils.images import from_bytes
from nerfgen_ns.utils.spacing import evenly_spaced

REPORT = "distill.json"
BASIS_PHOTOGRAPHS = 32
"""Photographs whose features make the PCA basis, at most."""
MOST_CACHED = 8
"""Files of features that the cache keeps, the newest."""


@dataclass(frozen=True)
class DistillReport:
    """What `nerfgen distill` did; `distill.json` holds the same."""

    config: Path
    """The config.yml of the run with features."""
    features: str
    """The extractor."""
    features_file: str | None
    """Its model file."""
    channels: int
    """Numbers that it gives at a place."""
    dims: int
    """How many are left."""
    photographs: int
    """Photographs that the head learned from."""
    explained: float
    """The share of the variance of the extractor's features that is left, in [0, 1]."""
    agreement: float
    """The mean cosine between the head's features and the extractor's, in the pixels that it learned from."""
    seconds: float
    """How long the training of the head took, without the extractor."""


class PictureFeatures(NamedTuple):
    """The features of photographs, reduced by PCA."""

    mean: Float[Tensor, " channels"]
    directions: Float[Tensor, "channels dims"]
    explained: float
    """The share of the variance that the directions hold."""
    grids: dict[int, Float[Tensor, "rows columns dims"]]
    """By the photograph's place in the run's data; in half precision."""


def distill(
    load_config: Path,
    features: str,
    output_dir: Path,
    config: DistillConfig | None = None,
    features_file: Path | None = None,
    stages: Stages = silent,
) -> DistillReport:
    """Teach a trained run features of a 2D extractor; write it as another run folder, or nothing at all.

    Args:
        load_config: the config.yml of a run.
        features: the name of the extractor; see `open_extractor`.
        output_dir: the run folder to make: new, empty, or one of an earlier call, which is then replaced.
        config: the options.
        features_file: the extractor's model file.
        stages: shows progress.

    Raises:
        UsageError: there is no such run or extractor, its photographs are gone, an option makes no sense, or
            the folder holds something else.
        NerfgenError: the extractor fails, or the folder cannot be written.
    """
    run = load_run(load_config)
    distilled, report = with_features(run, features, config, features_file, stages)
    report = {**report, "config": output_dir / CONFIG}
    with derived_run_folder(
        output_dir, is_distilled_run, load_config, distilled, ("feature_head",)
    ) as making:
        write_json(making / REPORT, {**report, "config": str(report["config"])})
    return DistillReport(**report)


def is_distilled_run(folder: Path) -> bool:
    """Return whether `distill` made a folder."""
    return all((folder / name).is_file() for name in (CONFIG, REPORT))


def extractor_of(run: Run, file: Path | None = None) -> FeatureExtractor:
    """Make the extractor that a run's features come from.

    Args:
        run: a run with features.
        file: its model file; if not given, the one that `distill` was given, where the run folder knows it.

    Raises:
        UsageError: the run has no features, the extractor is not installed, or its file is gone.
        NerfgenError: it cannot be made.
    """
    report = None if run.folder is None else run.folder / REPORT
    if file is None and report is not None and report.is_file():
        known = read_json(report).get("features_file")
        file = Path(known) if isinstance(known, str) else None
    return open_extractor(run.feature_head.extractor, file)


def with_features(
    run: Run,
    features: str,
    config: DistillConfig | None = None,
    features_file: Path | None = None,
    stages: Stages = silent,
) -> tuple[Run, dict[str, Any]]:
    """Return a run that also tells features, and what a `DistillReport` says of it.

    Its geometry and colors are those of the given run, to the bit. For the rest see `distill`.
    """
    config = config or DistillConfig()
    config.check()
    photographs = run.open_photographs()
    chosen = evenly_spaced(len(photographs), config.photographs).tolist()
    with stages("features") as progress:
        pictures = picture_features(photographs, chosen, features, features_file, config.dims, progress)
    begin = time.perf_counter()
    with stages("distilling") as progress:
        distilled, agreement = _distilled(run, photographs, pictures, features, config, progress)
    channels, dims = pictures.directions.shape
    return distilled, {
        "features": features,
        "features_file": None if features_file is None else str(features_file.resolve()),
        "channels": channels,
        "dims": dims,
        "photographs": len(chosen),
        "explained": round(pictures.explained, 4),
        "agreement": round(agreement, 4),
        "seconds": time.perf_counter() - begin,
    }


def picture_features(
    photographs: NerfgenDataset,
    chosen: Sequence[int],
    name: str,
    file: Path | None,
    dims: int,
    progress: Progress | None = None,
) -> PictureFeatures:
    """Return the features of photographs, from the cache where the same was asked before.

    The PCA basis is that of the features on objects, weighted by the mattes where there are any.

    Args:
        photographs: the photographs.
        chosen: which of them.
        name: the extractor.
        file: its model file.
        dims: numbers that are left of each feature; all, if there are fewer.
        progress: called with the number of photographs done and their total.

    Raises:
        UsageError: there is no such extractor.
        NerfgenError: it cannot be made, or returns what cannot be features.
    """
    files = [str(digest_of(photographs.image_filenames[number])) for number in chosen]
    source = inspect.getsourcefile(load_model(FEATURE_EXTRACTORS, name))
    code = "" if source is None else str(digest_of(Path(source)))
    model = "" if file is None else str(digest_of(file))
    key = hash_of_value([name, code, model, dims, list(chosen), files])
    cached = writable_cache_folder() / "features" / f"{key}.safetensors"
    found = _read(cached)
    if found is not None:
        return found
    extractor = open_extractor(name, file)
    first: dict[int, Float[np.ndarray, "rows columns channels"]] = {}
    for number in (chosen[place] for place in evenly_spaced(len(chosen), BASIS_PHOTOGRAPHS)):
        first[number] = _features_of(extractor, photographs, number).astype(np.float16)
        if progress is not None:
            progress(len(first), len(chosen))
    mean, directions, explained = _basis(photographs, first, dims)
    grids = {}
    done = len(first)
    for number in chosen:
        features = first.pop(number, None)
        if features is None:
            features, done = _features_of(extractor, photographs, number), done + 1
        grids[number] = ((torch.from_numpy(features).float() - mean) @ directions).half()
        if progress is not None:
            progress(done, len(chosen))
    made = PictureFeatures(mean, directions, explained, grids)
    _write(cached, made)
    return made


def _features_of(
    extractor: FeatureExtractor, photographs: NerfgenDataset, number: int
) -> Float[np.ndarray, "rows columns channels"]:
    try:
        return extractor(photographs.get_numpy_image(number))
    except NerfgenError as error:
        raise type(error)(f"{photographs.image_filenames[number]}: {error}") from error


def _basis(
    photographs: NerfgenDataset, features: dict[int, Float[np.ndarray, "rows columns channels"]], dims: int
) -> tuple[Float[Tensor, " channels"], Float[Tensor, "channels dims"], float]:
    """Compute mean, strongest directions, and the share of the variance that these hold."""
    values, weights = [], []
    for number, grid in features.items():
        matte = photographs.get_numpy_matte(number)
        own = torch.ones(grid.shape[:2])
        if matte is not None:
            own = F.interpolate(from_bytes(matte)[None, None], grid.shape[:2], mode="area")[0, 0]
        values.append(torch.from_numpy(grid).float().flatten(0, 1))
        weights.append(own.flatten())
    weight = torch.cat(weights)
    weight = weight / weight.sum().clamp(min=1e-6) if float(weight.sum()) > 0 else weight + 1.0 / len(weight)
    every = torch.cat(values)
    mean = weight @ every
    centered = every - mean
    amounts, directions = torch.linalg.eigh((centered * weight[:, None]).T @ centered)
    strongest = directions.flip(-1)[:, :dims].contiguous()
    total = float(amounts.clamp(min=0.0).sum())
    if not total > 1e-12:
        raise NerfgenError("the extractor gives the same features everywhere; choose another --features")
    return mean, strongest, float(amounts.flip(-1)[:dims].clamp(min=0.0).sum()) / total


def _read(cached: Path) -> PictureFeatures | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with suppress(OSError, SafetensorError, LookupError):
        tensors = load_file(cached)
        mean, directions = tensors.pop("mean"), tensors.pop("directions")
        explained = float(tensors.pop("explained"))
        return PictureFeatures(
            mean, directions, explained, {int(name): tensors[name] for name in sorted(tensors, key=int)}
        )
    return None


def _write(cached: Path, made: PictureFeatures) -> None:
    from safetensors.torch import save_file

    tensors = {str(number): grid.contiguous() for number, grid in made.grids.items()}
    tensors |= {"mean": made.mean, "directions": made.directions, "explained": torch.tensor(made.explained)}
    with replace_file(cached) as temporary:
        save_file(tensors, temporary)
    newest = sorted(cached.parent.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
    for old in newest[:-MOST_CACHED]:
        old.unlink(missing_ok=True)


def _distilled(
    run: Run,
    photographs: NerfgenDataset,
    pictures: PictureFeatures,
    extractor: str,
    config: DistillConfig,
    progress: Progress,
) -> tuple[Run, float]:
    """Return the run with a trained head, and the mean cosine between its features and the targets."""
    channels, dims = pictures.directions.shape
    head_config = FeatureHeadConfig(
        extractor=extractor,
        channels=channels,
        dims=dims,
        hidden_dim=config.hidden_dim,
        num_layers=config.num_layers,
    )
    head: FeatureHead = made_head(run, head_config, config.seed)
    head.mean.copy_(pictures.mean)
    head.directions.copy_(pictures.directions)
    total = len(pictures.grids) + config.steps
    pixels = dict(_pixels(photographs, list(pictures.grids), config))
    samples = samples_of_pixels(run.model, run.cameras, pixels, lambda done, _: progress(done, total))
    every = torch.cat([_look_up(run, pictures, number, own) for number, own in pixels.items()])
    count = len(every)
    accumulation = samples.composite(samples.weights.new_ones(len(samples.weights), 1), count)
    (shown,) = (accumulation[:, 0] > VISIBLE).nonzero(as_tuple=True)
    if len(shown) == 0:
        raise NerfgenError("no photograph shows an object of the run; train the run longer")
    shuffled = torch.randperm(len(shown), generator=torch.Generator().manual_seed(config.seed))
    order = shown[shuffled.to(shown.device)]
    samples = reordered(samples, order, count)
    targets, accumulation = F.normalize(every.to(samples.positions), dim=-1)[order], accumulation[order]

    def loss(values: Tensor, first: int, done: float) -> Tensor:
        own = slice(first, first + len(values))
        return (values / accumulation[own] - targets[own]).square().sum(dim=-1).mean()

    fit_head(head, samples, len(order), loss, config, lambda done, _: progress(len(pixels) + done, total))
    cosines = _cosines(head, samples, targets, config.rays)
    return with_head(run, "feature_head", head_config, head), cosines


def _pixels(
    photographs: NerfgenDataset, chosen: Sequence[int], config: DistillConfig
) -> Iterator[tuple[int, Int[Tensor, "pixels 2"]]]:
    """Yield pixels of each photograph, (row, column), those on the object where there is a matte."""
    generator = np.random.default_rng(config.seed)
    share = max(1, config.most_rays // len(chosen))
    for number in chosen:
        camera, matte = photographs.cameras[number], photographs.get_numpy_matte(number)
        shown = np.ones((int(camera.height), int(camera.width)), bool) if matte is None else matte > 127
        places = np.argwhere(shown)
        yield number, torch.from_numpy(places[generator.permutation(len(places))[:share]])


def _look_up(
    run: Run, pictures: PictureFeatures, number: int, pixels: Int[Tensor, "pixels 2"]
) -> Float[Tensor, "pixels dims"]:
    """Return the features in pixels of a photograph, interpolated between the cells of their grid."""
    camera = run.cameras[number]
    size = torch.tensor([float(camera.width), float(camera.height)])
    return features_at(pictures.grids[number].float(), (pixels.flip(-1) + 0.5) / size)


def features_at(
    grid: Float[Tensor, "rows columns dims"], places: Float[Tensor, "n 2"]
) -> Float[Tensor, "n dims"]:
    """Return the features at places of a picture, interpolated between the middles of cells.

    Args:
        grid: cells that cover the picture.
        places: from 0 to 1 to the right, and downward.
    """
    read = F.grid_sample(
        grid.permute(2, 0, 1)[None],
        2.0 * places.to(grid)[None, None] - 1.0,
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return read[0, :, 0].T


@torch.no_grad()
def _cosines(
    head: FeatureHead, samples: SeenSamples, targets: Float[Tensor, "rays dims"], rays: int
) -> float:
    total = 0.0
    for first in range(0, len(targets), rays):
        own = targets[first : first + rays]
        batch = batch_of_samples(samples, first, first + len(own))
        values = batch.composite(head(batch.features.float(), batch.positions), len(own))
        total += float(F.cosine_similarity(values, own, dim=-1).sum())
    return total / len(targets)
