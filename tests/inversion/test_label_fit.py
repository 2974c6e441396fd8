"""`nerfgen fit` with label maps: beside photographs, and alone."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfgen_ns.inversion.config import FitConfig
from nerfgen_ns.inversion.inversion import find
from nerfgen_ns.inversion.latent_fit import label_surprise
from nerfgen_ns.runs.loading import load_run
from tests.helpers.labeled_runs import write_masks

FEW = ("--steps", "3", "--rays", "8")


@pytest.fixture
def call(call_nerfgen: Callable[..., int], labeled_config: Path) -> Callable[..., int]:
    """Call the command with further options; gives its exit status."""
    return partial(call_nerfgen, "fit", *FEW, "--load-config", labeled_config)


def test_label_maps_beside_photographs_are_fitted_and_the_new_run_has_labels(
    call: Callable[..., int], heads: Path, tmp_path: Path
) -> None:
    masks, output = write_masks(heads, tmp_path / "masks", (0, 2)), tmp_path / "out"
    assert call("--images", heads, "--label-maps", masks, "--output-dir", output) == 0
    photographs = json.loads((output / "fit.json").read_text())["photographs"]
    assert [photograph["label_agreement"] is not None for photograph in photographs] == [True, False, True]
    assert all(photograph["psnr"] > 5 for photograph in photographs)
    run = load_run(output / "config.yml")
    assert "labels" in run.render(run.code(0), run.cameras[:1])


def test_labels_change_the_code_that_a_photograph_is_given(
    labeled_config: Path, heads: Path, tmp_path: Path
) -> None:
    run = load_run(labeled_config)
    masks = write_masks(heads, tmp_path / "masks")
    codes = {}
    for name, weight in (("none", 0.0), ("some", 1.0)):
        config = FitConfig(steps=3, rays=8, label_loss_mult=weight)
        (tmp_path / name).mkdir()
        codes[name] = find(run, [heads], config, tmp_path / name, label_maps=masks).codes
    (tmp_path / "plain").mkdir()
    plain = find(run, [heads], FitConfig(steps=3, rays=8), tmp_path / "plain").codes
    torch.testing.assert_close(codes["none"], plain)
    assert not torch.allclose(codes["some"], plain)


def test_label_maps_alone_are_fitted_by_the_cameras_of_their_folder(
    call: Callable[..., int], heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nerfgen_ns.inversion.inversion.LEAST_AGREEMENT", 0.0)
    output = tmp_path / "out"
    assert call("--label-maps", heads, "--output-dir", output) == 0
    photographs = json.loads((output / "fit.json").read_text())["photographs"]
    assert [photograph["psnr"] for photograph in photographs] == [None] * 3
    assert all(0 <= photograph["label_agreement"] <= 1 for photograph in photographs)
    run = load_run(output / "config.yml")
    drawn = np.asarray(Image.open(run.record.images[0]).convert("RGB"))
    truth = np.asarray(Image.open(sorted((heads / "semantics").iterdir())[0]))
    np.testing.assert_array_equal(drawn, run.legend.picture(truth))


def test_label_maps_without_cameras_are_fitted_where_cameras_are_searched(
    call: Callable[..., int], heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nerfgen_ns.inversion.inversion.LEAST_AGREEMENT", 0.0)
    masks = write_masks(heads, tmp_path / "masks", (1,))
    arguments = ("--label-maps", masks, "--output-dir", tmp_path / "out")
    assert call(*arguments) == 2
    assert call(*arguments, "--search-cameras") == 0
    (photograph,) = json.loads((tmp_path / "out" / "fit.json").read_text())["photographs"]
    assert photograph["camera"] == "searched"


def test_a_label_map_that_no_code_explains_is_named(
    call: Callable[..., int],
    heads: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("nerfgen_ns.inversion.inversion.LEAST_AGREEMENT", 1.1)
    assert call("--label-maps", heads, "--output-dir", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert ".png: " in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_run_without_labels_and_labels_that_it_does_not_know_are_refused(
    call: Callable[..., int],
    call_nerfgen: Callable[..., int],
    trained_config: Path,
    heads: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("--label-maps", heads, "--output-dir", tmp_path / "out")
    assert call_nerfgen("fit", "--load-config", trained_config, *arguments) == 2
    assert "nerfgen label" in capsys.readouterr().err
    masks = write_masks(heads, tmp_path / "masks", (0,))
    shutil.copyfile(masks / "labels.json", tmp_path / "labels.json")
    (masks / "labels.json").write_text('{"names": ["a", "b", "c", "d", "e", "f"]}')
    assert call("--images", heads, "--label-maps", masks, "--output-dir", tmp_path / "out") == 2
    assert "masks" in capsys.readouterr().err


def test_the_surprise_of_labels_is_zero_where_they_are_certain_or_unknown() -> None:
    probabilities = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    batch = {"label": torch.tensor([0, 255, 1])}
    surprise = label_surprise({"label_probabilities": probabilities}, batch)
    assert surprise[:2].tolist() == [0.0, 0.0]
    torch.testing.assert_close(surprise[2], torch.tensor(2.0).log())
