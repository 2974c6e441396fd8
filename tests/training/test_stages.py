"""The perceptual loss and adversarial training: alone, and in trainings of a few steps."""

from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup

from nerfgen_ns.errors import UsageError
from nerfgen_ns.runs.loading import load_run, read_checkpoint
from nerfgen_ns.runs.pack import write_pack
from nerfgen_ns.training.adversarial import AdversarialConfig, PatchDiscriminator, play
from nerfgen_ns.training.pipeline import check_stages
from tests.helpers.short_trainings import set_up, short_config, train
from tests.metrics.test_metric_networks import random_alexnet


@pytest.fixture
def config(make_prepared, tmp_path) -> Any:
    """Four steps on tiny images, with half of the rays in patches and samples from the second step on."""
    config: Any = short_config(make_prepared([(16, 16), (14, 20), (9, 30)]), tmp_path / "out", 4, small=True)
    manager, model = config.pipeline.datamanager, config.pipeline.model
    manager.train_num_rays_per_batch = 64
    manager.pixel_sampler.patch_fraction, manager.pixel_sampler.patch_size = 0.5, 5
    model.losses.perceptual_loss_mult = 0.1
    config.pipeline.adversarial = AdversarialConfig(loss_mult=0.01, patches=3, patch_size=8)
    config.optimizers["discriminator"]["scheduler"].start = 0.25
    return config


def test_a_discriminator_learns_to_tell_two_kinds_apart():
    discriminator = PatchDiscriminator(width=8)
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.0, 0.99))
    fine = (torch.arange(16) % 2).float().expand(8, 3, 16, 16)
    losses = []
    for _ in range(60):
        real, rendered = (
            value + 0.1 * torch.randn(8, 3, 16, 16) for value in (fine, 0.5 * torch.ones_like(fine))
        )
        scores = play(discriminator, real, rendered, 0.1)
        optimizer.zero_grad()
        scores.discriminator.backward()
        optimizer.step()
        losses.append(scores.discriminator.item())
    assert losses[0] == pytest.approx(2 * 0.693, abs=0.2) and losses[-1] < 0.3
    assert scores.real > 1.0 and scores.rendered < -1.0


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_each_side_of_the_game_has_its_own_gradient(penalty):
    discriminator = PatchDiscriminator(width=4)
    real, rendered = torch.rand(2, 3, 3, 8, 8)
    rendered.requires_grad_()
    scores = play(discriminator, real, rendered, penalty)
    of_patches = torch.autograd.grad(scores.adversarial, rendered, retain_graph=True)[0]
    assert (of_patches != 0).any(dim=1).all()
    (scores.adversarial + scores.discriminator).backward()
    assert torch.equal(rendered.grad, of_patches), "the discriminator's loss does not reach what was rendered"
    own = [parameter.grad.clone() for parameter in discriminator.parameters()]
    discriminator.zero_grad()
    play(discriminator, real, rendered.detach(), penalty).discriminator.backward()
    for before, parameter in zip(own, discriminator.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, before)


def test_the_penalty_is_half_the_squared_gradient_of_the_scores_of_photographs():
    weights = torch.randn(1, 3, 8, 8)

    class Linear(torch.nn.Module):
        def forward(self, patches):
            return (weights * patches).sum(dim=(1, 2, 3))

    real, rendered = torch.rand(2, 4, 3, 8, 8)
    with_penalty, without = (play(Linear(), real, rendered, mult).discriminator for mult in (0.5, 0.0))
    assert (with_penalty - without).item() == pytest.approx(0.25 * weights.square().sum().item(), rel=1e-4)


def test_a_run_with_both_stages_trains_and_is_loaded_and_packed_like_any_other(config, tmp_path):
    path = train(config)
    checkpoint = read_checkpoint(path)
    discriminator = [name for name in checkpoint["pipeline"] if name.startswith("adversarial.")]
    assert discriminator and checkpoint["optimizers"]["discriminator"]["state"]
    run = load_run(path)
    assert not any("discriminator" in name for name in run.model.state_dict())
    assert torch.isfinite(run.render(run.code(0), run.cameras[:1])["rgb"]).all()
    write_pack(run, tmp_path / "run.safetensors")
    assert torch.equal(load_run(tmp_path / "run.safetensors").codes, run.codes)
    for mode in ("test", "inference"):
        _, pipeline, _, _ = eval_setup(path, test_mode=mode)
        assert torch.equal(pipeline.model.latent_table.codes.weight, run.codes)


