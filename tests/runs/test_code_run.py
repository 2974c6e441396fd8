"""A run folder made of codes: it renders them, moves with its folder, and replaces nothing else."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from nerfstudio.utils.eval_utils import eval_setup

from nerfgen_ns.cli.pin import Pin
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.runs.code_runs import usual_camera, write_code_run, write_rendered_photographs
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run


@pytest.fixture(scope="module")
def run(trained_config: Path) -> Run:
    return load_run(trained_config)


@pytest.fixture(scope="module")
def codes(run: Run) -> torch.Tensor:
    return torch.cat([run.codes.mean(dim=0, keepdim=True) + 2.0, run.codes[[2, 0]], run.codes[:1] - 1.0])


@pytest.fixture(scope="module")
def photographed(run: Run, codes: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographed") / "data"
    write_rendered_photographs(run, codes, folder)
    return folder


@pytest.fixture
def prepared(photographed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(photographed, tmp_path / "prepared"))


@pytest.fixture
def written(run: Run, codes: torch.Tensor, prepared: Path, tmp_path: Path) -> Path:
    return write_code_run(run, codes, prepared, tmp_path / "made")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in ("rgb", "accumulation", "depth"))


def test_the_codes_are_the_identities_of_the_run(
    run: Run, codes: torch.Tensor, prepared: Path, written: Path
) -> None:
    assert written == prepared.parent / "made" / "config.yml"
    assert not prepared.exists()
    made = load_run(written)
    torch.testing.assert_close(made.codes, codes, rtol=0.0, atol=0.0)
    assert made.step == run.step
    assert made.data == written.parent / "data"
    for row in range(len(codes)):
        camera = made.cameras[row : row + 1]
        assert camera.metadata is not None and camera.metadata["cam_idx"].item() == row
        assert same(made.render(made.code(row), camera), run.render(codes[row : row + 1], usual_camera(run)))


def test_the_checkpoint_holds_no_optimizer_and_nothing_pickled(written: Path) -> None:
    (checkpoint,) = (written.parent / "nerfstudio_models").iterdir()
    contents = torch.load(checkpoint, weights_only=True)
    assert contents["optimizers"] == {}
    assert {name.split(".")[0] for name in contents["pipeline"]} == {"_model"}
    assert len(load_run(written).codes) == 4


def test_a_full_disk_is_named_with_the_file_where_it_would_lie(
    run: Run, codes: torch.Tensor, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("enforce fail at inline_container.cc")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(NerfgenError, match="made/nerfstudio_models/step-"):
        write_code_run(run, codes, prepared, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_networks_can_be_replaced(run: Run, codes: torch.Tensor, prepared: Path, tmp_path: Path) -> None:
    name, tensor = next(iter(run.model.foreground_field.named_parameters()))
    state = {f"foreground_field.{name}": torch.zeros_like(tensor)}
    made = load_run(write_code_run(run, codes, prepared, tmp_path / "made", state))
    assert not dict(made.model.foreground_field.named_parameters())[name].any()
    assert dict(run.model.foreground_field.named_parameters())[name].any()


def test_nerfstudio_loads_it_from_any_working_directory_and_after_a_move(
    written: Path, codes: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    _, pipeline, _, _ = eval_setup(written, test_mode="test")
    torch.testing.assert_close(pipeline.model.latent_table.codes.weight.detach(), codes)

    written.parent.rename(elsewhere / "moved")
    config, pipeline, _, _ = eval_setup(Path("moved/config.yml"), test_mode="test")
    torch.testing.assert_close(pipeline.model.latent_table.codes.weight.detach(), codes)
    assert config.get_base_dir() == elsewhere / "moved"
    assert pipeline.datamanager.get_datapath() == elsewhere / "moved" / "data"


def test_a_pinned_identity_is_shown(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Pin(load_config=written, identity=3).run()
    pinned = load_run(Path(capsys.readouterr().out.strip()))
    camera = pinned.cameras[:1]
    expected = pinned.render(pinned.code(3), camera)
    camera.metadata = None
    assert same(pinned.model.get_outputs_for_camera(camera), expected)


def test_a_run_of_codes_is_made_of_a_run_of_codes(written: Path, tmp_path: Path) -> None:
    made = load_run(written)
    write_rendered_photographs(made, made.codes[1:], tmp_path / "again")
    again = load_run(write_code_run(made, made.codes[1:], tmp_path / "again", tmp_path / "second"))
    torch.testing.assert_close(again.codes, made.codes[1:], rtol=0.0, atol=0.0)


def test_its_photographs_are_read_as_the_class_frame_and_all_of_them_are_shown(
    run: Run, written: Path
) -> None:
    config = yaml.load(written.read_text(), Loader=yaml.Loader)
    dataparser = config.pipeline.datamanager.dataparser
    assert (dataparser.downscale_factor, dataparser.scale_factor, dataparser.eval_fraction) == (
        None,
        1.0,
        0.0,
    )
    torch.testing.assert_close(
        load_run(written).cameras[0].camera_to_worlds, usual_camera(run).camera_to_worlds[0]
    )


def test_an_own_folder_is_replaced_and_another_is_not(
    run: Run, codes: torch.Tensor, photographed: Path, written: Path, trained_config: Path, tmp_path: Path
) -> None:
    shutil.copytree(photographed, tmp_path / "second")
    assert write_code_run(run, codes.flip(0), tmp_path / "second", written.parent) == written
    torch.testing.assert_close(load_run(written).codes, codes.flip(0))

    shutil.copytree(photographed, tmp_path / "third")
    shutil.copytree(trained_config.parent, tmp_path / "trained")
    with pytest.raises(UsageError, match="/trained: "):
        write_code_run(run, codes, tmp_path / "third", tmp_path / "trained")
    assert len(load_run(tmp_path / "trained" / "config.yml").codes) == 3
    assert (tmp_path / "third").exists()


def test_a_folder_that_cannot_be_written_is_named(
    run: Run, codes: torch.Tensor, prepared: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NerfgenError, match="/file/made: "):
        write_code_run(run, codes, prepared, tmp_path / "file" / "made")
    assert prepared.exists()


def test_codes_and_identities_must_go_together(
    run: Run, codes: torch.Tensor, prepared: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"/prepared: .*\b4\b.*\b3\b"):
        write_code_run(run, codes[1:], prepared, tmp_path / "made")
    assert not (tmp_path / "made").exists()
    assert prepared.exists()
