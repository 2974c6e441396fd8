"""The trainer: the budget, checkpoints and interruptions."""

import math
import re
from pathlib import Path

import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup
from PIL import Image

from nerfgen_ns.errors import UsageError
from nerfgen_ns.training.optimizers import BudgetDecay, BudgetDecayConfig
from nerfgen_ns.training.trainer import NerfgenTrainer, NerfgenTrainerConfig, loggers_in_one_line
from tests.helpers.short_trainings import set_up, short_config


@pytest.fixture
def config(make_prepared, tmp_path) -> NerfgenTrainerConfig:
    """A run of three steps on tiny images."""
    return short_config(make_prepared(), tmp_path / "out", 3, small=True)


def checkpoints_of(trainer: NerfgenTrainer) -> list[str]:
    return sorted(path.name for path in trainer.checkpoint_dir.iterdir())


def decay_of(*, max_steps=None, minutes=None, **options) -> BudgetDecay:
    decay = BudgetDecay(BudgetDecayConfig(**{"warmup_steps": 0, "final_ratio": 0.01, **options}))
    decay.max_steps, decay.minutes = max_steps, minutes
    return decay


def test_decay_is_exponential_in_the_steps():
    decay = decay_of(max_steps=1000)
    for step, factor in ((0, 1.0), (500, 0.1), (1000, 0.01), (5000, 0.01)):
        assert decay(step) == pytest.approx(factor)


def test_decay_is_exponential_in_the_time():
    decay = decay_of(minutes=2.0)
    for seconds, factor in ((0.0, 1.0), (60.0, 0.1), (120.0, 0.01), (999.0, 0.01)):
        decay.seconds = seconds
        assert decay(7) == pytest.approx(factor)


def test_decay_follows_whichever_of_steps_and_time_ends_first():
    decay = decay_of(max_steps=1000, minutes=2.0)
    decay.seconds = 60.0
    assert decay(100) == pytest.approx(0.1)
    assert decay(1000) == pytest.approx(0.01)


def test_the_learning_rate_rises_over_the_first_steps():
    decay = decay_of(warmup_steps=9)
    assert [decay(step) for step in (0, 4, 9, 20)] == pytest.approx([0.1, 0.5, 1.0, 1.0])


def test_the_cooldown_ends_at_zero_and_leaves_what_is_before_it():
    decay, plain = decay_of(max_steps=1000, cooldown=0.25), decay_of(max_steps=1000)
    assert [decay(step) for step in (0, 400, 750)] == [plain(step) for step in (0, 400, 750)]
    assert decay(875) == pytest.approx(0.5 * plain(875))
    assert decay(1000) == 0.0


def test_the_scheduler_s_state_is_the_spent_time_alone():
    parameter = torch.nn.Parameter(torch.zeros(1))

    def scheduler_of(final_ratio: float):
        optimizer = torch.optim.SGD([parameter], lr=1.0)
        decay_config = BudgetDecayConfig(warmup_steps=0, final_ratio=final_ratio)
        scheduler = decay_config.setup().get_scheduler(optimizer, 1.0)
        scheduler.lr_lambdas[0].minutes = 1.0
        return scheduler

    old, new = scheduler_of(0.5), scheduler_of(0.01)
    old.lr_lambdas[0].seconds = 30.0
    assert old.state_dict()["lr_lambdas"] == [{"seconds": 30.0}]
    new.load_state_dict(old.state_dict())
    assert new.lr_lambdas[0](0) == pytest.approx(0.1)


def test_a_checkpoint_holds_only_what_torch_loads_safely_and_a_run_goes_on_from_it(config):
    first = set_up(config, training_minutes=100.0)
    first.train()
    assert checkpoints_of(first) == ["step-000000002.ckpt"]
    state = torch.load(first.checkpoint_dir / "step-000000002.ckpt", weights_only=True)
    assert state["step"] == 2
    spent = [decay.seconds for decay in first.decays]
    assert len(spent) == 2 and min(spent) > 0

    second = set_up(config, timestamp="again", load_dir=first.checkpoint_dir, training_minutes=100.0)
    assert second._start_step == 3
    assert [decay.seconds for decay in second.decays] == spent
    for name, value in first.pipeline.state_dict().items():
        torch.testing.assert_close(second.pipeline.state_dict()[name], value)
    second.train()
    assert checkpoints_of(second) == ["step-000000005.ckpt"]
    assert all(decay.seconds > before for decay, before in zip(second.decays, spent, strict=True))


def test_training_ends_when_the_minutes_are_spent(config):
    trainer = set_up(config, max_num_iterations=1000, training_minutes=1e-9)
    trainer.train()
    assert trainer.step == 1


