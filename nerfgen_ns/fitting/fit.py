"""`nerfgen fit`: photographs become identities of a run of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerfgen_ns.capture.prepared_folder import Rejection
from nerfgen_ns.code_run import fill_run_folder, is_code_run
from nerfgen_ns.codes_file import write_codes
from nerfgen_ns.evaluation.image_metrics import foreground_psnr, psnr
from nerfgen_ns.evaluation.photographs import open_dataset
from nerfgen_ns.files import write_json
from nerfgen_ns.fitting.config import FitConfig
from nerfgen_ns.fitting.find import Found, Stages, find, looked_at_factor, silent
from nerfgen_ns.fitting.gather import canonical_landmarks_of
from nerfgen_ns.fitting.photograph import write_folder
from nerfgen_ns.folders import replace_folder
from nerfgen_ns.gallery import identity_sheet
from nerfgen_ns.pictures import write_image
from nerfgen_ns.run import Run, load_run

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
    psnr: float
    """Over the whole photograph, as it was looked at."""
    foreground_psnr: float | None
    """Inside its matte; None where it has none."""
    mahalanobis: float
    """How unusual the object is: the distance of its code to the table's mean."""
    camera: str
    """Where its camera came from: "known", from landmarks or the folder, or "searched"."""
    notes: tuple[str, ...] = ()
    """Remarks of its capture: a covered face, several faces."""


@dataclass(frozen=True)
class FitReport:
    """What came of a fit; `fit.json` holds the same."""

    config: Path
    """The config.yml of the new run."""
    photographs: list[FittedPhotograph]
    """The photographs that were fitted."""
    rejected: list[Rejection]
    """The photographs that could not be used."""
    seconds: float
    """What the fit took, from the pixels on: capture and pictures do not count."""
    left_out: list[Rejection] = field(default_factory=list)
    """What is beside the photographs in their folders."""


def fit(
    run: Run,
    images: Sequence[Path],
    output_dir: Path,
    config: FitConfig | None = None,
    stages: Stages = silent,
) -> FitReport:
    """Fit photographs, and make a run folder of them.

    In it lie, besides, `codes.npz`, `fit.json` and `contact_sheet.png`. For the arguments see `find`. The
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
        found = find(run, images, config, work, stages)
        write_folder(found.photographs, work / "data", canonical_landmarks_of(run))
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
            write_image(making / "contact_sheet.png", identity_sheet(made, shown, SHOWN_SIZE, progress))
    return report


def _judge(made: Run, found: Found, factor: int) -> Iterator[FittedPhotograph]:
    dataset = open_dataset(made.data, factor)
    for view, photograph in enumerate(found.photographs):
        image = torch.from_numpy(dataset.get_numpy_image(view) / np.float32(255))
        matte = dataset.get_numpy_matte(view)
        rgb = made.render(photograph.identity, dataset.cameras[view : view + 1])["rgb"].cpu()
        inside = None
        if matte is not None and (matte > 127).any():
            inside = foreground_psnr(rgb, image, torch.from_numpy(matte / np.float32(255)))
        yield FittedPhotograph(
            photograph.name,
            photograph.identity,
            float(psnr(rgb, image)),
            inside,
            float(found.distances[photograph.identity]),
            "searched" if photograph.searched else "known",
            photograph.notes,
        )


def _as_json(report: FitReport, config: FitConfig) -> dict[str, Any]:
    return {
        "photographs": [asdict(photograph) for photograph in report.photographs],
        "rejected": [asdict(rejection) for rejection in report.rejected],
        "left_out": [asdict(left) for left in report.left_out],
        "seconds": report.seconds,
        "options": asdict(config),
    }
