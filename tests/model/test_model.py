"""The model: outputs, losses, the identity shown, checkpoints."""

import math
import re

import numpy as np
import pytest
import torch
from nerfstudio.data.scene_box import OrientedBox, SceneBox
from nerfstudio.model_components import renderers

from nerfgen_ns.errors import UsageError
from nerfgen_ns.model.config import NerfgenModelConfig
from nerfgen_ns.model.losses import rgb_loss
from nerfgen_ns.rendering.ray_renderers import ImportanceRenderer
from tests.helpers.small_models import IDENTITIES, batch_for, make_camera, make_model, make_rays

SAMPLERS = ["importance", "pdf", "uniform"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_outputs_have_their_names_shapes_and_ranges(sampler):
    outputs = make_model(sampler__kind=sampler).eval().get_outputs_for_camera(make_camera(cam_idx=2))
    shapes = {name: tuple(output.shape) for name, output in outputs.items()}
    assert shapes == {
        "rgb": (6, 8, 3), "foreground": (6, 8, 3), "background": (6, 8, 3), "accumulation": (6, 8, 1),
        "depth": (6, 8, 1), "normals": (6, 8, 3),
    }  # fmt: skip
    for name, output in outputs.items():
        assert output.isfinite().all() and output.min() >= 0, name
        assert name == "depth" or output.max() <= 1 + 1e-6, name
    assert outputs["depth"].min() > 1 and outputs["depth"].max() < 4.5
    together = outputs["foreground"] + (1 - outputs["accumulation"]) * outputs["background"]
    torch.testing.assert_close(outputs["rgb"], together)


def test_a_camera_that_looks_past_the_class_sees_the_background():
    model = make_model(sampler__kind="importance").eval()
    camera = make_camera(cam_idx=2)
    camera.camera_to_worlds[..., :3, 0] *= -1
    camera.camera_to_worlds[..., :3, 2] *= -1
    model.ray_renderer.occupancy.occupied.zero_()
    outputs = model.get_outputs_for_camera(camera)
    assert (outputs["accumulation"] == 0).all()
    torch.testing.assert_close(outputs["rgb"], outputs["background"])
    torch.testing.assert_close(outputs["normals"], torch.full((6, 8, 3), 0.5))


@pytest.mark.parametrize("training", [False, True])
def test_the_class_ends_softly_in_pictures_and_in_training_is_left_as_the_field_has_it(training):
    model = make_model(sampler__kind="importance", sampler__num_samples=64).train(training)
    model.ray_renderer.occupancy.occupied[:, 4:] = 0.0  # Nothing of the class lies above y = 0.
    rays = make_rays(101, cam_idx=0)
    rays.origins[:, 1] = torch.linspace(-0.2, 0.05, 101)
    rays.directions[:] = torch.tensor([0.0, 0.0, -1.0])
    with torch.no_grad():
        accumulation = model(rays)["accumulation"][:, 0]
    above = rays.origins[:, 1] > 0.001
    assert accumulation[0] > 0.3
    if training:
        assert (accumulation[above] > 0.3).all()
    else:
        assert (accumulation[above] == 0).all()
        assert accumulation.diff().abs().max() < 0.1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_step_of_training_reaches_the_networks_and_the_rows_of_the_batch_alone(sampler):
    model = make_model(sampler__kind=sampler).train()
    rays = make_rays(cam_idx=torch.tensor([[1], [3]]).repeat(5, 1))
    outputs = model(rays)
    losses = model.get_loss_dict(outputs, batch_for(rays))
    assert losses.keys() == {"rgb_loss", "mask_loss", "hard_surface_loss"}
    sum(losses.values()).backward()
    groups = model.get_param_groups()
    assert groups.keys() == {"fields", "latent_table"}
    assert all(parameter.grad is not None for parameter in groups["fields"])
    (table,) = groups["latent_table"]
    assert table.grad.coalesce().indices().tolist() == [[1, 3]]


def test_every_parameter_has_an_optimizer():
    model = make_model()
    trained = {id(parameter) for group in model.get_param_groups().values() for parameter in group}
    names = {name for name, parameter in model.named_parameters() if id(parameter) not in trained}
    assert names == {"device_indicator_param"}


def test_losses_carry_their_weights_and_need_a_matte_and_samples():
    model = make_model(
        losses__rgb_loss_mult=2.0, losses__mask_loss_mult=3.0, losses__hard_surface_loss_mult=4.0
    ).train()
    plain = make_model(losses__hard_surface_loss_mult=1.0)
    rays = make_rays(cam_idx=1)
    outputs, batch = model(rays), batch_for(rays)
    weighted, once = model.get_loss_dict(outputs, batch), plain.get_loss_dict(outputs, batch)
    for name, weight in (("rgb_loss", 2.0), ("mask_loss", 3.0), ("hard_surface_loss", 4.0)):
        torch.testing.assert_close(weighted[name], weight * once[name])
    light = make_model(losses__background_weight=0.5).get_loss_dict(outputs, batch)["rgb_loss"]
    assert light == rgb_loss(outputs["rgb"], batch["image"], batch["matte"], 0.5) < once["rgb_loss"]
    del batch["matte"], outputs["weights"]
    assert model.get_loss_dict(outputs, batch).keys() == {"rgb_loss"}


@pytest.mark.parametrize("mult", [0.0, 0.1])
def test_metrics_of_a_step_hold_the_hard_surface_value_whether_it_is_a_loss_or_not(mult):
    model = make_model(losses__hard_surface_loss_mult=mult).train()
    rays = make_rays(cam_idx=1)
    outputs, batch = model(rays), batch_for(rays)
    metrics = model.get_metrics_dict(outputs, batch)
    weights = outputs["weights"].detach().double().numpy()
    by_hand = np.mean(-np.log(np.exp(-weights) + np.exp(weights - 1.0))) + np.log(1.0 + np.exp(-1.0))
    assert metrics["hard_surface"].item() == pytest.approx(by_hand, abs=1e-6) and by_hand > 0
    with_metrics, without = model.get_loss_dict(outputs, batch, metrics), model.get_loss_dict(outputs, batch)
    assert with_metrics.keys() == without.keys()
    for name, value in without.items():
        torch.testing.assert_close(with_metrics[name], value)
        assert with_metrics[name].requires_grad
    del batch["matte"], outputs["weights"]
    assert model.get_metrics_dict(outputs, batch).keys() == {"psnr"}


def test_the_table_has_a_row_for_each_identity_of_the_data():
    assert len(make_model(identities=7).latent_table) == 7
    box = SceneBox(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3]))
    assert len(NerfgenModelConfig().setup(scene_box=box, num_train_data=4).latent_table) == 4