def test_old_checkpoints_go_when_a_new_one_is_whole_unless_asked_to_stay(config):
    trainer = set_up(config)
    for step in (1, 2):
        trainer.save_checkpoint(step)
    assert checkpoints_of(trainer) == ["step-000000002.ckpt"]
    trainer.config.save_only_latest_checkpoint = False
    trainer.save_checkpoint(3)
    assert checkpoints_of(trainer) == ["step-000000002.ckpt", "step-000000003.ckpt"]


def spoil_saving(monkeypatch, error: BaseException) -> None:
    def save_half(state, path):
        Path(path).write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", save_half)


def test_an_interrupted_save_leaves_the_checkpoint_before_it(config, monkeypatch):
    trainer = set_up(config)
    trainer.save_checkpoint(1)
    before = (trainer.checkpoint_dir / "step-000000001.ckpt").read_bytes()
    files = {path.name for path in trainer.base_dir.iterdir()}
    spoil_saving(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        trainer.save_checkpoint(2)
    assert checkpoints_of(trainer) == ["step-000000001.ckpt"]
    assert (trainer.checkpoint_dir / "step-000000001.ckpt").read_bytes() == before
    assert {path.name for path in trainer.base_dir.iterdir()} == files


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("failed writing")])
def test_a_full_disk_ends_training_with_one_line_and_keeps_the_checkpoint(config, monkeypatch, capsys, error):
    trainer = set_up(config)
    trainer.save_checkpoint(1)
    capsys.readouterr()
    spoil_saving(monkeypatch, error)
    with pytest.raises(SystemExit) as exit_:
        trainer.save_checkpoint(2)
    assert exit_.value.code == 1
    assert checkpoints_of(trainer) == ["step-000000001.ckpt"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and str(trainer.checkpoint_dir) in lines[0]


def test_an_interruption_saves_what_is_trained(config, monkeypatch, capsys):
    trainer = set_up(config, max_num_iterations=1000)
    iterate = trainer.train_iteration

    def interrupted_at_4(step):
        if step == 4:
            raise KeyboardInterrupt
        return iterate(step)

    monkeypatch.setattr(trainer, "train_iteration", interrupted_at_4)
    with pytest.raises(SystemExit) as exit_:
        trainer.train()
    assert exit_.value.code == 130
    assert f"--load-dir {trainer.checkpoint_dir}" in capsys.readouterr().err
    (name,) = checkpoints_of(trainer)
    resumed = set_up(config, load_dir=trainer.checkpoint_dir)
    torch.testing.assert_close(
        resumed.pipeline.model.latent_table.mean(), trainer.pipeline.model.latent_table.mean()
    )
    assert name == f"step-{resumed._start_step - 1:09d}.ckpt"


@pytest.mark.parametrize("content", [None, [], ["config.yml"], ["step-000000007.ckpt"]])
def test_a_folder_without_a_checkpoint_ends_the_command_with_one_line(config, tmp_path, capsys, content):
    load_dir = tmp_path / "load"
    if content is not None:
        load_dir.mkdir()
        for name in content:
            (load_dir / name).write_bytes(b"cut off")
    with pytest.raises(SystemExit) as exit_:
        set_up(config, load_dir=load_dir)
    assert exit_.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and str(load_dir) in lines[0] and "--load-dir" in lines[0]


def test_an_output_folder_that_cannot_be_made_ends_the_command_with_one_line(config, tmp_path, capsys):
    (tmp_path / "file").touch()
    config.output_dir = tmp_path / "file" / "out"
    with pytest.raises(SystemExit) as exit_:
        config.save_config()
    assert exit_.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "--output-dir" in lines[0]


def test_a_checkpoint_of_another_configuration_ends_the_command_with_one_line(config, capsys):
    trainer = set_up(config)
    trainer.save_checkpoint(1)
    capsys.readouterr()
    config.pipeline.model.foreground.hidden_dim = 32
    with pytest.raises(SystemExit) as exit_:
        set_up(config, load_dir=trainer.checkpoint_dir)
    assert exit_.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "foreground_field" in lines[0] and "config.yml" in lines[0]


@pytest.mark.parametrize("content", [None, b"cut off"])
def test_a_file_that_is_no_checkpoint_ends_the_command_with_one_line(config, tmp_path, capsys, content):
    file = tmp_path / "file.ckpt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SystemExit) as exit_:
        set_up(config, load_checkpoint=file)
    assert exit_.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and str(file) in lines[0] and "--load-checkpoint" in lines[0]


@pytest.mark.parametrize(("content", "status"), [(None, 2), ([], 2), (["step-000000007.ckpt"], 1)])
def test_a_run_is_shown_only_with_a_whole_checkpoint(config, capsys, content, status):
    """nerfstudio's commands for finished runs ask for the folder of its checkpoints first."""
    config.save_config()
    folder = config.get_checkpoint_dir()
    if content is not None:
        folder.mkdir(parents=True)
        for name in content:
            (folder / name).write_bytes(b"cut off")
    with pytest.raises(SystemExit) as exit_:
        eval_setup(config.get_base_dir() / "config.yml")
    assert exit_.value.code == status
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and str(folder) in lines[0]


def test_a_run_that_never_began_leaves_nothing_behind(config, tmp_path, capsys):
    config.save_config()
    config.pipeline.model.identity = 99
    with pytest.raises(SystemExit):
        set_up(config)
    assert "identity 99" in capsys.readouterr().err
    assert list(config.output_dir.iterdir()) == []


def test_a_run_that_began_stays_when_going_on_from_it_fails(config):
    trainer = set_up(config)
    config.save_config()
    trainer.save_checkpoint(1)
    config.pipeline.model.identity = 99
    with pytest.raises(SystemExit):
        set_up(config)
    assert {path.name for path in trainer.base_dir.iterdir()} >= {"config.yml", "nerfstudio_models"}


def test_an_interruption_before_training_says_so_and_leaves_nothing_behind(config, monkeypatch, capsys):
    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    config.save_config()
    monkeypatch.setattr("nerfstudio.engine.trainer.Trainer.setup", interrupt)
    with pytest.raises(SystemExit) as exit_:
        set_up(config)
    assert exit_.value.code == 130
    assert capsys.readouterr().err.strip().startswith("nerfgen: ")
    assert list(config.output_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "change"),
    [
        ("--max-num-iterations 0", lambda config: setattr(config, "max_num_iterations", 0)),
        ("--training-minutes 0", lambda config: setattr(config, "training_minutes", 0)),
        ("--logging.max-buffer-size 0", lambda config: setattr(config.logging, "max_buffer_size", 0)),
        (
            "--pipeline.datamanager.pixel-sampler.pixels-per-image 0",
            lambda config: setattr(config.pipeline.datamanager.pixel_sampler, "pixels_per_image", 0),
        ),
        (
            "--pipeline.model.sampler.kind volumetric",
            lambda config: setattr(config.pipeline.model.sampler, "kind", "volumetric"),
        ),
        ("--machine.device-type cuda", lambda config: setattr(config.machine, "device_type", "cuda")),
    ],
)
def test_options_with_which_no_training_can_go_end_the_command_with_one_line(
    config, capsys, monkeypatch, option, change
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    change(config)
    with pytest.raises(SystemExit, match="2"):
        set_up(config)
    said = capsys.readouterr().err
    assert option in said and said.count("\n") == 1


def test_a_logger_without_a_key_is_one_line_and_leaves_no_run(config, tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("COMET_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    config.save_config()
    with pytest.raises(SystemExit, match="2"):
        set_up(config, vis="comet")
    (line,) = (line for line in capfd.readouterr().err.splitlines() if line.startswith("nerfgen: "))
    assert "--vis comet" in line and "COMET_API_KEY" in line and "tensorboard" in line
    assert not config.get_base_dir().exists()


@pytest.mark.parametrize(
    ("raised", "variable"),
    [
        ("RuntimeError('No API key configured.\\nmore')", "WANDB_API_KEY"),
        ("ModuleNotFoundError('No module', name='comet_ml')", "COMET_API_KEY"),
    ],
)
def test_an_error_of_a_logger_names_the_option_and_the_variable(raised, variable):
    module = {"__name__": "wandb.sdk" if "WANDB" in variable else "nerfstudio.utils.writer"}
    exec(f"def begin():\n    raise {raised}", module)
    with pytest.raises(UsageError, match=variable) as error, loggers_in_one_line("wandb"):
        module["begin"]()
    assert "\n" not in str(error.value)


def test_other_errors_of_the_setup_stay_what_they_are():
    with pytest.raises(ValueError, match="wandb"), loggers_in_one_line("wandb"):
        raise ValueError("wandb")


@pytest.mark.parametrize(
    ("given", "step", "start"),
    [
        ("", None, 21),
        ("nerfstudio_models", None, 21),
        ("config.yml", None, 21),
        ("nerfstudio_models/step-000000010.ckpt", None, 11),
        ("", 10, 11),
        ("nerfstudio_models/step-000000020.ckpt", 10, 11),
    ],
)
def test_a_run_goes_on_whichever_of_its_files_and_folders_is_named(config, given, step, start):
    trainer = set_up(config, save_only_latest_checkpoint=False)
    config.save_config()
    for saved in (10, 20):
        trainer.save_checkpoint(saved)
    for name in (".DS_Store", "notes.txt", "step-x.ckpt"):
        (trainer.checkpoint_dir / name).touch()
    resumed = set_up(config, timestamp="again", load_dir=trainer.base_dir / given, load_step=step)
    assert resumed._start_step == start


def said_in_one_line(capsys) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_step_that_is_not_there_is_told_with_those_that_are(config, capsys):
    trainer = set_up(config, save_only_latest_checkpoint=False)
    for saved in (10, 20):
        trainer.save_checkpoint(saved)
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        set_up(config, timestamp="again", load_dir=trainer.base_dir, load_step=7)
    assert exit_.value.code == 2
    line = said_in_one_line(capsys)
    assert "--load-step 7" in line and "10, 20" in line


def test_going_on_with_another_number_of_identities_names_both_and_a_way(
    config, make_prepared, tmp_path, capsys
):
    trainer = set_up(config)
    trainer.save_checkpoint(1)
    more = short_config(make_prepared([(12, 12)] * 7, name="more"), tmp_path / "out", 3, small=True)
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        set_up(more, timestamp="again", load_dir=trainer.base_dir)
    assert exit_.value.code == 2
    line = said_in_one_line(capsys)
    assert re.search(r"\b4 identities.*\b7\b", line) and "nerfgen fit" in line


def test_going_on_with_more_photographs_of_the_same_identities_names_both_numbers(
    make_prepared, tmp_path, capsys
):
    runs = []
    for name, identities in (("few", [0, 1]), ("more", [0, 1, 1])):
        data = make_prepared([(12, 12)] * len(identities), name=name, identities=identities)
        runs.append(short_config(data, tmp_path / "out", 3, small=True))
        runs[-1].pipeline.model.camera_optimizer.mode = "SO3xR3"
    trainer = set_up(runs[0])
    trainer.save_checkpoint(1)
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        set_up(runs[1], timestamp="again", load_dir=trainer.base_dir)
    assert exit_.value.code == 2
    line = said_in_one_line(capsys)
    assert re.search(r"\b2 photographs.*\b3\b", line)


def test_going_on_with_as_many_others_is_refused(config, make_prepared, tmp_path, capsys):
    trainer = set_up(config)
    trainer.save_checkpoint(1)
    others = make_prepared(name="others")
    for number, image in enumerate(sorted((others / "images").iterdir())):
        Image.new("RGB", (12, 12), (60 * number, 0, 200)).save(image)
    other = short_config(others, tmp_path / "out", 3, small=True)
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        set_up(other, timestamp="again", load_checkpoint=trainer.checkpoint_dir / "step-000000001.ckpt")
    assert exit_.value.code == 2
    line = said_in_one_line(capsys)
    assert str(others) in line and "4 identities" in line and "0000.png" in line
    assert not (trainer.base_dir.with_name("again")).exists()


def test_a_training_goes_on_with_the_same_photographs_from_another_folder(config, make_prepared, tmp_path):
    trainer = set_up(config)
    trainer.save_checkpoint(1)
    copy_ = short_config(make_prepared(name="copy"), tmp_path / "out", 3, small=True)
    assert set_up(copy_, timestamp="again", load_dir=trainer.base_dir)._start_step == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_accumulation_steps": {"fields": 2, "latent_table": 2}},
        {"use_grad_scaler": True, "log_gradients": True, "mixed_precision": True},
    ],
)
def test_losses_fall_and_stay_finite_with_nerfstudio_s_options_of_the_gradients(config, changes):
    losses = []
    trainer = set_up(config, max_num_iterations=60, **changes)
    iterate = trainer.train_iteration
    networks = [name for name, _ in trainer.pipeline.model.named_parameters() if "field" in name]

    def listened(step):
        result = iterate(step)
        losses.append(float(result[0]))
        if changes.get("log_gradients"):
            assert torch.isfinite(torch.as_tensor(result[2]["Gradients/Total"]))
            assert {f"Gradients/{name}" for name in networks} <= result[2].keys()
        return result

    trainer.train_iteration = listened
    before = trainer.pipeline.model.latent_table.codes.weight.detach().clone()
    trainer.train()
    assert all(map(math.isfinite, losses))
    assert sum(losses[-10:]) < sum(losses[:10])
    table = trainer.pipeline.model.latent_table.codes.weight
    assert torch.isfinite(table).all() and not torch.equal(table, before)
