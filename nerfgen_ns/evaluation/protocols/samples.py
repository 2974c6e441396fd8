"""The protocol `samples`: objects drawn from the table's Gaussian, beside the training photographs."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from nerfgen_ns.cameras.trajectories import turned_cameras, usual_angles
from nerfgen_ns.datamanagers.data_parser import number_photographs
from nerfgen_ns.datamanagers.dataset import NerfgenDataset, open_dataset
from nerfgen_ns.evaluation.protocol import Evaluation, Figure, Picture, Progress, ProtocolResult, mean_figure
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.metrics.geometry import view_agreement
from nerfgen_ns.metrics.samples import (
    Inception,
    frechet_inception_distance,
    inception_score,
    kernel_inception_distance,
)
from nerfgen_ns.utils.images import contact_sheet, resize, to_bytes
from nerfgen_ns.utils.spacing import evenly_spaced

FEW = 5000
"""Images below which KID stands first: with so few, FID is far too large."""
SHOWN = 8
"""Samples of the picture. Where there is no network to judge more, no others are rendered."""
TURNED = 8
"""Samples of which two views are compared."""
TURN = 15.0
"""Degrees to either side for that."""
PICTURE_SIZE = 96
FIGURES: dict[str, Literal["higher", "lower"]] = {"KID": "lower", "FID": "lower", "Inception Score": "higher"}
ONE_IMAGE = "it takes two images or more"
Bytes = UInt8[np.ndarray, "height width 3"]


class Samples:
    """Objects that never existed, beside photographs of those that do.

    KID (Bińkowski et al., ICLR 2018), FID (Heusel et al., NeurIPS 2017) and Inception Score (Salimans et al.,
    NeurIPS 2016) of codes from the table's PCA Gaussian, as LOLNeRF (CVPR 2022) draws them, seen by cameras
    of the photographs. And, ours, how well two views of a sample agree: see `view_agreement`.
    """

    name: ClassVar[str] = "samples"
    needs_test_folder: ClassVar[bool] = False

    def missing(self, setting: Evaluation) -> str | None:
        """Samples need a table whose rows differ."""
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
    """KID, FID and Inception Score of samples, and of what each was computed.

    Where there is no network, none has a value, and each says which file would mend it.
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
    """Each code as a camera drawn from those of the photographs sees it."""
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