def test_each_ray_shows_the_identity_it_names():
    model = make_model(sampler__kind="uniform").eval()
    rays = make_rays(4, cam_idx=torch.tensor([[0], [4], [2], [0]]))
    mixed = model(rays)["rgb"]
    for ray, identity in enumerate([0, 4, 2, 0]):
        rays.metadata = {"cam_idx": identity}
        torch.testing.assert_close(model(rays)["rgb"][ray], mixed[ray])


@pytest.mark.parametrize("identity", [-1, 5])
def test_a_model_whose_configuration_shows_an_identity_that_does_not_exist_is_refused(identity):
    with pytest.raises(UsageError, match=f"identity {identity}"):
        make_model(identity=identity)


def test_a_code_that_is_given_goes_before_the_identity_of_the_rays_and_that_before_the_configuration_s():
    model = make_model(sampler__kind="uniform").eval()

    def shown(**metadata) -> torch.Tensor:
        torch.manual_seed(1)
        return model(make_rays(**metadata))["rgb"]

    mean = shown()
    model.config.identity = 3
    torch.testing.assert_close(shown(), shown(cam_idx=3))
    assert not torch.allclose(shown(), mean)
    torch.testing.assert_close(shown(cam_idx=1), shown(cam_idx=torch.ones(10, 1, dtype=torch.long)))
    torch.manual_seed(1)
    given = model.render(make_rays(cam_idx=1), model.latent_table.row(2))["rgb"]
    torch.testing.assert_close(given, shown(cam_idx=2))


def test_the_background_depends_on_the_direction_and_the_identity_alone():
    model = make_model().eval()
    rays = make_rays(cam_idx=1)
    background = model(rays)["background"]
    moved = make_rays(cam_idx=1)
    moved.origins = rays.origins + 0.3
    moved.directions = rays.directions
    torch.testing.assert_close(model(moved)["background"], background)
    rays.metadata = {"cam_idx": 2}
    assert not torch.allclose(model(rays)["background"], background)


def test_a_solid_background_is_not_learned():
    model = make_model(background__learned=False, background__solid_color=(0.1, 0.2, 0.3)).eval()
    outputs = model(make_rays(cam_idx=0))
    torch.testing.assert_close(outputs["background"], torch.tensor([[0.1, 0.2, 0.3]]).expand(10, 3))
    assert not any("background" in name for name, _ in model.named_parameters())


def test_the_occupancy_of_the_class_follows_training_every_few_steps():
    model = make_model(sampler__kind="importance").train()
    (callback,) = model.get_training_callbacks(None)
    before = model.ray_renderer.occupancy.weights.clone()
    model(make_rays(cam_idx=0))
    callback.run_callback(1)
    assert torch.equal(model.ray_renderer.occupancy.weights, before)
    callback.run_callback(4)
    assert (model.ray_renderer.occupancy.weights < before).any()
    model.ray_renderer.occupancy.weights.zero_()
    callback.run_callback(20)
    assert model.ray_renderer.occupancy.occupied.any()
    model.ray_renderer.occupancy.weights.zero_()
    callback.run_callback(32)
    assert not model.ray_renderer.occupancy.occupied.all()


