"""The optional stages of training: the same method plain, with the perceptual loss, with training on samples.

    python -m benchmarks.stages --data PREPARED --output-dir OUT --minutes 60

Each training is a process of its own. Photographs are judged as by `benchmarks.budget`, and random samples by
how their details are distributed: the sliced Wasserstein distance of patches of the Laplacian pyramid (Karras
et al., "Progressive growing of GANs", ICLR 2018, section 5), which needs no network. With Inception's weights
there is KID too. A training that is done is not repeated.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from jaxtyping import Float, UInt8
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.ablation.tables import markdown_table
from benchmarks.budget import (
    EVAL_FRACTION,
    WITHOUT_EVALUATION,
    figure_cells,
    figure_names,
    reconstruction_figures,
    trained_photographs,
)
from benchmarks.machine import RECORD, record_of_run, record_sentence, shown_path
from benchmarks.results_file import write_section
from nerfgen_ns.datamanagers.dataset import open_dataset
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.metrics.samples import Inception, kernel_inception_distance
from nerfgen_ns.runs.launch import Training
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.training.adversarial import BEHIND
from nerfgen_ns.utils.files import read_json, write_json
from nerfgen_ns.utils.images import contact_sheet, from_bytes, resize, to_bytes, write_image
from nerfgen_ns.utils.spacing import evenly_spaced

SHOWN = 8
"""Samples of each training on the sheet."""
PLAIN, PERCEPTUAL, ADVERSARIAL = "plain", "perceptual", "adversarial"
Picture = UInt8[np.ndarray, "size size 3"]


@dataclass
class Stages:
    """Train a method without the optional stages and with each of them, and judge photographs and samples."""

    data: Path
    """Prepared folder."""
    output_dir: Path
    """Where the runs, the figures and the sheet of samples go."""
    minutes: float = 60.0
    """Minutes of each training."""
    method: str = "nerfgen-small"
    """Method of `ns-train`."""
    patch_fraction: float = 0.34
    """Share of the rays in patches, for the perceptual loss."""
    perceptual_loss_mult: float = 0.03
    """Weight of the perceptual loss, 1 − SSIM."""
    adversarial_loss_mult: float = 0.001
    """Weight of the adversarial loss."""
    eval_fraction: float = 0.125
    """Share of the photographs that is set aside, to be fitted and judged afterwards."""
    judged_factor: int = 2
    """How many times smaller than the files everything is judged."""
    photographs: int = 48
    """How many photographs are judged at most, of those that trained and of those set aside."""
    samples: int = 256
    """How many samples, and as many photographs that trained, are compared at most."""
    inception_weights: Path | None = None
    """Weights of Inception, as `nerfgen evaluate --weights.inception` takes them, for KID."""
    options: tuple[str, ...] = ()
    """Further options of `ns-train`, for every training."""
    results_path: Path | None = None
    """The file of results, in Markdown, to put the figures into."""

    def run(self) -> None:
        """Train what is missing, print a table, write the figures and the sheet."""
        begin = time.perf_counter()
        variants = {
            PLAIN: (),
            PERCEPTUAL: (
                *("--pipeline.datamanager.pixel-sampler.patch-fraction", str(self.patch_fraction)),
                *("--pipeline.model.losses.perceptual-loss-mult", str(self.perceptual_loss_mult)),
            ),
            ADVERSARIAL: ("--pipeline.adversarial.loss-mult", str(self.adversarial_loss_mult)),
        }
        measured = {name: self._measure(name, options) for name, options in variants.items()}
        rows = table_rows(measured)
        table = Table(
            *rows[0], title=f"{shown_path(self.data)}, {self.method}, {self.minutes:g} minutes each"
        )
        for row in rows[1:]:
            table.add_row(*row)
        Console().print(table)
        strips = [np.asarray(Image.open(self._strip(label))) for label in (*variants, "photographs")]
        write_image(self.output_dir / "samples.png", np.concatenate(strips))
        record = record_of_run(begin)
        write_json(self.output_dir / "stages.json", {"trainings": measured, RECORD: record})
        if self.results_path is not None:
            kind = "cuda" if torch.cuda.is_available() else "cpu"
            body = f"{record_sentence(record)}\n\n{markdown_table(rows[0], rows[1:])}\n\n{EXPLAINED}"
            write_section(self.results_path, "Optional stages of training", kind, body)

    def _measure(self, name: str, options: Sequence[str]) -> dict[str, Any]:
        training = Training(
            self.data,
            self.output_dir,
            self.method,
            "stages",
            timestamp=name,
            minutes=self.minutes,
            options=(
                *(EVAL_FRACTION, str(self.eval_fraction)),
                *(*WITHOUT_EVALUATION, *options, *self.options),
            ),
        )
        path = training.run_dir / "stages.json"
        if path.exists():
            return read_json(path)
        training.run()
        run = load_run(training.load_config)
        photographs, samples = pictures_of(run, self.samples, self.judged_factor)
        for label, pictures in ((name, samples), ("photographs", photographs)):
            write_image(self._strip(label), contact_sheet({label: pictures.whole[:SHOWN]}))
        measured = {
            **training.figures(),
            "figures": reconstruction_figures(run, self.judged_factor, self.photographs),
            "samples": len(samples.whole),
            "distances": distances(photographs, samples),
            "of_photographs": distances(*halves(photographs)),
            "kid": self._kid(photographs, samples),
        }
        write_json(path, measured)
        return measured

    def _strip(self, label: str) -> Path:
        return self.output_dir / f"samples_{label}.png"

    def _kid(self, photographs: Pictures, samples: Pictures) -> float | None:
        if self.inception_weights is None:
            return None
        inception = Inception(self.inception_weights)
        real, sampled = (inception.features(pictures.whole).pooled for pictures in (photographs, samples))
        return kernel_inception_distance(real, sampled)


class Pictures(NamedTuple):
    """Pictures of objects, all of one size."""

    whole: list[Picture]
    """With their backgrounds."""
    objects: list[Picture]
    """Before gray; none where the data has no mattes."""


def pictures_of(run: Run, count: int, factor: int) -> tuple[Pictures, Pictures]:
    """Return photographs that trained, and as many samples, each from the camera of one of them.

    Args:
        run: a trained run.
        count: how many of each at most.
        factor: how many times smaller than the files.
    """
    folder = open_dataset(run.photographs, factor)
    trained = trained_photographs(run)
    chosen = trained[evenly_spaced(len(trained), min(count, len(trained)))]
    size = int(folder.cameras.width.median())
    photographs, samples = Pictures([], []), Pictures([], [])
    codes = LatentSpace.of(run.codes).sample(len(chosen))
    for code, number in zip(codes.split(1), chosen.tolist(), strict=True):
        outputs = run.render(code, folder.cameras[number : number + 1])
        image, matte = folder.get_numpy_image(number), folder.get_numpy_matte(number)
        photographs.whole.append(resize(image, size))
        samples.whole.append(resize(to_bytes(outputs["rgb"]), size))
        if matte is not None:
            before_gray = torch.lerp(torch.tensor(BEHIND), from_bytes(image), from_bytes(matte)[..., None])
            photographs.objects.append(resize(to_bytes(before_gray), size))
            rendered = outputs["foreground"] + BEHIND * (1.0 - outputs["accumulation"])
            samples.objects.append(resize(to_bytes(rendered), size))
    return photographs, samples


def halves(pictures: Pictures) -> tuple[Pictures, Pictures]:
    """Return every other picture, and the rest, as many."""
    most = len(pictures.whole) // 2 * 2
    first, second = (Pictures(*(part[start:most:2] for part in pictures)) for start in (0, 1))
    return first, second


def distances(photographs: Pictures, samples: Pictures) -> dict[str, list[float]]:
    """Return the sliced Wasserstein distances of whole pictures and of objects, finest level first."""
    return {
        name: sliced_wasserstein(_stacked(real), _stacked(sampled))
        for name, real, sampled in zip(Pictures._fields, photographs, samples, strict=True)
        if real
    }


def _stacked(pictures: list[Picture]) -> Float[Tensor, "images 3 size size"]:
    return from_bytes(np.stack(pictures)).permute(0, 3, 1, 2)


SMALLEST_LEVEL = 16
"""Pixels along a side of the coarsest level."""
PATCH, PATCHES_AN_IMAGE, DIRECTIONS = 7, 128, 512
"""As published."""


def sliced_wasserstein(
    real: Float[Tensor, "images 3 size size"], sampled: Float[Tensor, "images 3 size size"], seed: int = 0
) -> list[float]:
    """Compute the sliced Wasserstein distance of patches of each level of the Laplacian pyramid, times 10³.

    Karras et al., "Progressive growing of GANs" (ICLR 2018), section 5: 128 random patches of 7 × 7 pixels an
    image, 512 random directions. There each set of patches is normalized by itself; here both are by the mean
    and standard deviation of the photographs, so that a lack of detail counts.

    Args:
        real: photographs, with colors in [0, 1].
        sampled: as many renders.
        seed: of patches and directions.

    Returns:
        A value for each level, the finest first; lower is better.
    """
    generator = torch.Generator().manual_seed(seed)
    values = []
    for levels in zip(_laplacian_pyramid(real), _laplacian_pyramid(sampled), strict=True):
        first, second = (_patches(level, generator) for level in levels)
        mean, std = first.mean(dim=(0, 2), keepdim=True), first.std(dim=(0, 2), keepdim=True)
        directions = F.normalize(torch.randn(3 * PATCH**2, DIRECTIONS, generator=generator), dim=0)
        ends = [
            (((patches - mean) / std).flatten(1) @ directions).sort(dim=0).values
            for patches in (first, second)
        ]
        values.append(1e3 * float((ends[0] - ends[1]).abs().mean()))
    return values


def _laplacian_pyramid(images: Float[Tensor, "images 3 size size"]) -> list[Float[Tensor, "images 3 _ _"]]:
    levels = []
    while (size := images.shape[-1]) >= 2 * SMALLEST_LEVEL:
        smaller = F.interpolate(images, size=(size // 2, size // 2), mode="bilinear", antialias=True)
        levels.append(images - F.interpolate(smaller, size=(size, size), mode="bilinear"))
        images = smaller
    return [*levels, images]


def _patches(
    images: Float[Tensor, "images 3 size size"], generator: torch.Generator
) -> Float[Tensor, "patches 3 pixels"]:
    count, _, size, _ = images.shape
    row, column = torch.randint(size - PATCH + 1, (2, count * PATCHES_AN_IMAGE), generator=generator)
    offset = torch.arange(PATCH)
    image = torch.arange(count).repeat_interleave(PATCHES_AN_IMAGE)
    rows, columns = row[:, None, None] + offset[:, None], column[:, None, None] + offset
    return images.permute(0, 2, 3, 1)[image[:, None, None], rows, columns].permute(0, 3, 1, 2).flatten(2)


EXPLAINED = """Samples have a truncation of 1 and are seen by the cameras of photographs that trained. Their
distance is the sliced Wasserstein distance of patches of the Laplacian pyramid, times 10³, lower is better:
the mean over the levels, and that of the finest; whole pictures, and objects before gray. The last row
compares one half of the photographs with the other."""


def table_rows(measured: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Return the table of the trainings, its head first, and what two halves of the photographs differ by."""
    has_kid = any(training["kid"] is not None for training in measured.values())
    parts = [f"{part}, {which}" for part in Pictures._fields for which in ("all levels", "finest")]
    rows = [["training", "steps", *figure_names(), *parts, *(["KID"] if has_kid else [])]]
    for name, training in measured.items():
        rows.append([name, f"{training['steps']:,}", *figure_cells(training["figures"])])
        rows[-1] += [
            *_distance_cells(training["distances"]),
            *([f"{training['kid']:.4f}"] if has_kid else []),
        ]
    blank = ["–"] * len(figure_names())
    of_photographs = _distance_cells(next(iter(measured.values()))["of_photographs"])
    return [*rows, ["photographs", "–", *blank, *of_photographs, *(["–"] if has_kid else [])]]


def _distance_cells(values: dict[str, list[float]]) -> list[str]:
    cells = []
    for part in Pictures._fields:
        own = values.get(part)
        cells += ["–", "–"] if own is None else [f"{np.mean(own):.1f}", f"{own[0]:.1f}"]
    return cells


if __name__ == "__main__":
    tyro.cli(Stages).run()
