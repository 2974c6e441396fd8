"""`nerfgen sample`: what it writes, and what is said where it cannot."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import pytest
import torch

from nerfgen_ns.cli import sample
from nerfgen_ns.cli.sample import novelty_of
from nerfgen_ns.latents.code_files import read_codes
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.runs.loading import load_run

FRAMES = 4
PRODUCTS = {"contact_sheet.png", "turntable.mp4", "codes.npz", "novelty.json", "run"}


@pytest.fixture
def call(
    call_nerfgen: Callable[..., int], trained_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Call the command with further options and a short video; gives its exit status."""
    monkeypatch.setattr(sample, "FRAMES", FRAMES)

    def call(
        *options: object, load_config: Path = trained_config, output_dir: Path = tmp_path / "samples"
    ) -> int:
        run_and_folder = ("--load-config", load_config, "--output-dir", output_dir)
        return call_nerfgen("sample", *run_and_folder, "--num-samples", 2, "--picture-size", 16, *options)

    return call


def test_samples_are_shown_kept_and_made_a_run(
    call, trained_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--truncation", "0.5", "--seed", "3") == 0
    folder = tmp_path / "samples"
    assert {path.name for path in folder.iterdir()} == PRODUCTS
    run = load_run(trained_config)
    codes, names = read_codes(folder / "codes.npz", run.codes.shape[1])
    torch.testing.assert_close(codes, LatentSpace.of(run.codes).sample(2, 0.5, 3))
    assert names == ["0", "1"]
    torch.testing.assert_close(load_run(folder / "run" / "config.yml").codes, codes)
    assert iio.imread(folder / "contact_sheet.png").ndim == 3
    assert len(list(iio.imiter(folder / "turntable.mp4"))) == FRAMES
    novelty = json.loads((folder / "novelty.json").read_text())
    assert novelty["seed"] == 3 and len(novelty["samples"]) == 2
    assert f"{novelty['samples'][1]['relative']:.2f}" in capsys.readouterr().out


def test_an_earlier_call_is_replaced_and_a_folder_of_other_things_is_not(
    call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call() == 0
    before = (tmp_path / "samples" / "codes.npz").read_bytes()
    assert call("--seed", "5") == 0
    assert (tmp_path / "samples" / "codes.npz").read_bytes() != before
    (tmp_path / "samples" / "notes.txt").touch()
    capsys.readouterr()
    assert call() == 2
    assert str(tmp_path / "samples") in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {*PRODUCTS, "notes.txt"}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--truncation", "-0.1"),
        ("--truncation", "nan"),
        ("--seed", str(2**63)),
        ("--num-samples", "0"),
        ("--picture-size", "17"),
    ],
)
def test_an_option_out_of_range_has_status_2_and_writes_nothing(
    call, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    assert call(option, value) == 2
    error = capsys.readouterr().err
    assert option in error and value in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_run_without_a_checkpoint_has_status_2(
    call, trained_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / Path(*trained_config.parent.parts[-3:]) / "config.yml"
    bare.parent.mkdir(parents=True)
    bare.write_bytes(trained_config.read_bytes())
    assert call(load_config=bare) == 2
    error = capsys.readouterr().err
    assert str(bare.parent) in error and error.count("\n") == 1
    assert not (tmp_path / "samples").exists()


def test_an_unwritable_folder_has_status_1(call, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert call(output_dir=tmp_path / "file" / "samples") == 1
    error = capsys.readouterr().err
    assert "file/samples" in error and error.count("\n") == 1


def test_novelty_is_the_distance_to_the_nearest_row() -> None:
    table = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 3.0]])
    novelty = novelty_of(torch.tensor([[2.0, 1.0], [0.0, 0.0]]), table)
    assert novelty["usual_distance"] == 2.0
    assert novelty["samples"] == [
        {"sample": 0, "nearest_row": 1, "distance": 1.0, "relative": 0.5},
        {"sample": 1, "nearest_row": 0, "distance": 0.0, "relative": 0.0},
    ]


@pytest.mark.parametrize(("rows", "usual"), [(1, None), (2, 0.0)])
def test_novelty_is_relative_to_nothing_where_rows_do_not_differ(rows: int, usual: float | None) -> None:
    novelty = novelty_of(torch.ones(1, 2), torch.zeros(rows, 2))
    assert novelty["usual_distance"] == usual
    assert novelty["samples"][0]["relative"] is None
    assert math.isclose(novelty["samples"][0]["distance"], 2**0.5, rel_tol=1e-6)
