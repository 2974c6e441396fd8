"""The camera optimizer: what it does to rays, what it learns from, and that a run goes on with it."""

import math

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle

from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig, number_photographs
from nerfgen_ns.datamanagers.ray_generator import PixelRays
from nerfgen_ns.model.camera_optimizer import (
    CameraOptimizer,
    CameraOptimizerConfig,
    clip_outliers,
    rotation_degrees,
)
from nerfgen_ns.model.model import NerfgenModel
from tests.helpers import small_models
from tests.helpers.short_trainings import set_up, short_config

PHOTOGRAPHS = 6


def make_model(**options) -> NerfgenModel:
    return small_models.make_model(identities=3, num_train_data=PHOTOGRAPHS, **options)


def make_rays(photographs: list[int] | None, spread: float = 0.5) -> RayBundle:
    """Rays from in front of the box toward its middle, all of identity 1."""
    count = len(photographs or range(8))
    origins = torch.tensor([[0.0, 0.0, 2.7]]).repeat(count, 1)
    targets = spread * (torch.rand(count, 3) - 0.5)
    metadata = {"cam_idx": torch.ones(count, 1, dtype=torch.long)}
    if photographs is not None:
        metadata["photograph"] = torch.tensor(photographs)[:, None]
    return RayBundle(
        origins=origins,
        directions=torch.nn.functional.normalize(targets - origins, dim=-1),
        pixel_area=torch.ones(count, 1),
        metadata=metadata,
    )


def disturb(optimizer: CameraOptimizer, degrees: float = 5.0) -> None:
    optimizer.pose_deltas.weight.data.normal_(std=math.radians(degrees))


@pytest.mark.parametrize("training", [True, False])
def test_a_optimizer_of_zero_changes_nothing(training):
    torch.manual_seed(3)
    plain = make_model()
    torch.manual_seed(3)
    refined = make_model(camera_optimizer__mode="SO3xR3")
    rays = make_rays([0, 1, 2, 2, 5, 0])
    outputs = []
    for model in (plain, refined):
        model.train(training)
        torch.manual_seed(4)
        outputs.append(model(rays[...]))
    for name, value in outputs[0].items():
        torch.testing.assert_close(outputs[1][name], value, atol=0, rtol=0)


def test_rays_of_no_photograph_stay_as_they_are():
    optimizer = CameraOptimizer(CameraOptimizerConfig(), PHOTOGRAPHS)
    disturb(optimizer)
    rays = make_rays(None)
    moved, pose_deltas = optimizer.move_rays(rays)
    assert moved is rays and pose_deltas is None


def test_moved_rays_are_those_of_the_moved_cameras(make_prepared):
    parser = NerfgenDataParserConfig(data=make_prepared([(12, 10), (5, 7), (16, 9)])).setup()
    cameras = parser.get_dataparser_outputs("train").cameras
    number_photographs(cameras)
    optimizer = CameraOptimizer(CameraOptimizerConfig(), 3)
    disturb(optimizer)
    indices = torch.tensor([[0, 3, 4], [2, 8, 15], [1, 0, 0], [0, 9, 11], [2, 1, 1]])
    moved, pose_deltas = optimizer.move_rays(PixelRays(cameras)(indices))
    assert pose_deltas.shape == (5, 6)
    cameras.camera_to_worlds = optimizer.move_cameras(cameras.camera_to_worlds)
    expected = PixelRays(cameras)(indices)
    torch.testing.assert_close(moved.origins, expected.origins)
    torch.testing.assert_close(moved.directions, expected.directions)


def test_a_turn_leaves_the_middle_of_the_class_where_it_is_in_the_image():
    optimizer = CameraOptimizer(CameraOptimizerConfig(), 1)
    camera = torch.eye(4)[None, :3]
    camera[0, :, 3] = torch.tensor([0.1, -0.2, 2.7])
    optimizer.pose_deltas.weight.data[:, :3] = torch.tensor([0.2, 0.3, -0.1])
    moved = optimizer.move_cameras(camera)
    for pose in (camera, moved):
        seen = -pose[0, :, :3].T @ pose[0, :, 3]
        torch.testing.assert_close(seen, torch.tensor([-0.1, 0.2, -2.7]))


@pytest.mark.parametrize("sampler", ["importance", "pdf", "uniform"])
def test_color_and_accumulation_both_tell_of_the_pose_of_the_photographs_in_the_batch(sampler):
    model = make_model(
        sampler__kind=sampler, camera_optimizer__mode="SO3xR3", background__learned=False
    ).train()
    for name in ("rgb", "accumulation"):
        model.zero_grad()
        model(make_rays([4, 1, 4, 1, 4, 1]))[name].sum().backward()
        gradient = model.camera_optimizer.pose_deltas.weight.grad
        assert gradient.is_sparse
        gradient = gradient.coalesce()
        assert gradient.indices().tolist() == [[1, 4]]
        assert (gradient.values() != 0).all(), name


def test_the_optimizer_and_its_prior_have_an_optimizer_and_a_weight():
    model = make_model(camera_optimizer__mode="SO3xR3", camera_optimizer__loss_mult=2.0).train()
    assert model.get_param_groups()["camera_opt"] == [model.camera_optimizer.pose_deltas.weight]
    disturb(model.camera_optimizer)
    rays = make_rays([0, 0, 3, 3])
    outputs = model(rays)
    batch = {"image": torch.rand(4, 3)}
    pose_deltas = model.camera_optimizer.pose_deltas.weight[[0, 3]]
    losses = model.get_loss_dict(outputs, batch)
    torch.testing.assert_close(
        losses["pose_loss"], 2.0 * (pose_deltas.square().sum(1).mean() / math.radians(3.0) ** 2)
    )
    metrics = model.get_metrics_dict(outputs, batch)
    torch.testing.assert_close(metrics["camera_opt_rotation"], rotation_degrees(pose_deltas).mean().detach())


