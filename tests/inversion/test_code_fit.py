"""Codes found from photographs that codes made: the truth is known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nerfgen_ns.cameras.se3 import move_cameras
from nerfgen_ns.datamanagers.dataset import open_dataset
from nerfgen_ns.datamanagers.pixel_store import PixelStore
from nerfgen_ns.inversion import latent_fit as code_fit
from nerfgen_ns.inversion.camera_search import camera_grid, search_cameras, view_errors
from nerfgen_ns.inversion.config import FitConfig
from nerfgen_ns.inversion.latent_fit import (
    PoseStd,
    Views,
    ViewSampler,
    codes_at,
    fit_codes,
    photograph_loss,
    tune,
)
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.runs.code_runs import write_rendered_photographs
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run

CONFIG = FitConfig(steps=100, rays=64, prior_weight=0.0, background_weight=1.0, code_noise=0.0)


@pytest.fixture
def run(trained_config: Path) -> Run:
    """A class of very different objects: what an untrained network makes of codes apart."""
    run = load_run(trained_config)
    torch.manual_seed(0)
    run.model.latent_table.codes.weight.data.normal_(std=1.0)
    return run


@pytest.fixture
def photograph(run: Run, tmp_path: Path) -> Callable[[Tensor], Views]:
    """Takes the photographs of codes."""

    def take(codes: Tensor) -> Views:
        write_rendered_photographs(run, codes, tmp_path / "data")
        dataset = open_dataset(tmp_path / "data")
        every = torch.arange(len(dataset))
        return Views(PixelStore(dataset, every.numpy()), every, dataset.cameras, every)

    return take


def test_the_codes_that_made_the_photographs_are_found(
    run: Run, photograph: Callable[[Tensor], Views]
) -> None:
    space = LatentSpace.of(run.codes)
    true = torch.tensor([[0.8, -0.5], [-0.6, 0.9]])
    fitted = fit_codes(run.model, space, photograph(codes_at(space, true)), CONFIG)
    torch.testing.assert_close(fitted.amounts, true, rtol=0.0, atol=0.15)


def test_parts_give_what_all_together_give(
    run: Run, photograph: Callable[[Tensor], Views], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = LatentSpace.of(run.codes)
    true = torch.tensor([[0.8, -0.5], [-0.6, 0.9], [0.3, 0.4]])
    views = photograph(codes_at(space, true))
    monkeypatch.setattr(code_fit, "MOST_RAYS", CONFIG.rays)
    told: list[tuple[int, int]] = []
    fitted = fit_codes(
        run.model, space, views, CONFIG, progress=lambda done, total: told.append((done, total))
    )
    torch.testing.assert_close(fitted.amounts, true, rtol=0.0, atol=0.15)
    assert told[-1] == (3 * CONFIG.steps, 3 * CONFIG.steps)


def test_a_strong_prior_keeps_codes_at_the_mean(run: Run, photograph: Callable[[Tensor], Views]) -> None:
    space = LatentSpace.of(run.codes)
    views = photograph(run.codes[:1])
    free = fit_codes(run.model, space, views, CONFIG).amounts.norm()
    held = fit_codes(run.model, space, views, replace(CONFIG, prior_weight=1e3)).amounts.norm()
    assert held < 0.1 * free


def test_photographs_of_one_object_share_a_code(run: Run, photograph: Callable[[Tensor], Views]) -> None:
    space = LatentSpace.of(run.codes)
    views = photograph(codes_at(space, torch.tensor([[0.8, -0.5]])).repeat(2, 1))
    shared = replace(views, objects=torch.zeros(2, dtype=torch.long))
    fitted = fit_codes(run.model, space, shared, CONFIG)
    assert fitted.amounts.shape == (1, 2)
    torch.testing.assert_close(fitted.amounts, torch.tensor([[0.8, -0.5]]), rtol=0.0, atol=0.15)


def test_a_fit_leaves_the_model_as_it_was(run: Run, photograph: Callable[[Tensor], Views]) -> None:
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    views = photograph(run.codes[:1])
    fit_codes(run.model, LatentSpace.of(run.codes), views, replace(CONFIG, steps=2))
    assert not run.model.training
    assert all(parameter.requires_grad for parameter in run.model.parameters())
    for name, value in run.model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0.0, atol=0.0)


def test_mattes_and_backgrounds_weigh_what_the_configuration_says(run: Run) -> None:
    outputs = {"rgb": torch.zeros(4, 3), "accumulation": torch.ones(4, 1)}
    batch = {"image": torch.zeros(4, 3), "matte": torch.zeros(4, 1)}
    config = replace(CONFIG, background_weight=0.5)
    own = photograph_loss(run.model, outputs, batch, replace(config, mask_loss_mult=None))
    assert own == run.model.config.losses.mask_loss_mult
    assert photograph_loss(run.model, outputs, batch, replace(config, mask_loss_mult=0.25)) == 0.25
    batch = {"image": torch.ones(4, 3), "matte": torch.tensor([[0.0], [0.0], [1.0], [1.0]])}
    outputs["accumulation"] = batch["matte"]
    torch.testing.assert_close(photograph_loss(run.model, outputs, batch, config), torch.tensor(0.75))
    assert torch.equal(batch["image"], torch.ones(4, 3))


def test_cameras_that_are_off_come_nearer_when_they_are_refined(
    run: Run, photograph: Callable[[Tensor], Views]
) -> None:
    space = LatentSpace.of(run.codes)
    views = photograph(run.codes[:1])
    true = views.cameras.camera_to_worlds.clone()
    off = PoseStd().motion_matrices(torch.tensor([[0.0, 1.5, 0.0, 1.0, 0.0, 0.0]]))
    views.cameras.camera_to_worlds = move_cameras(true, off)
    fitted = fit_codes(run.model, space, views, CONFIG, PoseStd())
    refined = move_cameras(views.cameras.camera_to_worlds, fitted.motions)
    assert (refined - true).norm() < 0.7 * (views.cameras.camera_to_worlds - true).norm()


def test_a_camera_is_found_by_rendering(run: Run, photograph: Callable[[Tensor], Views]) -> None:
    space = LatentSpace.of(run.codes)
    views = photograph(space.mean[None])
    true = views.cameras.camera_to_worlds.clone()
    found = search_cameras(run.model, space, views, run.cameras, CONFIG)
    grid = camera_grid(run.cameras)
    distances = (grid[:, :, 3] - true[:, :, 3]).norm(dim=-1)
    assert len(grid) > 3
    assert (found[0, :, 3] - true[0, :, 3]).norm() < distances.median()


def test_tuned_networks_come_nearer_to_the_photograph_and_stay_near_for_others(
    run: Run, photograph: Callable[[Tensor], Views]
) -> None:
    space = LatentSpace.of(run.codes)
    views = photograph(codes_at(space, torch.tensor([[0.8, -0.5]])))
    mean = space.mean[None]
    before = view_errors(run.model, views, mean)
    camera = run.cameras[:1]
    other = run.render(run.code(1), camera)["rgb"]
    own = {name: value.clone() for name, value in run.model.state_dict().items()}
    state = tune(run.model, views, mean, replace(CONFIG, tune_steps=60))
    for name, value in run.model.state_dict().items():
        torch.testing.assert_close(value, own[name], rtol=0.0, atol=0.0)
    run.model.load_state_dict({**own, **state})
    assert view_errors(run.model, views, mean) < 0.7 * before
    assert (run.render(run.code(1), camera)["rgb"] - other).square().mean() < 0.5 * before.mean()


def test_every_view_gets_as_many_rays_of_its_own_photograph(
    run: Run, photograph: Callable[[Tensor], Views]
) -> None:
    views = photograph(run.codes)
    ray_bundle, batch, view_of_ray = ViewSampler(views, 5, run.model.device)()
    assert view_of_ray.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert torch.equal(batch["indices"][:, 0], view_of_ray)
    assert batch["image"].shape == (15, 3) and ray_bundle.origins.shape == (15, 3)
