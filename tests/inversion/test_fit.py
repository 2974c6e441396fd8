"""`nerfgen fit` from its call to the run folder that it makes, and what it says where it cannot."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.latents.code_files import read_codes
from nerfgen_ns.runs.loading import load_run

FEW = ["--steps", "3", "--rays", "8"]


@pytest.fixture
def call(call_nerfgen: Callable[..., int]) -> Callable[..., int]:
    """Call the command with further options; gives its exit status."""
    return partial(call_nerfgen, "fit", *FEW)


def test_a_fit_makes_a_run_in_which_the_photographs_are_identities(
    call: Callable[..., int], trained_config: Path, heads: Path, tmp_path: Path
) -> None:
    output = tmp_path / "fitted"
    arguments = ("--load-config", trained_config, "--images", heads, "--output-dir", output)
    assert call(*arguments, "--tune-steps", 2, "--refine-cameras") == 0
    run = load_run(output / "config.yml")
    codes, names = read_codes(output / "codes.npz", 96)
    np.testing.assert_array_equal(run.codes, codes)
    assert len(names) == 3
    report = json.loads((output / "fit.json").read_text())
    assert [photograph["identity"] for photograph in report["photographs"]] == [0, 1, 2]
    assert all(photograph["psnr"] > 5 for photograph in report["photographs"])
    assert report["options"]["tune_steps"] == 2 and report["rejected"] == []
    with Image.open(output / "contact_sheet.png") as sheet:
        assert sheet.width > 3 * 128
    assert [path.name for path in tmp_path.iterdir()] == ["fitted"]
    trained = load_run(trained_config).model.foreground_field.rgb_head.weight
    assert not np.array_equal(run.model.foreground_field.rgb_head.weight.detach(), trained.detach())
    assert call(*arguments, "--one-object") == 0
    again = load_run(output / "config.yml")
    assert len(again.codes) == 1 and len(again.cameras) == 3


def test_photographs_without_cameras_are_fitted_with_cameras_found_by_rendering(
    call: Callable[..., int], trained_config: Path, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(1, 255, (40, 40, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cup.png")
    output = tmp_path / "fitted"
    arguments = ("--load-config", trained_config, "--images", tmp_path / "cup.png", "--output-dir", output)
    assert call(*arguments) == 2
    assert call(*arguments, "--search-cameras") == 0
    (photograph,) = json.loads((output / "fit.json").read_text())["photographs"]
    assert (photograph["name"], photograph["camera"]) == ("cup.png", "searched")


@pytest.mark.parametrize(
    ("images", "extra", "status", "named"),
    [
        ("missing.png", (), 2, "missing.png: "),
        ("empty", (), 2, "empty: "),
        ("torn.png", (), 1, "torn.png: "),
        ("empty", ("--prior-weight", "-1"), 2, "--prior-weight -1.0"),
        ("empty", ("--seed", str(2**63)), 2, f"--seed {2**63}"),
        ("empty", ("--learning-rate", "0"), 2, "--learning-rate 0.0"),
    ],
)
def test_a_wrong_call_ends_with_one_line_and_nothing_written(
    images: str,
    extra: tuple[str, ...],
    status: int,
    named: str,
    call: Callable[..., int],
    trained_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.png").write_bytes(b"no image")
    before = sorted(tmp_path.iterdir())
    arguments = ("--load-config", trained_config, "--output-dir", tmp_path / "out")
    assert call(*arguments, "--images", tmp_path / images, *extra) == status
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_run_without_checkpoint_and_a_foreign_output_are_refused(
    call: Callable[..., int],
    trained_config: Path,
    heads: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bare = tmp_path / Path(*trained_config.parent.parts[-3:]) / "config.yml"
    bare.parent.mkdir(parents=True)
    bare.write_bytes(trained_config.read_bytes())
    assert call("--load-config", bare, "--images", heads, "--output-dir", tmp_path / "out") == 2
    assert str(bare.parent) in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    arguments = ("--load-config", trained_config, "--images", heads)
    assert call(*arguments, "--output-dir", tmp_path / "mine") == 2
    assert f"{tmp_path / 'mine'}: " in capsys.readouterr().err
    assert call(*arguments, "--output-dir", tmp_path / "mine" / "letter.txt" / "out") == 1
    assert str(tmp_path / "mine" / "letter.txt") in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]