def test_the_prior_is_one_where_all_cameras_err_as_expected():
    pose_deltas = torch.zeros(4, 6)
    pose_deltas[:, 1] = math.radians(3.0)
    optimizer = CameraOptimizer(CameraOptimizerConfig(expected_degrees=3.0, loss_mult=0.5), 4)
    assert optimizer.loss(pose_deltas).item() == pytest.approx(0.5)
    assert rotation_degrees(pose_deltas).tolist() == pytest.approx([3.0] * 4)


def test_single_rays_that_no_pose_explains_do_not_decide():
    gradient = torch.ones(100, 6)
    gradient[7] *= -1000
    clipped = clip_outliers(gradient)
    assert clipped.mean(dim=0).min() > 0
    torch.testing.assert_close(clipped[7] / clipped[7].norm(), gradient[7] / gradient[7].norm())
    assert clip_outliers(torch.zeros(5, 6)).isfinite().all()


def test_nothing_is_learned_while_the_learning_rate_is_zero():
    optimizer = CameraOptimizer(CameraOptimizerConfig(), PHOTOGRAPHS)
    rays = make_rays([0, 1, 2])
    optimizer.follow(0, {"lr": 0.0})
    assert not optimizer.move_rays(rays)[0].origins.requires_grad
    optimizer.follow(1, {"lr": 1e-3})
    assert optimizer.move_rays(rays)[0].origins.requires_grad


def test_what_all_pose_deltas_have_in_common_is_taken_from_them():
    optimizer = CameraOptimizer(CameraOptimizerConfig(), PHOTOGRAPHS)
    disturb(optimizer)
    before = optimizer.pose_deltas.weight.detach().clone()
    optimizer.after_step(0)
    after = optimizer.pose_deltas.weight.detach()
    torch.testing.assert_close(after.mean(dim=0), torch.zeros(6))
    torch.testing.assert_close(after - after[0], before - before[0])


def test_a_known_disturbance_is_found_from_colors_alone():
    """Front and back of a ball painted with smooth waves, seen by cameras that were turned and shifted.

    Of a surface at one depth, a small turn and a shift look the same.
    """

    def colors(rays: RayBundle) -> torch.Tensor:
        along = (rays.origins * rays.directions).sum(dim=-1, keepdim=True)
        inside = along**2 - rays.origins.square().sum(dim=-1, keepdim=True) + 1.0
        half = inside.clamp(min=1e-3).sqrt()
        front, back = (rays.origins + rays.directions * (-along + side) for side in (-half, half))
        return torch.sin(torch.cat([front, back], dim=-1) @ waves)

    waves = torch.randn(6, 3) * 2
    true = make_rays([photograph for photograph in range(PHOTOGRAPHS) for _ in range(200)], spread=1.5)
    truth = colors(true)
    optimizer = CameraOptimizer(CameraOptimizerConfig(), PHOTOGRAPHS)
    disturb(optimizer, 3.0)
    start = rotation_degrees(optimizer.pose_deltas.weight.detach()).clone()
    adam = torch.optim.SparseAdam(optimizer.parameters(), lr=1e-2)
    decay = torch.optim.lr_scheduler.ExponentialLR(adam, 0.99)
    for _ in range(500):
        adam.zero_grad()
        (colors(optimizer.move_rays(true)[0]) - truth).square().mean().backward()
        adam.step()
        decay.step()
    assert (rotation_degrees(optimizer.pose_deltas.weight.detach()) < 0.2 * start).all()


@pytest.fixture
def config(make_prepared, tmp_path):
    config = short_config(make_prepared(), tmp_path / "out", 8, small=True)
    config.pipeline.model.camera_optimizer.mode = "SO3xR3"
    config.optimizers["camera_opt"]["scheduler"].start = 0.25
    return config


def test_cameras_are_refined_after_a_share_of_the_budget(config):
    trainer = set_up(config)
    weight = trainer.pipeline.model.camera_optimizer.pose_deltas.weight
    for step in range(2):
        trainer.train_iteration(step)
        assert (weight == 0).all()
    for step in range(2, 4):
        trainer.train_iteration(step)
    assert (weight != 0).any()


def test_a_run_goes_on_from_its_checkpoint_with_the_optimizer(config):
    trainer = set_up(config)
    trainer.train()
    weight = trainer.pipeline.model.camera_optimizer.pose_deltas.weight
    assert (weight != 0).any()
    resumed = set_up(config, load_dir=trainer.checkpoint_dir, max_num_iterations=2)
    torch.testing.assert_close(resumed.pipeline.model.camera_optimizer.pose_deltas.weight, weight)
    states = [run.optimizers.optimizers["camera_opt"].state_dict()["state"] for run in (trainer, resumed)]
    assert states[0][0]["step"] == states[1][0]["step"]
    resumed.train()
    assert (resumed.pipeline.model.camera_optimizer.pose_deltas.weight != weight).any()


def test_a_run_without_optimizer_keeps_its_checkpoints_as_they_were(config):
    config.pipeline.model.camera_optimizer.mode = "off"
    trainer = set_up(config)
    trainer.train()
    assert not any("camera_optimizer" in name for name in trainer.pipeline.model.state_dict())
    set_up(config, load_dir=trainer.checkpoint_dir)
