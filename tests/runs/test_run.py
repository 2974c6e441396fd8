"""Loading a run, rendering with it, and what is said where it cannot be loaded."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.utils.eval_utils import eval_setup

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.runs.code_runs import usual_camera, write_rendered_photographs
from nerfgen_ns.runs.loading import load_run, read_config
from nerfgen_ns.synthetic.dataset import write_dataset
from tests.helpers.short_trainings import set_up, short_config


@pytest.fixture
def copied_run(trained_config: Path, tmp_path: Path) -> Path:
    """The config.yml of a copy of the run in another place."""
    run_dir = tmp_path / "moved" / Path(*trained_config.parent.parts[-3:])
    shutil.copytree(trained_config.parent, run_dir)
    return run_dir / "config.yml"


def test_a_run_renders_its_identities(trained_config: Path, heads: Path) -> None:
    run = load_run(trained_config)
    assert run.codes.shape == (3, 96)
    assert run.data == heads
    assert run.step == 3
    outputs = run.render(run.code(2), run.cameras[1:2])
    assert outputs["rgb"].shape == (32, 32, 3)
    assert set(outputs) >= {"rgb", "foreground", "background", "accumulation", "depth", "normals"}


def test_a_row_and_its_code_render_the_same_and_another_code_does_not(trained_config: Path) -> None:
    run = load_run(trained_config)
    camera = run.cameras[:1]
    by_row, by_code = run.render(run.code(2), camera)["rgb"], run.render(run.codes[2:3], camera)["rgb"]
    torch.testing.assert_close(by_row, by_code, rtol=0.0, atol=0.0)
    assert not torch.equal(by_row, run.render(run.codes[2:3] + 1.0, camera)["rgb"])


def test_an_identity_that_does_not_exist_and_a_code_of_another_size_are_refused(trained_config: Path) -> None:
    run = load_run(trained_config)
    with pytest.raises(UsageError, match=r"identity 3\b.* 0 .* 2$"):
        run.code(3)
    with pytest.raises(UsageError, match=r"\b4\b.*\b96\b"):
        run.render(run.codes[:1, :4], run.cameras[:1])


def test_threads_that_share_a_run_each_see_what_they_ask_for(trained_config: Path) -> None:
    run = load_run(trained_config)
    codes = [(-1.0) ** row * (row + 1) * torch.ones(1, run.codes.shape[1]) for row in range(8)]
    camera = run.cameras[:1]
    alone = [run.render(code, camera)["rgb"] for code in codes]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda row: run.render(codes[row % 8], camera)["rgb"], range(48)))
    for row, picture in enumerate(together):
        torch.testing.assert_close(picture, alone[row % 8], rtol=0.0, atol=1e-5)
    assert len({picture.mean().item() for picture in alone}) == 8


def test_loading_prints_nothing(trained_config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_run(trained_config)
    assert capfd.readouterr().out == ""


def test_a_moved_run_is_found(copied_run: Path, trained_config: Path) -> None:
    assert load_run(copied_run).step == load_run(trained_config).step
    (copied_run.parent / "nerfstudio_models").rename(copied_run.parent / "elsewhere")
    with pytest.raises(UsageError, match=r"/moved/.*/nerfstudio_models: "):
        load_run(copied_run)


def test_a_configuration_is_read_as_values_and_nothing_that_it_names_is_called(
    trained_config: Path, tmp_path: Path
) -> None:
    values = read_config(trained_config)
    assert values["method_name"] == "nerfgen-tiny" and isinstance(values["output_dir"], Path)
    assert values["pipeline"]["model"]["foreground"]["hidden_dim"] == 64
    evil = tmp_path / "config.yml"
    call = f"!!python/object/apply:os.system ['touch {tmp_path}/called']"
    evil.write_text(
        trained_config.read_text() + f"extra: {call}\nmore: !!python/object/new:os.system ['x']\n"
    )
    assert read_config(evil)["extra"] is None
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("kind", ["list", "merge"])
def test_a_configuration_that_unfolds_to_gigabytes_is_refused_at_once(copied_run: Path, kind: str) -> None:
    first, rest = copied_run.read_text().split("\n", 1)
    lines = ["x0: &x0 [l, l]"] if kind == "list" else ["x0: &x0 {a: 1}"]
    for level in range(1, 10):
        before = ", ".join([f"*x{level - 1}"] * 10)
        lines.append(f"x{level}: &x{level} " + (f"[{before}]" if kind == "list" else f"{{<<: [{before}]}}"))
    rest = rest.replace("latent_dim: 96", "latent_dim: *x9")
    copied_run.write_text("\n".join([first, *lines, rest]))
    with pytest.raises(UsageError, match=r"config\.yml"):
        load_run(copied_run)


@pytest.mark.parametrize(
    "change", [("hidden_dim: 64", "hidden_dim: wide"), ("hidden_dim: 64", "breadth: 64")]
)
def test_an_option_that_does_not_exist_or_is_of_another_type_is_named(
    copied_run: Path, change: tuple[str, str]
) -> None:
    copied_run.write_text(copied_run.read_text().replace(*change, 1))
    with pytest.raises(UsageError, match=change[1].split(":")[0]) as error:
        load_run(copied_run)
    assert str(copied_run) in str(error.value)


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config\.yml: .*--load-config"):
        load_run(tmp_path / "config.yml")


@pytest.mark.parametrize("text", ["a: 1\n", "{", "\x00", "!!python/object:no.such.Class {}\n"])
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yml").write_text(text)
    with pytest.raises(UsageError, match=r"config\.yml: .*--load-config"):
        load_run(tmp_path / "config.yml")


def test_a_run_of_another_method_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text(yaml.dump(all_methods["vanilla-nerf"]))
    with pytest.raises(UsageError, match=r"config\.yml: .*--load-config"):
        load_run(tmp_path / "config.yml")


def test_a_damaged_checkpoint_is_named(copied_run: Path) -> None:
    (checkpoint,) = (copied_run.parent / "nerfstudio_models").glob("*.ckpt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(NerfgenError, match=f"{checkpoint.name}: "):
        load_run(copied_run)


def test_a_checkpoint_of_another_configuration_is_refused(
    copied_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied_run.write_text(copied_run.read_text().replace("latent_dim: 96", "latent_dim: 32"))
    with pytest.raises(UsageError, match=r"latent_dim\b.*\b32\b.*\b96\b"):
        load_run(copied_run)
    with pytest.raises(SystemExit, match="2"):
        eval_setup(copied_run)
    assert "config.yml" in capsys.readouterr().err


def test_a_run_starts_without_what_it_does_not_need(trained_config: Path) -> None:
    """Every method's options, nerfstudio's trainer and its viewer take most of the time of a start."""
    script = f"""
