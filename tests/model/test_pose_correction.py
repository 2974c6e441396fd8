"""The pose correction: what it does to rays, what it learns from, and that a run goes on with it."""

import math

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox

from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig, number_photographs
from nerfgen_ns.datamanagers.ray_generator import PixelRays
from nerfgen_ns.model.camera_optimizer import PoseCorrection, clip_outliers, pose_loss, turn_in_degrees
from nerfgen_ns.model.config import NerfgenModelConfig
from nerfgen_ns.model.model import NerfgenModel
from tests.helpers.short_trainings import set_up, short_config

PHOTOGRAPHS = 6


def make_model(**options) -> NerfgenModel:
    config = NerfgenModelConfig(
        **{
            "latent_dim": 6, "width": 16, "layers": 3, "skip_layer": 1, "octaves": 2, "num_samples": 8,
            "background_width": 16, "background_layers": 2, "background_octaves": 1, "grid_resolution": 8,
            "latent_init_std": 1.0, "use_bf16": False, **options,
        }
    )  # fmt: skip
    box = SceneBox(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3]))
    return config.setup(scene_box=box, num_train_data=PHOTOGRAPHS, metadata={"num_identities": 3})


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


def disturb(correction: PoseCorrection, degrees: float = 5.0) -> None:
    correction.motions.weight.data.normal_(std=math.radians(degrees))


@pytest.mark.parametrize("training", [True, False])
def test_a_correction_of_zero_changes_nothing(training):
    torch.manual_seed(3)
    plain = make_model()
    torch.manual_seed(3)
    corrected = make_model(pose_correction=True)
    rays = make_rays([0, 1, 2, 2, 5, 0])
    outputs = []
    for model in (plain, corrected):
        model.train(training)
        torch.manual_seed(4)
        outputs.append(model(rays[...]))
    for name, value in outputs[0].items():
        torch.testing.assert_close(outputs[1][name], value, atol=0, rtol=0)


def test_rays_of_no_photograph_stay_as_they_are():
    correction = PoseCorrection(PHOTOGRAPHS)
    disturb(correction)
    rays = make_rays(None)
    moved, motions = correction.move_rays(rays)
    assert moved is rays and motions is None


def test_moved_rays_are_those_of_the_moved_cameras(make_prepared):
    parser = NerfgenDataParserConfig(data=make_prepared([(12, 10), (5, 7), (16, 9)])).setup()
    cameras = parser.get_dataparser_outputs("train").cameras
    number_photographs(cameras)
    correction = PoseCorrection(3)
    disturb(correction)
    indices = torch.tensor([[0, 3, 4], [2, 8, 15], [1, 0, 0], [0, 9, 11], [2, 1, 1]])
    moved, motions = correction.move_rays(PixelRays(cameras)(indices))
    assert motions.shape == (3, 6)
    cameras.camera_to_worlds = correction.move_cameras(cameras.camera_to_worlds)
    expected = PixelRays(cameras)(indices)
    torch.testing.assert_close(moved.origins, expected.origins)
    torch.testing.assert_close(moved.directions, expected.directions)


def test_a_turn_leaves_the_middle_of_the_class_where_it_is_in_the_image():
    correction = PoseCorrection(1)
    camera = torch.eye(4)[None, :3]
    camera[0, :, 3] = torch.tensor([0.1, -0.2, 2.7])
    correction.motions.weight.data[:, :3] = torch.tensor([0.2, 0.3, -0.1])
    moved = correction.move_cameras(camera)
    for pose in (camera, moved):
        seen = -pose[0, :, :3].T @ pose[0, :, 3]
        torch.testing.assert_close(seen, torch.tensor([-0.1, 0.2, -2.7]))


@pytest.mark.parametrize("sampler", ["importance", "pdf", "uniform"])
def test_color_and_accumulation_both_tell_of_the_pose_of_the_photographs_in_the_batch(sampler):
    model = make_model(sampler=sampler, pose_correction=True, use_background_field=False).train()
    for name in ("rgb", "accumulation"):
        model.zero_grad()
        model(make_rays([4, 1, 4, 1, 4, 1]))[name].sum().backward()
        gradient = model.pose_correction.motions.weight.grad
        assert gradient.is_sparse
        gradient = gradient.coalesce()
        assert gradient.indices().tolist() == [[1, 4]]
        assert (gradient.values() != 0).all(), name