def test_both_stages_work_on_pixels_in_a_file_with_refined_cameras_and_mirrored_rays(config, tmp_path):
    manager, model = config.pipeline.datamanager, config.pipeline.model
    manager.pixel_memory, manager.pixel_folder = 0.0, tmp_path / "pixels"
    model.camera_optimizer.mode = "SO3xR3"
    config.optimizers["camera_opt"]["scheduler"].start = 0.0
    model.symmetry.mirrored_share, model.sampler.depth_memory = 0.5, True
    assert torch.isfinite(load_run(train(config)).codes).all()


def test_samples_are_learned_from_after_their_share_of_the_budget(config):
    trainer = set_up(config)
    stage = trainer.pipeline.adversarial
    first = [value.clone() for value in stage.parameters()]
    seen = []
    iterate = trainer.train_iteration

    def listened(step):
        loss, losses, metrics = iterate(step)
        seen.append(set(losses))
        assert torch.isfinite(loss)
        assert ("score_of_samples" in metrics) == ("adversarial_loss" in losses)
        if step == 0:
            assert all(map(torch.equal, first, stage.parameters()))
        return loss, losses, metrics

    trainer.train_iteration = listened
    trainer.train()
    always = {"rgb_loss", "mask_loss", "hard_surface_loss", "perceptual_loss"}
    of_samples = {"adversarial_loss", "discriminator_loss"}
    assert seen == [always, *[always | of_samples] * 3]
    assert not any(map(torch.equal, first, stage.parameters()))


def test_samples_change_the_foreground_and_neither_table_nor_background_nor_what_the_sampler_knows(config):
    config.pipeline.model.sampler.depth_memory = True
    trainer = set_up(config)
    pipeline, model = trainer.pipeline, trainer.pipeline.model
    trainer.train_iteration(0)
    renderer = model.ray_renderer
    last, depths = renderer._last, renderer.depth_memory.depths.clone()
    model.zero_grad()
    losses, _ = pipeline.adversarial.losses(model, pipeline.datamanager, 1)
    sum(losses.values()).backward()
    assert model.training and renderer.training
    assert model.latent_table.codes.weight.grad is None
    assert all(value.grad is None for value in model.background_field.parameters())
    assert all((value.grad != 0).any() for value in pipeline.adversarial.parameters())
    assert any((value.grad != 0).any() for value in model.foreground_field.parameters())
    assert renderer._last is last and torch.equal(renderer.depth_memory.depths, depths)


def test_a_run_continues_with_the_discriminator_that_it_had(config):
    first = set_up(config)
    first.train()
    second = set_up(config, timestamp="again", load_dir=first.checkpoint_dir)
    for before, after in zip(
        first.pipeline.adversarial.parameters(), second.pipeline.adversarial.parameters(), strict=True
    ):
        assert torch.equal(before, after)
    states = [run.optimizers.optimizers["discriminator"].state_dict()["state"] for run in (first, second)]
    assert torch.equal(states[0][0]["exp_avg_sq"], states[1][0]["exp_avg_sq"])
    second.train()
    assert not torch.equal(before, list(second.pipeline.adversarial.parameters())[-1])


def test_a_run_begun_without_samples_continues_with_them_as_far_as_its_budget_is_spent(config):
    config.pipeline.adversarial.loss_mult, weight = 0.0, config.pipeline.adversarial.loss_mult
    first = set_up(config, training_minutes=100.0)
    assert first.pipeline.adversarial is None
    first.train()
    config.pipeline.adversarial.loss_mult = weight
    second = set_up(config, timestamp="again", load_dir=first.checkpoint_dir, training_minutes=100.0)
    assert {decay.seconds for decay in second.decays} == {first.decays[0].seconds}
    schedulers = second.optimizers.schedulers
    assert schedulers["discriminator"].last_epoch == schedulers["fields"].last_epoch == 4
    second.train()
    assert second.optimizers.optimizers["discriminator"].state


