"""The protocols of the latent table: `latent-space` and `samples`, the objects drawn from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.stats import beta
from torch import Tensor

from nerfgen_ns.cameras.trajectories import turned_cameras, usual_angles
from nerfgen_ns.datamanagers.data_parser import number_photographs
from nerfgen_ns.datamanagers.dataset import NerfgenDataset, open_dataset
from nerfgen_ns.evaluation.protocol import Evaluation, Figure, Picture, Progress, ProtocolResult, mean_figure
from nerfgen_ns.latents.latent_space import LatentSpace, interpolate
from nerfgen_ns.metrics.geometry import view_agreement
from nerfgen_ns.metrics.samples import (
    Inception,
    frechet_inception_distance,
    inception_score,
    kernel_inception_distance,
)
from nerfgen_ns.runs.code_runs import usual_camera
from nerfgen_ns.utils.images import contact_sheet, resize, to_bytes
from nerfgen_ns.utils.spacing import evenly_spaced


def pca_spectrum(codes: Float[Tensor, "identities latent"]) -> Float[Tensor, " directions"]:
    """Return the share of the rows' variance along each principal direction, strongest first.

    It sums to 1; empty where all rows are the same.
    """
    variances = LatentSpace.of(codes).deviations.double() ** 2
    return variances / variances.sum()


def effective_dimension(spectrum: Float[Tensor, " directions"]) -> float:
    """Compute how many directions the variance fills: the participation ratio (Σλ)² / Σλ².

    Gao et al., "A theory of multineuronal dimensionality, dynamics and measurement" (2017). It is
    n for n equally strong directions, and NaN for none.
    """
    return float(spectrum.sum() ** 2 / (spectrum**2).sum()) if len(spectrum) else math.nan


def directions_holding(spectrum: Float[Tensor, " directions"], share: float) -> float:
    """Count the strongest directions that hold a share of the variance; NaN where there is no direction."""
    if not len(spectrum):
        return math.nan
    held = spectrum.cumsum(dim=0) / spectrum.sum()
    # The sum of all may miss 1 by its rounding.
    return float(min(int((held < share - 1e-9).sum()) + 1, len(spectrum)))


def share_within_gaussian(codes: Float[Tensor, "identities latent"], probability: float = 0.95) -> float:
    """Compute the share of the rows in the region that holds `probability` of the table's own Gaussian.

    For rows drawn from a Gaussian it is `probability`; less means heavy tails. The Mahalanobis distance m of
    a row to the mean of n rows in d directions does not quite follow a chi-square law, because the row is a
    part of mean and covariance. m²·n/(n−1)² follows the beta distribution with d/2 and (n−d−1)/2
    (Gnanadesikan and Kettenring, "Robust estimates, residuals, and outlier detection", 1972), which for many
    rows becomes chi-square with d degrees of freedom.

    NaN unless there are at least two rows more than directions: otherwise all rows are equally far away.
    """
    space = LatentSpace.of(codes)
    rows, directions = len(codes), len(space.deviations)
    if directions == 0 or rows - directions < 2:
        return math.nan
    distances = space.mahalanobis(codes).double() ** 2 * rows / (rows - 1) ** 2
    limit = beta.ppf(probability, directions / 2, (rows - directions - 1) / 2)
    return float((distances <= limit).double().mean())


def morph_steps(images: Sequence[Float[Tensor, "height width 3"]]) -> Float[Tensor, " steps"]:
    """Compute the root mean square change of color from each image of a morph to the next."""
    changes = [torch.mean((after - before) ** 2) ** 0.5 for before, after in pairwise(images)]
    return torch.stack(changes) if changes else torch.empty(0)


def largest_step(steps: Float[Tensor, " steps"]) -> float:
    """Divide the largest step of a morph by the mean one. This measure is ours.

    It is 1 for an even morph; if all change is one jump, it is the number of steps.

    NaN below two steps, and where nothing changes.
    """
    if len(steps) < 2 or not float(steps.sum()) > 0.0:
        return math.nan
    return float(steps.max() / steps.mean())


PROBABILITY = 0.95
"""Of the region of the Gaussian, and share of the variance."""
MORPHS = 6
IMAGES = 9
"""Of a morph, its ends included."""
PICTURED = 3
"""Morphs of the picture."""
PICTURE_SIZE = 96


class LatentSpaceProtocol:
    """The latent table as a space, for any run. The protocol is ours; each metric names its own source.

    It measures how many directions the rows fill, and whether they follow the Gaussian from which LOLNeRF
    (CVPR 2022) draws samples. It also measures whether a straight morph between two rows changes the image
    evenly.
    """

    name: ClassVar[str] = "latent-space"
    needs_test_folder: ClassVar[bool] = False

    def missing(self, setting: Evaluation) -> str | None:
        """Return None if the rows of the table differ; otherwise say that they have to."""
        if len(LatentSpace.of(setting.run.codes).deviations) == 0:
            return "a latent table with rows that differ"
        return None

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Judge the table, and render morphs between rows drawn at random."""
        codes = setting.run.codes
        spectrum = pca_spectrum(codes)
        pairs = _pairs(len(codes), setting.seed)
        camera = usual_camera(setting.run)
        size = f"{int(camera.width)} × {int(camera.height)}"
        morphs: list[list[Tensor]] = []
        for first, second in pairs:
            images = []
            for place in range(IMAGES):
                code = interpolate(codes[first], codes[second], place / (IMAGES - 1))
                images.append(setting.run.render(code[None], camera)["rgb"].float().cpu())
                progress(len(morphs) * IMAGES + place + 1, len(pairs) * IMAGES)
            morphs.append(images)
        pictured = {
            f"{first} to {second}": [resize(to_bytes(image), PICTURE_SIZE) for image in images]
            for (first, second), images in list(zip(pairs, morphs, strict=True))[:PICTURED]
        }
        evenness = mean_figure(
            "Largest step of a morph by the mean one",
            [largest_step(morph_steps(images)) for images in morphs],
            "",
            "lower",
            f"{len(morphs)} morphs of {IMAGES - 1} steps, {size} pixels; 1 is even, {IMAGES - 1} one jump",
            "the morphs change nothing",
        )
        return ProtocolResult(
            self.name,
            "ours; each metric names its source in its docstring",
            {"rows": len(codes), "dimensions": codes.shape[1], "morphs": pairs, "seed": setting.seed},
            [*table_figures(codes), evenness],
            pictures=[
                Picture("Spectrum of the latent table", spectrum_picture(spectrum)),
                Picture("Straight morphs between rows of the latent table", contact_sheet(pictured)),
            ],
        )