import sys
import nerfgen_ns
run = nerfgen_ns.load({str(trained_config)!r}).run
run.render(run.code(0), run.cameras[:1])
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    slow = {
        "nerfstudio.configs.method_configs", "nerfstudio.utils.eval_utils", "nerfstudio.engine.trainer",
        "nerfstudio.models.splatfacto", "nerfstudio.viewer.viewer", "nerfgen_ns.configs", "mediapipe",
        "wandb", "nerfgen_ns.training.trainer", "nerfgen_ns.viewer.panel", "trimesh", "gsplat",
    }  # fmt: skip
    assert not slow & set(done.stdout.split())


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data and a run on it, trained with paths relative to the folder."""
    project = tmp_path / "project"
    write_dataset(project / "data", 3, size=16)
    monkeypatch.chdir(project)
    config = short_config(Path("data"), Path("outputs"), 1, small=True)
    config.save_config()
    config.logging.relative_log_dir = tmp_path / "logs"  # not moved, for what writes logs after this test
    set_up(config).save_checkpoint(0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "nerfgen_ns.preprocessing.prepare.prepare", lambda config: pytest.fail("it was prepared")
    )
    return project


RUN = Path("outputs/test/nerfgen-tiny/run")


def test_a_run_opens_from_anywhere_with_its_data_and_without(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras = load_run(project / RUN / "config.yml").cameras.camera_to_worlds
    moved = project.rename(tmp_path / "moved")
    (tmp_path / "elsewhere" / "data").mkdir(parents=True)  # another folder of the same name
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = load_run(Path("../moved") / RUN / "config.yml")
    assert run.photographs == moved / "data"
    assert torch.equal(run.cameras.camera_to_worlds, cameras)
    _, pipeline, _, _ = eval_setup(Path("../moved") / RUN / "config.yml", test_mode="test")
    assert pipeline.datamanager.get_datapath() == moved / "data"

    alone = shutil.copytree(moved / RUN, tmp_path / "alone")
    shutil.rmtree(moved)
    run = load_run(alone / "config.yml")
    assert torch.equal(run.cameras.camera_to_worlds, cameras)
    assert run.render(run.code(1), run.cameras[:1])["rgb"].shape == (16, 16, 3)
    assert usual_camera(run).width.item() == 16
    write_rendered_photographs(run, run.codes, tmp_path / "rendered")
    with pytest.raises(UsageError, match="data: "):
        _ = run.photographs
    _, pipeline, _, _ = eval_setup(alone / "config.yml", test_mode="test")
    assert len(pipeline.datamanager.next_train(0)[0]) == 32


def test_a_photograph_that_is_added_leaves_the_run_as_it_was(project: Path) -> None:
    transforms = json.loads((project / "data/transforms.json").read_text())
    transforms["frames"].append({**transforms["frames"][0], "identity": 99, "file_path": "images/new.png"})
    shutil.copyfile(project / "data" / transforms["frames"][0]["file_path"], project / "data/images/new.png")
    (project / "data/transforms.json").write_text(json.dumps(transforms))
    run = load_run(project / RUN / "config.yml")
    assert len(run.codes) == len(run.cameras) == 3


def test_other_files_beside_the_checkpoints_are_left_alone(project: Path) -> None:
    for name in (".DS_Store", "notes.txt", "step-x.ckpt", "step-000000009.ckpt.part"):
        (project / RUN / "nerfstudio_models" / name).touch()
    assert load_run(project / RUN / "config.yml").step == 0
    assert eval_setup(project / RUN / "config.yml", test_mode="inference")[3] == 0


def test_a_run_that_went_on_from_a_step_opens_with_its_own_checkpoint(project: Path) -> None:
    config = project / RUN / "config.yml"
    config.write_text(config.read_text().replace("load_step: null", "load_step: 7"))
    assert "load_step: 7" in config.read_text()
    assert eval_setup(config, test_mode="inference")[3] == 0


def test_a_run_that_has_lost_what_it_kept_is_named(project: Path) -> None:
    (project / RUN / "photographs.npz").unlink()
    with pytest.raises(UsageError, match=r"photographs\.npz"):
        load_run(project / RUN / "config.yml")