def test_the_correction_and_its_prior_have_an_optimizer_and_a_weight():
    model = make_model(pose_correction=True, pose_correction_mult=2.0).train()
    assert model.get_param_groups()["pose_correction"] == [model.pose_correction.motions.weight]
    disturb(model.pose_correction)
    rays = make_rays([0, 0, 3, 3])
    outputs = model(rays)
    batch = {"image": torch.rand(4, 3)}
    motions = model.pose_correction.motions.weight[[0, 3]]
    losses = model.get_loss_dict(outputs, batch)
    torch.testing.assert_close(losses["pose_loss"], 2.0 * pose_loss(motions, 3.0))
    metrics = model.get_metrics_dict(outputs, batch)
    torch.testing.assert_close(metrics["pose_change_mean"], turn_in_degrees(motions).mean().detach())


def test_the_prior_is_one_where_all_cameras_err_as_expected():
    motions = torch.zeros(4, 6)
    motions[:, 1] = math.radians(3.0)
    assert pose_loss(motions, 3.0).item() == pytest.approx(1.0)
    assert turn_in_degrees(motions).tolist() == pytest.approx([3.0] * 4)


def test_single_rays_that_no_pose_explains_do_not_decide():
    gradient = torch.ones(100, 6)
    gradient[7] *= -1000
    clipped = clip_outliers(gradient)
    assert clipped.mean(dim=0).min() > 0
    torch.testing.assert_close(clipped[7] / clipped[7].norm(), gradient[7] / gradient[7].norm())
    assert clip_outliers(torch.zeros(5, 6)).isfinite().all()


def test_nothing_is_learned_while_the_learning_rate_is_zero():
    correction = PoseCorrection(PHOTOGRAPHS)
    rays = make_rays([0, 1, 2])
    correction.follow(0, {"lr": 0.0})
    assert not correction.move_rays(rays)[0].origins.requires_grad
    correction.follow(1, {"lr": 1e-3})
    assert correction.move_rays(rays)[0].origins.requires_grad


def test_what_all_motions_have_in_common_is_taken_from_them():
    correction = PoseCorrection(PHOTOGRAPHS)
    disturb(correction)
    before = correction.motions.weight.detach().clone()
    correction.after_step(0)
    after = correction.motions.weight.detach()
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
    correction = PoseCorrection(PHOTOGRAPHS)
    disturb(correction, 3.0)
    start = turn_in_degrees(correction.motions.weight.detach()).clone()
    optimizer = torch.optim.SparseAdam(correction.parameters(), lr=1e-2)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
    for _ in range(500):
        optimizer.zero_grad()
        (colors(correction.move_rays(true)[0]) - truth).square().mean().backward()
        optimizer.step()
        decay.step()
    assert (turn_in_degrees(correction.motions.weight.detach()) < 0.2 * start).all()


@pytest.fixture
def config(make_prepared, tmp_path):
    config = short_config(make_prepared(), tmp_path / "out", 8, small=True)
    config.pipeline.model.pose_correction = True
    config.optimizers["pose_correction"]["scheduler"].start = 0.25
    return config


def test_cameras_are_corrected_after_a_share_of_the_budget(config):
    trainer = set_up(config)
    weight = trainer.pipeline.model.pose_correction.motions.weight
    for step in range(2):
        trainer.train_iteration(step)
        assert (weight == 0).all()
    for step in range(2, 4):
        trainer.train_iteration(step)
    assert (weight != 0).any()


def test_a_run_goes_on_from_its_checkpoint_with_the_correction(config):
    trainer = set_up(config)
    trainer.train()
    weight = trainer.pipeline.model.pose_correction.motions.weight
    assert (weight != 0).any()
    resumed = set_up(config, load_dir=trainer.checkpoint_dir, max_num_iterations=2)
    torch.testing.assert_close(resumed.pipeline.model.pose_correction.motions.weight, weight)
    states = [
        run.optimizers.optimizers["pose_correction"].state_dict()["state"] for run in (trainer, resumed)
    ]
    assert states[0][0]["step"] == states[1][0]["step"]
    resumed.train()
    assert (resumed.pipeline.model.pose_correction.motions.weight != weight).any()


def test_a_run_without_correction_keeps_its_checkpoints_as_they_were(config):
    config.pipeline.model.pose_correction = False
    trainer = set_up(config)
    trainer.train()
    assert not any("pose_correction" in name for name in trainer.pipeline.model.state_dict())
    set_up(config, load_dir=trainer.checkpoint_dir)