def table_figures(codes: Float[Tensor, "identities latent"]) -> list[Figure]:
    """Return the figures of a latent table alone."""
    rows, dimensions = codes.shape
    spectrum = pca_spectrum(codes)
    percent = f"{100 * PROBABILITY:g} %"
    none = "the rows are all the same"
    return [
        mean_figure(
            "Effective dimension",
            [effective_dimension(spectrum)],
            "",
            "neither",
            f"participation ratio; {rows} rows of {dimensions} numbers",
            none,
        ),
        mean_figure(
            f"Directions that hold {percent} of the variance",
            [directions_holding(spectrum, PROBABILITY)],
            "",
            "neither",
            f"of {len(spectrum)}",
            none,
        ),
        mean_figure(
            f"Rows within the {percent} region of the Gaussian",
            [100.0 * share_within_gaussian(codes, PROBABILITY)],
            "%",
            "neither",
            f"{rows} rows; were they drawn from it: {percent}",
            f"{rows} rows in {len(spectrum)} directions are all equally far away; it takes two rows more",
        ),
    ]


def spectrum_picture(spectrum: Float[Tensor, " directions"]) -> UInt8[np.ndarray, "height width 3"]:
    """Plot the variance along each principal direction, and the sum up to it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Plot

    plot = Plot(figsize=(6.4, 3.2), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(plot)
    axes = plot.subplots()
    place = np.arange(1, len(spectrum) + 1)
    axes.bar(place, 100 * spectrum.cpu().numpy(), color="#7a9cc6", label="of each direction")
    axes.plot(place, 100 * spectrum.cumsum(0).cpu().numpy(), color="#28415f", label="up to it")
    axes.set(xlabel="principal direction", ylabel="share of the variance, %", ylim=(0, 102))
    axes.legend(loc="center right", frameon=False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _pairs(rows: int, seed: int) -> list[tuple[int, int]]:
    """Draw pairs of different rows at random."""
    generator = np.random.default_rng(seed)
    drawn = (generator.choice(rows, size=2, replace=False).tolist() for _ in range(MORPHS))
    return list(dict.fromkeys((int(first), int(second)) for first, second in drawn))


FEW = 5000
"""Below this number of images KID comes first: FID is then far too large."""
SHOWN = 8
"""Samples of the picture. Where there is no network to judge more, no others are rendered."""
TURNED = 8
"""Samples whose two views are compared."""
TURN = 15.0
"""Degrees to either side for that."""
FIGURES: dict[str, Literal["higher", "lower"]] = {"KID": "lower", "FID": "lower", "Inception Score": "higher"}
ONE_IMAGE = "it takes two images or more"
Bytes = UInt8[np.ndarray, "height width 3"]


class Samples:
    """Objects drawn from the latent space, compared with photographs of the class.

    KID (Bińkowski et al., ICLR 2018), FID (Heusel et al., NeurIPS 2017) and Inception Score (Salimans et al.,
    NeurIPS 2016) of codes from the table's PCA Gaussian, as LOLNeRF (CVPR 2022) draws them, seen by cameras
    of the photographs. A measure of our own is how well two views of a sample agree, see `view_agreement`.
    """

    name: ClassVar[str] = "samples"
    needs_test_folder: ClassVar[bool] = False

    def missing(self, setting: Evaluation) -> str | None:
        """Return None if the rows of the table differ; otherwise say that they have to."""
        if len(LatentSpace.of(setting.run.codes).deviations) == 0:
            return "a latent table with rows that differ: samples are drawn from their spread"
        return None

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Render samples and compare them with photographs; render some from two sides and compare those.

        Raises:
            UsageError: the truncation is below 0, or no sample is asked for.
            NerfgenError: a photograph cannot be read.
        """
        inception = Inception(setting.weights.inception)
        count = setting.samples if inception.unavailable is None else min(setting.samples, SHOWN)
        codes = LatentSpace.of(setting.run.codes).sample(count, setting.truncation, setting.seed)
        folder = open_dataset(setting.run.photographs, setting.downscale_factor)
        number_photographs(folder.cameras)
        compared = min(len(folder), count)
        photographs = [
            folder.get_numpy_image(int(number)) for number in evenly_spaced(len(folder), count, "starts")
        ]
        samples = _render(setting, codes, folder, progress)
        size = f"{photographs[0].shape[1]} × {photographs[0].shape[0]}"
        pictured = contact_sheet(
            {
                name: [resize(image, PICTURE_SIZE) for image in images[:SHOWN]]
                for name, images in (("samples", samples), ("photographs", photographs))
            }
        )
        sides = codes[:TURNED]
        return ProtocolResult(
            self.name,
            "LOLNeRF (CVPR 2022), section 4; agreement of two views: ours, after Lai et al. (ECCV 2018)",
            {
                "samples": count,
                "photographs": compared,
                "size": size,
                "truncation": setting.truncation,
                "seed": setting.seed,
                "agreement": f"{len(sides)} samples, {TURN:g}° to either side",
            },
            [
                *inception_figures(inception, photographs, samples, setting, f"{size} pixels", progress),
                *_agreement_figures(setting, sides, max(folder.get_numpy_image(0).shape), progress),
            ],
            pictures=[
                Picture(f"Samples, truncation {setting.truncation:g}, and photographs of the class", pictured)
            ],
        )