def test_a_discriminator_that_is_left_out_later_is_one_line(config, capsys):
    trainer = set_up(config)
    trainer.save_checkpoint(1)
    capsys.readouterr()
    config.pipeline.adversarial.loss_mult = 0.0
    with pytest.raises(SystemExit, match="2"):
        set_up(config, timestamp="again", load_dir=trainer.checkpoint_dir)
    (line,) = capsys.readouterr().err.splitlines()
    assert "--pipeline.adversarial.loss-mult" in line


def refused(config: Any, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="2"):
        set_up(config)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("nerfgen: "))
    return line


@pytest.mark.parametrize(
    ("option", "part", "value"),
    [
        ("datamanager.pixel-sampler.patch-fraction", "sampler", ("patch_fraction", 0.0)),
        ("model.losses.perceptual-loss-mult", "losses", ("perceptual_loss_mult", 0.0)),
        ("datamanager.pixel-sampler.patch-fraction", "sampler", ("patch_fraction", 1.5)),
        ("datamanager.pixel-sampler.patch-size", "sampler", ("patch_size", 2)),
        ("datamanager.pixel-sampler.patch-size", "sampler", ("patch_size", 9)),
        ("datamanager.pixel-sampler.patch-stride", "sampler", ("patch_stride", 0)),
        ("datamanager.pixel-sampler.patch-size", "losses", ("perceptual_distance", "lpips")),
        ("adversarial.patches", "adversarial", ("patches", 0)),
        ("adversarial.loss-mult", "adversarial", ("loss_mult", -1.0)),
    ],
)
def test_options_of_the_stages_that_do_not_go_together_are_one_line(config, capsys, option, part, value):
    pipeline = config.pipeline
    parts = {
        "sampler": pipeline.datamanager.pixel_sampler,
        "losses": pipeline.model.losses,
        "adversarial": pipeline.adversarial,
    }
    setattr(parts[part], *value)
    assert f"--pipeline.{option}" in refused(config, capsys)


def test_adversarial_training_on_several_processes_is_refused(config):
    with pytest.raises(UsageError, match=r"--pipeline\.adversarial\.loss-mult"):
        check_stages(config.pipeline, world_size=2)
    config.pipeline.adversarial.loss_mult = 0.0
    check_stages(config.pipeline, world_size=2)


def with_lpips(config: Any, weights: Path) -> None:
    manager, losses = config.pipeline.datamanager, config.pipeline.model.losses
    manager.train_num_rays_per_batch, manager.pixel_sampler.patch_size = 1000, 31
    losses.perceptual_distance, config.pipeline.lpips_weights = "lpips", weights
    config.pipeline.adversarial.loss_mult = 0.0


def test_lpips_without_weights_is_one_line_and_leaves_no_run(config, capsys, tmp_path):
    with_lpips(config, tmp_path / "nowhere.pth")
    config.save_config()
    line = refused(config, capsys)
    assert str(tmp_path / "nowhere.pth") in line and "--pipeline.lpips-weights" in line
    assert not config.get_base_dir().exists()


def test_lpips_trains_with_its_weights_and_the_run_does_not_need_them(config, tmp_path):
    weights = tmp_path / "alexnet.pth"
    torch.save(random_alexnet(0), weights)
    with_lpips(config, weights)
    config.max_num_iterations = 1
    trainer = set_up(config)
    config.save_config()
    _, losses, _ = trainer.train_iteration(0)
    assert 0.0 < losses["perceptual_loss"].item() < 1.0 and losses["perceptual_loss"].requires_grad
    assert all(value.grad is not None for value in trainer.pipeline.model.foreground_field.parameters())
    trainer.save_checkpoint(0)
    weights.unlink()
    write_pack(load_run(trainer.base_dir / "config.yml"), tmp_path / "run.safetensors")
