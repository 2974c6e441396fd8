"""Inversion: photographs become latent codes and cameras, with the networks frozen. `nerfgen fit`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfgen_ns.cameras.projection import homogeneous
from nerfgen_ns.cameras.se3 import move_cameras
from nerfgen_ns.datamanagers.dataset import open_dataset
from nerfgen_ns.datamanagers.pixel_store import PixelStore
from nerfgen_ns.dataset_format.label_maps import UNLABELED, shrink_label_map
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.fields.regions import RegionConfig
from nerfgen_ns.inversion.camera_search import search_cameras
from nerfgen_ns.inversion.config import FitConfig
from nerfgen_ns.inversion.inputs import (
    Photograph,
    gather,
    gather_label_maps,
    with_label_maps,
    write_folder,
)
from nerfgen_ns.inversion.latent_fit import PoseStd, Progress, Views, codes_at, fit_codes, tune
from nerfgen_ns.latents.code_files import write_codes
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.metrics.images import foreground_psnr, psnr
from nerfgen_ns.metrics.labels import confusion, mean_iou
from nerfgen_ns.preprocessing.report.prepare_report import Rejection
from nerfgen_ns.runs.code_runs import fill_run_folder, is_code_run
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.utils.files import replace_folder, write_json
from nerfgen_ns.utils.images import write_image
from nerfgen_ns.utils.machine import keep_freed_memory
from nerfgen_ns.visualization.contact_sheets import identity_sheet

Stages = Callable[[str], AbstractContextManager[Progress]]
"""Makes a context from the name of a stage; it gives the function to report the stage's progress to."""


@contextmanager
def silent(stage: str) -> Iterator[Progress]:
    """Show no progress."""
    yield lambda done, total: None


@dataclass(frozen=True)
class Found:
    """The result of a fit, before anything is written."""

    photographs: list[Photograph]
    """The photographs, by their identities, with their final cameras."""
    rejected: list[Rejection]
    """The photographs that could not be used."""
    codes: Float[Tensor, "objects latent"]
    """A code for each identity."""
    distances: Float[Tensor, " objects"]
    """How unusual each is: its Mahalanobis distance to the table's mean."""
    state: dict[str, Tensor] | None
    """Tuned tensors of the model, where networks were tuned."""
    seconds: float
    """How long the fit took, without capture."""
    left_out: list[Rejection] = field(default_factory=list)
    """Other files and folders beside the photographs."""


def find(
    run: Run,
    images: Sequence[Path],
    config: FitConfig,
    work: Path,
    stages: Stages = silent,
    label_maps: Path | None = None,
) -> Found:
    """Find the codes of photographs in the latent space of a run, all photographs together.

    Args:
        run: a trained run; it stays as it is.
        images: photographs, folders of them, or one folder with cameras; see `gather`.
        config: the options.
        work: an empty folder for files made from the photographs.
        stages: shows progress.
        label_maps: a folder of label maps of the photographs or, without photographs, to be fitted alone; see
            `with_label_maps` and `gather_label_maps`.

    Raises:
        UsageError: an option or a path makes no sense, or the latent table has no spread.
        NerfgenError: no photograph can be used, or no code explains a label map.
    """
    config.check()
    space = latent_space_of(run)
    if label_maps is not None and not images:
        gathered = gather_label_maps(label_maps, run, config, work)
    else:
        gathered = gather(images, run, config, work)
        if label_maps is not None:
            labeled = with_label_maps(gathered.photographs, label_maps, run)
            gathered = replace(gathered, photographs=labeled)
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
        pose_std = PoseStd() if config.refine_cameras else None
        fitted = fit_codes(run.model, space, views, config, pose_std, progress)
    codes = codes_at(space, fitted.amounts)
    matrices = move_cameras(matrices, fitted.motions.to(matrices))
    views.cameras.camera_to_worlds = matrices
    state = None
    if config.tune_steps:
        with stages("tuning networks") as progress:
            state = tune(run.model, views, codes, config, progress)
    seconds = time.perf_counter() - begin
    transform_matrices = homogeneous(matrices.double().numpy()).round(9)
    placed = [
        replace(photograph, frame=replace(photograph.frame, transform_matrix=matrix))
        for photograph, matrix in zip(photographs, transform_matrices, strict=True)
    ]
    return Found(
        placed, gathered.rejected, codes, fitted.amounts.norm(dim=1), state, seconds, gathered.left_out
    )