def inception_figures(
    inception: Inception,
    photographs: list[Bytes],
    samples: list[Bytes],
    setting: Evaluation,
    size: str,
    progress: Progress,
) -> list[Figure]:
    """Compute KID, FID and Inception Score of samples, each with a note that says from what.

    Without the network no figure has a value, and each note says which file to give.
    """
    if inception.unavailable is not None:
        return [
            mean_figure(name, [], "", better, reason=inception.unavailable)
            for name, better in FIGURES.items()
        ]
    of_samples = f"{size}, truncation {setting.truncation:g}"
    of_both = f"{len(samples)} samples, {len(photographs)} photographs, {of_samples}"
    few = min(len(samples), len(photographs)) < FEW
    real, sampled = (inception.features(images, progress) for images in (photographs, samples))
    distances = [
        mean_figure(
            "KID",
            [kernel_inception_distance(real.pooled, sampled.pooled, setting.seed)],
            "",
            "lower",
            of_both,
            ONE_IMAGE,
        ),
        mean_figure(
            "FID",
            [frechet_inception_distance(real.pooled, sampled.pooled)],
            "",
            "lower",
            f"{of_both}; too large below {FEW:,} images" if few else of_both,
            ONE_IMAGE,
        ),
    ]
    score = mean_figure(
        "Inception Score",
        [inception_score(sampled.logits, setting.seed)],
        "",
        "higher",
        f"{len(samples)} samples, {of_samples}; of the photographs "
        f"{inception_score(real.logits, setting.seed):.2f}",
        ONE_IMAGE,
    )
    return [*(distances if few else reversed(distances)), score]


