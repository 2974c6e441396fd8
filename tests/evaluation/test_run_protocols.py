"""The protocols that judge a run alone: samples and latent-space."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfgen_ns.evaluation.protocol import Evaluation, Figure
from nerfgen_ns.evaluation.protocols import latent_space
from nerfgen_ns.evaluation.protocols.latent_space import (
    LatentSpaceProtocol,
    Samples,
    inception_figures,
    spectrum_picture,
    table_figures,
)
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.metrics import samples as sample_metrics
from nerfgen_ns.metrics.samples import InceptionFeatures
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run


@pytest.fixture(scope="module")
def run(trained_config: Path) -> Run:
    return load_run(trained_config)


@pytest.fixture
def setting(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Evaluation]:
    """An evaluation without a network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(sample_metrics, "INCEPTION", "https://weights.invalid/inception.pth")
    return Evaluation(run=run, downscale_factor=1, samples=3, truncation=0.5, seed=4)


class Network:
    """Stands where Inception would: features that know how many images there are."""

    unavailable = None

    def features(self, images, progress=None):
        generator = torch.Generator().manual_seed(len(images))
        return InceptionFeatures(*torch.randn(2, len(images), 4, generator=generator))


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


def silent(done: int, total: int) -> None:
    assert 0 <= done <= total


def test_without_weights_the_rest_of_the_protocol_runs_and_the_figures_say_what_is_missing(setting):
    result = Samples().run(setting, silent)
    figures = by_name(result.figures)
    for name in ("KID", "FID", "Inception Score"):
        assert figures[name].value is None
        assert "--weights.inception" in figures[name].note and "inception.pth" in figures[name].note
    agreement = figures["Agreement of two views"]
    assert agreement.value is not None or "not defined" in agreement.note
    assert "truncation 0.5" in agreement.note and "32 × 32 pixels" in agreement.note
    assert result.settings["samples"] == 3 and result.settings["truncation"] == 0.5
    assert result.pictures[0].image.dtype == np.uint8 and result.pictures[0].image.ndim == 3


def test_with_a_network_samples_are_rendered_as_photographs_are_and_counted(setting, monkeypatch):
    class Seen(Network):
        def __init__(self, weights=None):
            self.seen = []

        def features(self, images, progress=None):
            sizes.append({image.shape for image in images})
            counts.append(len(images))
            return super().features(images, progress)

    sizes: list[set] = []
    counts: list[int] = []
    monkeypatch.setattr(latent_space, "Inception", Seen)
    result = Samples().run(replace(setting, samples=9, downscale_factor=2), silent)
    # Three photographs are all there are.
    assert counts == [3, 9] and sizes == [{(16, 16, 3)}] * 2
    kid = by_name(result.figures)["KID"]
    assert kid.value is not None
    assert "9 samples, 3 photographs, 16 × 16 pixels, truncation 0.5" in kid.note


def test_the_same_seed_draws_the_same_samples(setting):
    first, second, other = (
        Samples().run(replace(setting, seed=seed), silent).pictures[0].image for seed in (4, 4, 5)
    )
    assert (first == second).all() and (first != other).any()


def test_every_figure_of_the_network_says_how_many_images_of_which_size_and_truncation(setting):
    images = [np.zeros((2, 2, 3), np.uint8)] * 20
    figures = inception_figures(Network(), images[:12], images, setting, "2 × 2 pixels", silent)
    assert [figure.name for figure in figures] == ["KID", "FID", "Inception Score"]
    for figure in figures:
        assert figure.value is not None
        assert "20 samples" in figure.note and "2 × 2 pixels" in figure.note
        assert "truncation 0.5" in figure.note
    assert "too large below 5,000 images" in figures[1].note


def test_with_enough_images_fid_stands_first(setting, monkeypatch):
    monkeypatch.setattr(latent_space, "FEW", 20)
    images = [np.zeros((2, 2, 3), np.uint8)] * 20
    figures = inception_figures(Network(), images, images, setting, "2 × 2 pixels", silent)
    assert [figure.name for figure in figures] == ["FID", "KID", "Inception Score"]
    assert "too large" not in figures[0].note


def test_one_sample_has_no_distribution_and_that_is_said(setting):
    images = [np.zeros((2, 2, 3), np.uint8)]
    for figure in inception_figures(Network(), images, images, setting, "2 × 2 pixels", silent):
        assert figure.value is None and "two images or more" in figure.note


def test_latent_space_of_a_run(setting):
    result = LatentSpaceProtocol().run(setting, silent)
    figures = by_name(result.figures)
    spectrum = LatentSpace.of(setting.run.codes).deviations.double() ** 2
    expected = float(spectrum.sum() ** 2 / (spectrum**2).sum())
    assert figures["Effective dimension"].value == pytest.approx(expected)
    # Three rows fill two directions and are all equally far from their mean.
    within = figures["Rows within the 95 % region of the Gaussian"]
    assert within.value is None and "3 rows in 2 directions" in within.note
    step = figures["Largest step of a morph by the mean one"]
    assert step.value is not None and 1.0 <= step.value < 8.0
    assert len(result.pictures) == 2
    assert all(first != second for first, second in result.settings["morphs"])


def test_a_table_whose_rows_are_all_the_same_has_neither_samples_nor_a_space(setting, monkeypatch):
    assert Samples().missing(setting) is None and LatentSpaceProtocol().missing(setting) is None
    table = setting.run.model.latent_table.codes
    monkeypatch.setattr(table, "weight", torch.nn.Parameter(torch.ones_like(table.weight)))
    for protocol in (Samples(), LatentSpaceProtocol()):
        assert "rows that differ" in (protocol.missing(setting) or "")
    assert all(figure.value is None for figure in table_figures(torch.ones(4, 3)))


def test_the_picture_of_a_spectrum_shows_its_strongest_direction():
    picture = spectrum_picture(torch.tensor([0.7, 0.2, 0.1]))
    assert picture.dtype == np.uint8 and picture.shape == (320, 640, 3)
    assert (picture != picture[0, 0]).any()