def _views(run: Run, photographs: Sequence[Photograph], config: FitConfig, folder: Path) -> Views:
    """Read the photographs' pixels and cameras, as small as the class was trained on."""
    write_folder(photographs, folder, canonical_landmarks=None)
    dataset = open_dataset(folder, looked_at_factor(run, config))
    every = torch.arange(len(dataset))
    identities = torch.tensor([photograph.identity for photograph in photographs])
    store = PixelStore(dataset, every.numpy())
    has_colors = not any(photograph.is_drawn for photograph in photographs)
    return Views(store, every, dataset.cameras, identities, _labels_of(photographs, store), has_colors)


def _labels_of(photographs: Sequence[Photograph], store: PixelStore) -> Int[Tensor, " pixels"] | None:
    """Return the label of each pixel of a store; None where no photograph has labels."""
    if all(photograph.label_map is None for photograph in photographs):
        return None
    parts = []
    for photograph, height, width in zip(
        photographs, store.heights.tolist(), store.widths.tolist(), strict=True
    ):
        if photograph.label_map is None:
            parts.append(np.full(height * width, UNLABELED, dtype=np.int64))
        else:
            parts.append(shrink_label_map(photograph.label_map, width, height).astype(np.int64).ravel())
    return torch.from_numpy(np.concatenate(parts))


def latent_space_of(run: Run) -> LatentSpace:
    """Return the space in which codes are searched.

    Raises:
        UsageError: the latent table has no spread.
    """
    space = LatentSpace.of(run.codes)
    if len(space.deviations) == 0:
        raise UsageError("the run's identities are all the same: train it on more photographs, or longer")
    return space


def looked_at_factor(run: Run, config: FitConfig) -> int:
    """Return how many times smaller than stored the photographs are used."""
    return config.downscale_factor or int(run.downscale_factor)


LEAST_AGREEMENT = 0.25
"""Mean IoU of a label map alone and its reconstruction below which no code explains it."""
MOST_SHOWN = 12
"""Identities on the contact sheet."""
SHOWN_SIZE = 128


@dataclass(frozen=True)
class FittedPhotograph:
    """One photograph and how well its reconstruction resembles it, in dB."""

    name: str
    """Its file."""
    identity: int
    """The row of the new run's latent table that shows its object."""
    psnr: float | None
    """Over the whole photograph, at the size of the fit; None of a label map alone."""
    foreground_psnr: float | None
    """Inside its matte; None where it has none."""
    mahalanobis: float
    """How unusual the object is: the distance of its code to the table's mean."""
    camera: str
    """Where its camera came from: "known", from landmarks or the folder, or "searched"."""
    notes: tuple[str, ...] = ()
    """Remarks of its capture: a covered face, several faces."""
    label_agreement: float | None = None
    """Mean IoU of its label map and the labels of its reconstruction; None where it has no label map."""


@dataclass(frozen=True)
class FitReport:
    """The report of a fit; `fit.json` holds the same."""

    config: Path
    """The config.yml of the new run."""
    photographs: list[FittedPhotograph]
    """The photographs that were fitted."""
    rejected: list[Rejection]
    """The photographs that could not be used."""
    seconds: float
    """How long the fit took, without capture and pictures."""
    left_out: list[Rejection] = field(default_factory=list)
    """Other files and folders beside the photographs."""