def _render(
    setting: Evaluation, codes: Float[Tensor, "samples latent"], folder: NerfgenDataset, progress: Progress
) -> list[Bytes]:
    """Render each code with a camera that is drawn from those of the photographs."""
    drawn = np.random.default_rng(setting.seed).integers(len(folder), size=len(codes))
    images = []
    for place, photograph in enumerate(drawn.tolist()):
        camera = folder.cameras[photograph : photograph + 1]
        images.append(to_bytes(setting.run.render(codes[place : place + 1], camera)["rgb"]))
        progress(place + 1, len(codes))
    return images


def _agreement_figures(
    setting: Evaluation, codes: Float[Tensor, "samples latent"], size: int, progress: Progress
) -> list[Figure]:
    run = setting.run
    _, pitch = usual_angles(run.cameras)
    cameras = turned_cameras(run.cameras, np.array([[-TURN, pitch], [TURN, pitch]]), size)
    left, right = cameras[:1], cameras[1:]
    views = []
    for place in range(len(codes)):
        code = codes[place : place + 1]
        views.append(
            [
                {name: output.float().cpu() for name, output in run.render(code, camera).items()}
                for camera in (left, right)
            ]
        )
        progress(place + 1, len(codes))
    own = [view_agreement(first, left, second, right) for first, second in views]
    others = [
        view_agreement(first, left, views[place - 1][1], right).psnr
        for place, (first, _) in enumerate(views if len(views) > 1 else [])
    ]
    defined = [value for value in others if np.isfinite(value)]
    chance = f"; two different samples: {np.mean(defined):.2f} dB" if defined else ""
    return [
        mean_figure(
            "Agreement of two views",
            [agreement.psnr for agreement in own],
            "dB",
            "higher",
            f"colors of the same surface points, {TURN:g}° to either side, {size} × {size} pixels, "
            f"truncation {setting.truncation:g}{chance}",
        ),
        mean_figure(
            "Surface that both views show",
            [100.0 * agreement.share for agreement in own],
            "%",
            "neither",
            f"of the first view's; truncation {setting.truncation:g}",
        ),
    ]
