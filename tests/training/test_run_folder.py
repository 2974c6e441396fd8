"""The folder of a run: its name, and that two trainings never share it."""

import copy
import os
from pathlib import Path
from threading import Thread

import pytest
import tyro
from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion

from nerfgen_ns.datamanagers.data_manager import NerfgenDataManagerConfig
from nerfgen_ns.training.checkpoints import experiment_name, opened_config
from nerfgen_ns.training.trainer import NerfgenTrainerConfig
from tests.helpers.short_trainings import set_up, short_config


@pytest.fixture
def config(make_prepared, tmp_path: Path) -> NerfgenTrainerConfig:
    """A run of three steps on tiny images."""
    return short_config(make_prepared(), tmp_path / "out", 3, small=True)


def refused(config: NerfgenTrainerConfig, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said when a training may not begin, in one line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        config.save_config()
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("..", "home"),
        (".", "photos"),
        ("../photos/", "photos"),
        ("/", "unnamed"),
        ("x/../../photos", "photos"),
    ],
)
def test_a_run_is_called_as_the_folder_of_its_data(tmp_path, monkeypatch, data, name):
    photos = tmp_path / "home" / "photos"
    photos.mkdir(parents=True)
    monkeypatch.chdir(photos)
    assert experiment_name(Path(data)) == name


def test_a_run_is_called_as_the_folder_of_its_transforms(make_prepared):
    assert experiment_name(make_prepared() / "transforms.json") == "prepared"
    assert experiment_name(None) == "unnamed"


def test_data_above_the_current_folder_is_trained_on_within_the_output_folder(config, monkeypatch, tmp_path):
    inside = tmp_path / "prepared" / "images"
    monkeypatch.chdir(inside)
    config.pipeline.datamanager.data, config.experiment_name = Path(".."), None
    config.output_dir = tmp_path / "runs"
    config.save_config()
    assert [path.relative_to(config.output_dir) for path in config.output_dir.rglob("config.yml")] == [
        Path("prepared/nerfgen-tiny/run/config.yml")
    ]


@pytest.mark.parametrize("changes", [{"experiment_name": "../.."}, {"timestamp": "../../../../x"}])
def test_a_run_outside_the_output_folder_is_refused(config, capsys, tmp_path, changes):
    for name, value in changes.items():
        setattr(config, name, value)
    assert "--output-dir" in refused(config, capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared"]


def test_a_second_training_with_the_same_timestamp_leaves_the_first_one_as_it_is(config, capsys):
    trainer = set_up(config)
    config.save_config()
    trainer.save_checkpoint(40)
    again = copy.deepcopy(config)
    again.max_num_iterations = 1
    before = (trainer.base_dir / "config.yml").read_bytes()
    line = refused(again, capsys)
    assert "--timestamp" in line and str(trainer.base_dir) in line
    assert (trainer.base_dir / "config.yml").read_bytes() == before
    assert [path.name for path in trainer.checkpoint_dir.iterdir()] == ["step-000000040.ckpt"]


@pytest.mark.parametrize(
    "loaded", ["", "nerfstudio_models", "config.yml", "nerfstudio_models/step-000000002.ckpt"]
)
def test_a_training_goes_on_in_the_folder_that_it_goes_on_from(config, monkeypatch, loaded):
    trainer = set_up(config)
    config.save_config()
    trainer.save_checkpoint(2)
    monkeypatch.chdir(trainer.base_dir.parent)
    again = copy.deepcopy(config)
    again.load_checkpoint = Path(trainer.base_dir.name) / loaded
    again.save_config()
    assert again.get_base_dir() == trainer.base_dir


def test_trainings_that_begin_in_the_same_second_have_folders_of_their_own(config):
    folders = []
    for _ in range(3):
        one = copy.deepcopy(config)
        one.timestamp = "2026-01-02_030405"
        one.save_config()
        folders.append(one.get_base_dir().name)
    assert folders == ["2026-01-02_030405", "2026-01-02_030405-2", "2026-01-02_030405-3"]


def test_of_trainings_that_begin_together_one_has_the_folder(config, capsys):
    ends: list[object] = []

    def begin() -> None:
        try:
            ends.append(copy.deepcopy(config).save_config())
        except SystemExit as exit_:
            ends.append(exit_.code)

    threads = [Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends, key=str) == [2, 2, 2, None]


def test_a_configuration_is_opened_by_nerfstudio_alone():
    def eval_setup(config_path: str) -> Path | None:
        return opened_config()

    assert opened_config() is None
    assert eval_setup("a/config.yml") == Path("a/config.yml")


FACTOR = "--pipeline.datamanager.dataparser.downscale-factor"


def parsed(*arguments: str) -> NerfgenDataManagerConfig:
    """The data manager that `ns-train nerfgen-tiny` makes of arguments."""
    return tyro.cli(AnnotatedBaseConfigUnion, args=["nerfgen-tiny", *arguments]).pipeline.datamanager


@pytest.mark.parametrize(
    ("arguments", "data", "factor"),
    [
        (["nerfgen-data", "--data", "X", "--downscale-factor", "2"], "X", 2.0),
        (["--pipeline.datamanager.dataparser.downscale-factor", "2"], ".", 2.0),
        (
            ["--pipeline.datamanager.dataparser.downscale-factor", "4", "nerfgen-data", "--data", "X"],
            "X",
            4.0,
        ),
    ],
)
def test_the_data_parser_is_taken_as_an_option_and_as_a_subcommand(arguments, data, factor):
    manager = parsed(*arguments)
    manager.check()
    assert (manager.dataparser.data, manager.dataparser.downscale_factor) == (Path(data), factor)
    assert manager.dataparser_subcommand is None


def test_another_data_parser_is_refused_with_one_line(config, capsys):
    config.pipeline.datamanager.dataparser_subcommand = parsed("nerfstudio-data").dataparser_subcommand
    assert "nerfstudio-data: " in (line := refused(config, capsys)) and "nerfgen-data" in line
    assert not os.path.exists(config.output_dir)