def test_an_exported_image_holds_the_foreground_alone():
    model = make_model().eval()
    outputs = model.get_outputs_for_camera(make_camera(cam_idx=1))
    rgba = model.get_rgba_image(outputs)
    assert rgba.shape == (6, 8, 4)
    torch.testing.assert_close(rgba[..., 3:], outputs["accumulation"])
    torch.testing.assert_close(rgba[..., :3] * rgba[..., 3:], outputs["foreground"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("seen", [False, True])
def test_chunks_in_which_rays_of_many_identities_see_nothing_are_background(sampler, seen):
    model = make_model(sampler__kind=sampler, eval_num_rays_per_chunk=16).eval()
    camera = make_camera(8, 8, cam_idx=torch.tensor([[2]]))
    with torch.no_grad():
        model.foreground_field.density_head.bias.fill_(-1000.0)
    if not seen and sampler == "importance":
        model.ray_renderer.occupancy.occupied.zero_()
    outputs = model.get_outputs_for_camera(camera)
    assert (outputs["accumulation"] == 0).all()
    torch.testing.assert_close(outputs["rgb"], outputs["background"])


@pytest.mark.parametrize("direction", [1.0, math.nan])
def test_rays_between_cameras_as_nerfstudio_looks_for_the_nearest_one_are_rendered(direction):
    for sampler in SAMPLERS:
        model = make_model(sampler__kind=sampler).eval()
        rays = make_rays(1)
        rays.directions = rays.directions * direction
        rays.nears, rays.fars = torch.tensor([[0.05]]), torch.tensor([[100]])
        depth = model.get_outputs(rays)["depth"]
        assert depth.dtype == torch.float32 and depth.isfinite().all()


def test_a_background_color_that_nerfstudio_sets_for_a_crop_is_behind_the_object():
    model = make_model().eval()
    camera = make_camera(cam_idx=1)
    whole = model.get_outputs_for_camera(camera)
    with renderers.background_color_override_context(torch.tensor([0.0, 1.0, 0.0])):
        cropped = model.get_outputs_for_camera(camera)
        given = model.render_camera(camera, model.latent_table.row(1))
    torch.testing.assert_close(cropped["background"], torch.tensor([0.0, 1.0, 0.0]).expand(6, 8, 3))
    torch.testing.assert_close(cropped["foreground"], whole["foreground"])
    torch.testing.assert_close(given["rgb"], whole["rgb"])


def test_a_crop_of_the_viewer_leaves_nothing_outside():
    model = make_model().eval()
    with torch.no_grad():
        model.foreground_field.density_head.bias.fill_(5.0)
    camera = make_camera(cam_idx=1)
    box = OrientedBox(R=torch.eye(3), T=torch.tensor([0.6, 0.0, 0.0]), S=torch.tensor([0.4, 4.0, 4.0]))
    whole = model.get_outputs_for_camera(camera)["accumulation"]
    cropped = model.get_outputs_for_camera(camera, obb_box=box)["accumulation"]
    assert whole.min() > 0.9
    assert cropped[:, :3].max() < 0.1 and cropped[:, 5:].max() > 0.9


def test_an_evaluated_photograph_gives_metrics_and_pictures():
    model = make_model().eval()
    camera = make_camera(16, 12, cam_idx=1)
    batch = {"image": torch.rand(16, 12, 3), "matte": torch.rand(16, 12, 1)}
    metrics, images = model.get_image_metrics_and_images(model.get_outputs_for_camera(camera), batch)
    assert metrics.keys() == {"psnr", "ssim", "mask_iou"}
    assert all(isinstance(value, float) for value in metrics.values())
    assert images.keys() == {"img", "foreground", "accumulation", "depth", "normals"}
    for name, image in images.items():
        assert image.shape[0] == 16 and image.shape[2] == 3, name
        assert image.min() >= 0 and image.max() <= 1 + 1e-6, name
    torch.testing.assert_close(images["img"][:, :12], batch["image"])


def test_a_volumetric_run_is_shown_with_the_importance_sampler_where_its_kernels_do_not_run(capsys):
    renderer = make_model(sampler__kind="volumetric").ray_renderer
    assert isinstance(renderer, ImportanceRenderer)
    assert "CUDA" in capsys.readouterr().out


def test_an_identity_that_does_not_exist_ends_the_command_with_one_line(capsys):
    with pytest.raises(SystemExit) as exit_:
        make_model().eval().get_outputs_for_camera(make_camera(cam_idx=IDENTITIES))
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("nerfgen: ") and "identity 5" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("foreground.hidden-dim", 0),
        ("foreground.num-layers", 1),
        ("foreground.skip-connection", 3),
        ("foreground.skip-connection", 0),
        ("foreground.num-frequencies", -1),
        ("background.num-layers", 1),
        ("sampler.grid-resolution", 1),
        ("losses.mask-loss-mult", -1.0),
        ("symmetry.mirrored-share", -1.0),
        ("camera-optimizer.loss-mult", -1.0),
        ("eval-num-rays-per-chunk", 0),
    ],
)
def test_a_value_that_makes_no_model_is_refused_with_its_option(option, value):
    with pytest.raises(UsageError, match=re.escape(f"--pipeline.model.{option} {value}")):
        make_model(**{option.replace(".", "__").replace("-", "_"): value})


def test_marching_cubes_over_signed_distances_end_with_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        hasattr(make_model().config, "sdf_field")
    error = capsys.readouterr().err
    assert error.startswith("nerfgen: ns-export marching-cubes") and error.count("\n") == 1
    assert "nerfgen mesh" in error