def fit(
    run: Run,
    images: Sequence[Path],
    output_dir: Path,
    config: FitConfig | None = None,
    stages: Stages = silent,
    label_maps: Path | None = None,
) -> FitReport:
    """Fit photographs, and make a run folder of them.

    It also holds `codes.npz`, `fit.json` and `contact_sheet.png`. For the arguments see `find`. The
    folder appears when all is done, or not at all.

    Raises:
        UsageError: see `find`; or `output_dir` holds something else.
        NerfgenError: no photograph can be used, or the output cannot be written.
    """
    config = config or FitConfig()
    with (
        replace_folder(output_dir, is_code_run) as making,
        tempfile.TemporaryDirectory(prefix="nerfgen-fit-") as temporary,
    ):
        work = Path(temporary)
        found = find(run, images, config, work, stages, label_maps)
        write_folder(found.photographs, work / "data", run.record.canonical_landmarks)
        fill_run_folder(making, run, found.codes, work / "data", output_dir, found.state)
        made = load_run(making / "config.yml")
        with stages("comparing") as progress:
            fitted = []
            for done, photograph in enumerate(_judge(made, found, looked_at_factor(run, config)), start=1):
                fitted.append(photograph)
                progress(done, len(found.photographs))
        report = FitReport(output_dir / "config.yml", fitted, found.rejected, found.seconds, found.left_out)
        names = {photograph.identity: Path(photograph.name).stem for photograph in reversed(fitted)}
        called = [names[row] for row in range(len(found.codes))]
        write_codes(making / "codes.npz", found.codes, called, made.model_fingerprint)
        write_json(making / "fit.json", _as_json(report, config))
        with stages("drawing the contact sheet") as progress:
            shown = range(min(MOST_SHOWN, len(found.codes)))
            write_image(
                making / "contact_sheet.png",
                identity_sheet(made, made.open_photographs(), shown, SHOWN_SIZE, progress),
            )
    return report


def _judge(made: Run, found: Found, factor: int) -> Iterator[FittedPhotograph]:
    whole = RegionConfig()
    dataset = open_dataset(made.data, factor)
    for view, photograph in enumerate(found.photographs):
        image = torch.from_numpy(dataset.get_numpy_image(view) / np.float32(255))
        matte = dataset.get_numpy_matte(view)
        camera, labels = dataset.cameras[view : view + 1], photograph.label_map
        outputs = made.model.render_camera(
            camera, made.code(photograph.identity), probabilities=labels is not None, region=whole
        )
        rgb, inside, agreement = outputs["rgb"].cpu(), None, None
        if labels is not None:
            rendered = outputs["label_probabilities"].argmax(dim=-1).cpu()
            truth = torch.from_numpy(shrink_label_map(labels, *reversed(rendered.shape)).astype(np.int64))
            agreement = mean_iou(confusion(rendered, truth, len(made.legend.names)))
            if photograph.is_drawn and agreement < LEAST_AGREEMENT:
                raise NerfgenError(
                    f"{photograph.name}: no code of this class explains the label map (mean IoU "
                    f"{agreement:.2f}); check what its numbers mean and its camera, or leave it out"
                )
        if matte is not None and (matte > 127).any():
            inside = foreground_psnr(rgb, image, torch.from_numpy(matte / np.float32(255)))
        yield FittedPhotograph(
            photograph.name,
            photograph.identity,
            None if photograph.is_drawn else float(psnr(rgb, image)),
            inside,
            float(found.distances[photograph.identity]),
            "searched" if photograph.searched else "known",
            photograph.notes,
            agreement,
        )


def _as_json(report: FitReport, config: FitConfig) -> dict[str, Any]:
    return {
        "photographs": [asdict(photograph) for photograph in report.photographs],
        "rejected": [asdict(rejection) for rejection in report.rejected],
        "left_out": [asdict(left) for left in report.left_out],
        "seconds": report.seconds,
        "options": asdict(config),
    }
