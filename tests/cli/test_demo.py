"""`nerfgen demo`, for real and small: interrupted, taken up again, finished, and found finished."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import pytest
import tyro

from nerfgen_ns.cli import demo
from nerfgen_ns.cli.demo import Demo, Stages
from nerfgen_ns.configs import nerfgen_tiny
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.model.config import NerfgenModelConfig
from nerfgen_ns.runs.launch import NS_TRAIN, STEP_LINE, Training
from nerfgen_ns.synthetic import ClassName

SIZE, HEADS, FRAMES = 16, 3, 6
MINUTES = 0.05
PRODUCTS = ("metrics.json", "contact_sheet.png", "turning.mp4", "morph.mp4")
PATIENCE = 240.0


def small_demo(folder: Path) -> list[str]:
    return [
        *(sys.executable, "-c", "from nerfgen_ns.cli.main import entrypoint; entrypoint()"),
        *("demo", "--output-dir", str(folder), "--training-minutes", str(MINUTES)),
        *("--identities", str(HEADS), "--picture-size", str(SIZE)),
    ]


def wait_for_training(process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (log.exists() and STEP_LINE.search(log.read_text())):
        assert process.poll() is None, "the demo ended before its training began"
        assert time.monotonic() < deadline, "no training step was printed"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str, int]:
    """A demo interrupted in training, then finished in this process with shorter videos: its folder, what the
    first call ended with and said, and the step of its checkpoint."""
    folder = tmp_path_factory.mktemp("demo") / "new"
    process = subprocess.Popen(
        small_demo(folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for_training(process, folder / "train.log")
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    left = {path.name for path in folder.iterdir()}
    assert left == {"demo.json", "train", "test", "demo", "train.log"}
    (checkpoint,) = folder.glob("demo/*/*/nerfstudio_models/*.ckpt")
    step = int(re.findall(r"\d+", checkpoint.name)[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "FRAMES", FRAMES)
        Demo(folder, training_minutes=MINUTES, identities=HEADS, picture_size=SIZE).run()
    return folder, process.returncode, said, step


def test_an_interruption_is_one_line_and_status_130(interrupted: tuple[Path, int, str, int]) -> None:
    _, status, said, _ = interrupted
    assert status == 130
    assert said.startswith("nerfgen: ") and said.count("\n") == 1


def test_an_interrupted_training_goes_on_where_it_was(interrupted: tuple[Path, int, str, int]) -> None:
    folder, _, _, step = interrupted
    training = json.loads((folder / "trained.json").read_text())
    assert training["steps"] > step
    assert training["seconds"] >= 60.0 * MINUTES
    assert "--load-dir" in Training(folder / "train", folder).command()


def test_figures_and_pictures_are_there(interrupted: tuple[Path, int, str, int]) -> None:
    folder = interrupted[0]
    figures = json.loads((folder / "metrics.json").read_text())
    assert figures["training"]["rays_per_second"] > 0
    assert figures["reconstruction"]["views"] == HEADS
    assert figures["new_views"]["views"] == 4 * HEADS
    assert figures["new_views"]["foreground_psnr"] > 5.0
    assert imageio.imread(folder / "turning.mp4").shape == (FRAMES, 4 * SIZE, 2 * SIZE * HEADS, 3)
    assert imageio.imread(folder / "morph.mp4").shape == (FRAMES, 4 * SIZE, 2 * SIZE, 3)
    assert imageio.imread(folder / "contact_sheet.png").ndim == 3


def test_a_second_demo_makes_nothing_and_says_so(
    interrupted: tuple[Path, int, str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = interrupted[0]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    Demo(folder, training_minutes=MINUTES, identities=HEADS, picture_size=SIZE).run()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
    printed = capsys.readouterr().out
    assert printed.count("used again") == 7
    for name in PRODUCTS:
        assert str(folder / name) in printed


def test_other_options_do_not_mix_with_a_demo_that_is_there(
    interrupted: tuple[Path, int, str, int],
) -> None:
    with pytest.raises(UsageError, match=rf"training_minutes {MINUTES}.* 0\.2"):
        Demo(interrupted[0], training_minutes=0.2, identities=HEADS, picture_size=SIZE).run()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"training_minutes": 0.0}, "--training-minutes"),
        ({"identities": 1}, "--identities"),
        ({"picture_size": 17}, "--picture-size"),
    ],
)
def test_an_option_out_of_range_is_named(tmp_path: Path, options: dict[str, float], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Demo(tmp_path / "new", **options).run()  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"/file: .*--output-dir"):
        Demo(tmp_path / "file").run()
    with pytest.raises(NerfgenError, match=r"file/demo/demo\.json: "):
        Demo(tmp_path / "file" / "demo").run()


def test_a_training_that_fails_is_told_with_its_last_line(tmp_path: Path) -> None:
    training = Training(tmp_path / "no such folder", tmp_path)
    with pytest.raises(NerfgenError, match=r"train\.log: .*no such folder"):
        training.run()


def trained_as(class_name: ClassName) -> NerfgenModelConfig:
    """What the method that ns-train is called with makes of the demo's options for a class."""
    training = Stages(Demo(Path("demo"), class_name=class_name)).training
    method, *options = training.command()[len(NS_TRAIN) :]
    assert method == nerfgen_tiny.config.method_name
    form: Any = tyro.conf.SuppressFixed[tyro.conf.FlagConversionOff[type(nerfgen_tiny.config)]]
    return tyro.cli(form, default=nerfgen_tiny.config, args=options).pipeline.model


def test_cars_are_trained_before_white_and_heads_with_a_background_of_their_own() -> None:
    cars, heads = trained_as("cars"), trained_as("heads")
    assert (cars.background.learned, cars.background.solid_color) == (False, (1.0, 1.0, 1.0))
    assert heads.background.learned


def test_a_demo_of_another_class_does_not_mix_in(tmp_path: Path) -> None:
    Demo(tmp_path, class_name="cars")._claim_folder()
    with pytest.raises(UsageError, match=r"class_name cars.* heads"):
        Demo(tmp_path).run()


def test_a_folder_that_holds_something_else_is_not_taken_for_data(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="/train: "):
        Demo(tmp_path).run()
