"""`nerfgen distill`: a run like any other that tells features too, and extractors that cannot be used."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup

import nerfgen_ns
from nerfgen_ns.datamanagers.dataset import open_dataset
from nerfgen_ns.errors import UsageError
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.runs.code_runs import unpack
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.pack import write_pack
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.distillation import distill, features_at, picture_features, with_features
from nerfgen_ns.semantics.labeling import label, labeled_photographs
from tests.helpers.feature_runs import FEW, Colors, offer
from tests.helpers.labeled_runs import FEW as FEW_LABELS
from tests.helpers.labeled_runs import write_masks


@pytest.fixture(autouse=True)
def colors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`Colors` is offered, and the cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    offer(monkeypatch, colors=Colors)


def rendered(run: Run, identity: int = 0) -> dict[str, torch.Tensor]:
    return run.render(run.code(identity), run.cameras[:1])


def test_geometry_and_colors_stay_as_they_are_to_the_bit(
    trained_config: Path, distilled_config: Path
) -> None:
    before, after = rendered(load_run(trained_config)), rendered(load_run(distilled_config))
    assert set(after) - set(before) == {"features"}
    for name, output in before.items():
        assert torch.equal(after[name], output), name
    assert after["features"].shape == after["rgb"].shape
    empty = after["accumulation"][..., 0] == 0
    assert bool((after["features"][empty] == 0.5).all())


def test_nerfstudio_opens_it_with_its_output_where_it_was_moved(
    distilled_config: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(distilled_config.parent, tmp_path / "moved")
    _, pipeline, _, _ = eval_setup(moved / "config.yml", test_mode="inference")
    assert isinstance(pipeline.model, NerfgenModel)
    run = load_run(distilled_config)
    camera = run.cameras[:1]
    camera.metadata = {"cam_idx": 0}
    outputs = pipeline.model.get_outputs_for_camera(camera)
    torch.testing.assert_close(outputs["features"], rendered(run)["features"])


def test_packed_runs_carry_the_features(distilled_config: Path, tmp_path: Path) -> None:
    run = load_run(distilled_config)
    write_pack(run, tmp_path / "a.safetensors")
    for made in (tmp_path / "a.safetensors", unpack(tmp_path / "a.safetensors", tmp_path / "unpacked")):
        other = load_run(made)
        shown = other.render(other.code(0), run.cameras[:1])["features"]
        torch.testing.assert_close(shown, rendered(run)["features"], rtol=0, atol=5e-3)
        assert torch.equal(other.feature_head.directions, run.feature_head.directions)


def test_a_run_may_have_labels_and_features_in_either_order(
    labeled_config: Path, distilled_config: Path, heads: Path, tmp_path: Path
) -> None:
    both = load_run(distill(labeled_config, "colors", tmp_path / "a", FEW).config)
    expected = rendered(load_run(labeled_config))
    assert torch.equal(rendered(both)["label_confidence"], expected["label_confidence"])
    assert labeled_photographs(both) == labeled_photographs(load_run(labeled_config)) != []
    masks = write_masks(heads, tmp_path / "masks", (2,))
    again = load_run(label(distilled_config, masks, tmp_path / "b", FEW_LABELS).config)
    assert torch.equal(rendered(again)["features"], rendered(load_run(distilled_config))["features"])
    assert labeled_photographs(again) == [2]
    relabeled = load_run(label(tmp_path / "a" / "config.yml", masks, tmp_path / "c", FEW_LABELS).config)
    assert labeled_photographs(relabeled) == [2] and labeled_photographs(both) == [0, 1]


def test_the_head_learns_what_the_extractor_sees(trained_config: Path) -> None:
    run = load_run(trained_config)
    few, more = (
        with_features(run, "colors", replace(FEW, steps=steps, dropout=0.0))[1]["agreement"]
        for steps in (1, 150)
    )
    assert more > few and more > 0.5
    assert run.model.feature_head is None


def test_features_are_computed_once_and_again_for_other_photographs(heads: Path, tmp_path: Path) -> None:
    photographs = open_dataset(heads)
    Colors.calls = 0
    first = picture_features(photographs, [0, 1], "colors", None, 3)
    assert Colors.calls == 2 and first.grids[0].shape == (16, 16, 3)
    again = picture_features(photographs, [0, 1], "colors", None, 3)
    assert Colors.calls == 2 and all(torch.equal(again.grids[own], first.grids[own]) for own in (0, 1))
    picture_features(photographs, [0, 2], "colors", None, 3)
    assert Colors.calls == 4
    for cached in (tmp_path / "cache" / "nerfgen" / "features").iterdir():
        cached.write_bytes(b"damaged")
    damaged = picture_features(photographs, [0, 1], "colors", None, 3)
    assert Colors.calls == 6 and torch.equal(damaged.grids[1], first.grids[1])


def test_all_directions_keep_all_of_the_features(heads: Path) -> None:
    made = picture_features(open_dataset(heads), [0], "colors", None, 99)
    assert made.directions.shape == (5, 5) and made.explained == pytest.approx(1.0)
    own = Colors()(open_dataset(heads).get_numpy_image(0))
    back = made.grids[0].float() @ made.directions.T + made.mean
    np.testing.assert_allclose(back.numpy(), own, atol=5e-3)


def test_features_are_read_at_the_middles_of_cells() -> None:
    grid = torch.arange(12.0).view(3, 4, 1)
    places = torch.tensor([[0.5 / 4, 0.5 / 3], [2.5 / 4, 1.5 / 3], [2.0 / 4, 1.5 / 3], [1.0, 1.0]])
    torch.testing.assert_close(features_at(grid, places)[:, 0], torch.tensor([0.0, 6.0, 5.5, 11.0]))


def test_the_command_and_python_distill(
    call_nerfgen: Callable[..., int], trained_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--load-config", trained_config, "--features", "colors", "--output-dir", tmp_path / "out")
    small = ("--steps", 2, "--most-rays", 500, "--dims", 2)
    assert call_nerfgen("distill", *arguments, *small) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "out" / "config.yml")
    report = json.loads((tmp_path / "out" / "distill.json").read_text())
    assert report["dims"] == 2 and report["channels"] == 5 and report["photographs"] == 3
    assert call_nerfgen("distill", *arguments, *small) == 0
    made = nerfgen_ns.load(trained_config).features("colors", FEW)
    assert "features" in made.render(made.codes[0], made.camera(size=16))


@pytest.mark.parametrize(
    ("found", "status"),
    [(np.full((4, 4, 2), np.nan), 1), (np.zeros((4, 4)), 1), (np.ones((4, 4, 2)), 1), (ValueError("x"), 1)],
)
def test_what_an_extractor_gets_wrong_is_one_line_and_nothing_is_written(
    found: object,
    status: int,
    call_nerfgen: Callable[..., int],
    trained_config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def odd(photograph: np.ndarray) -> object:
        if isinstance(found, Exception):
            raise found
        return found

    offer(monkeypatch, odd=lambda: odd)
    arguments = ("--load-config", trained_config, "--features", "odd", "--output-dir", tmp_path / "out")
    assert call_nerfgen("distill", *arguments) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and ("'odd'" in error or "--features" in error)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("cache/nerfgen/features/*"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--features", "nobodys"), "nobodys"),
        (("--dims", "0"), "--dims"),
        (("--photographs", "0"), "--photographs"),
        (("--features-file", "gone.pt"), "--features-file"),
        (("--features", "dino", "--features-file", "gone.pth"), "gone.pth"),
        (("--dropout", "1"), "--dropout"),
    ],
)
def test_wrong_options_are_refused(
    options: tuple[str, ...],
    named: str,
    call_nerfgen: Callable[..., int],
    trained_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("--load-config", trained_config, "--output-dir", tmp_path / "out", *options)
    assert call_nerfgen("distill", *arguments) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_foreign_folder_is_left_alone(trained_config: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="mine"):
        distill(trained_config, "colors", tmp_path / "mine", FEW)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]
