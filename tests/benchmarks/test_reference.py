"""The fast path against the literal method, for the same weights and the same samples."""

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from benchmarks.reference import Pixels, Reference, ReferenceSettings, even_bounds
from nerfgen_ns.fields.background import BackgroundFieldConfig
from nerfgen_ns.fields.foreground import ForegroundFieldConfig
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.rendering.ray_renderers import SamplerConfig
from tests.helpers import small_models

IDENTITIES, RAYS = 5, 40
SETTINGS = ReferenceSettings(
    latent_dim=6,
    width=16,
    octaves=3,
    background_width=12,
    background_layers=3,
    background_octaves=2,
    samples=8,
)


def make_model(sampler: str) -> NerfgenModel:
    """The product's model with fp32 products, and samples where the reference has them: evenly spread."""
    model = small_models.make_model(
        IDENTITIES,
        foreground=ForegroundFieldConfig(hidden_dim=16, num_layers=4, skip_connection=2, num_frequencies=3),
        background=BackgroundFieldConfig(hidden_dim=12, num_layers=3, num_frequencies=2),
        sampler=SamplerConfig(sampler, num_samples=8, num_eval_samples=8, grid_resolution=8),
    )
    # A denser start than the thin fog of a new model, so that rays end inside the box and depths differ.
    with torch.no_grad():
        model.foreground_field.density_head.weight.mul_(20.0)
    model.ray_renderer.eval()
    return model


def weight_sources(model: NerfgenModel) -> dict[str, list[Tensor]]:
    """For each parameter of the reference, the parameters of ours that stand side by side in it."""
    field, background = model.foreground_field, model.background_field
    assert background is not None
    sources = {
        "table.weight": [model.latent_table.codes.weight],
        "foreground.hidden.0.weight": [field.input_position.weight, field.input_latent.weight],
        "foreground.hidden.0.bias": [field.input_latent.bias],
        "foreground.density.weight": [field.density_head.weight],
        "foreground.density.bias": [field.density_head.bias],
        "foreground.color.weight": [field.rgb_head.weight],
        "foreground.color.bias": [field.rgb_head.bias],
        "background.color.weight": [background.rgb_head.weight],
        "background.color.bias": [background.rgb_head.bias],
    }
    for layer, linear in enumerate(field.hidden, start=1):
        name = f"foreground.hidden.{layer}"
        skips = layer == field.skip_connection
        entering = [field.skip_position.weight, field.skip_latent.weight] if skips else []
        sources[f"{name}.weight"] = [linear.weight, *entering]
        sources[f"{name}.bias"] = [field.skip_latent.bias if skips else linear.bias]
    for layer, linear in enumerate([background.input, *background.hidden]):
        sources[f"background.hidden.{layer}.weight"] = [linear.weight]
        sources[f"background.hidden.{layer}.bias"] = [linear.bias]
    return sources


def make_reference(model: NerfgenModel) -> Reference:
    """The reference with the weights of ours: W = [W_x, W_z] in both layers that the code enters."""
    reference = Reference(IDENTITIES, SETTINGS)
    sources = weight_sources(model)
    reference.load_state_dict({name: torch.cat(parts, dim=-1).detach() for name, parts in sources.items()})
    return reference


def make_batch() -> dict[str, Tensor]:
    """Rays from around the class toward it, the identity of each, and what they should show."""
    generator = torch.Generator().manual_seed(1)
    origins = torch.nn.functional.normalize(torch.randn(RAYS, 3, generator=generator), dim=-1) * 2.7
    targets = torch.rand(RAYS, 3, generator=generator) - 0.5
    return {
        "origins": origins,
        "directions": torch.nn.functional.normalize(targets - origins, dim=-1),
        "rows": torch.randint(IDENTITIES, (RAYS,), generator=generator),
        "image": torch.rand(RAYS, 3, generator=generator),
        "matte": torch.rand(RAYS, 1, generator=generator),
    }


def render_ours(model: NerfgenModel, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    bundle = RayBundle(
        origins=batch["origins"],
        directions=batch["directions"],
        pixel_area=torch.ones(RAYS, 1),
        metadata={"cam_idx": batch["rows"][:, None]},
    )
    return model(bundle)


def render_reference(reference: Reference, batch: dict[str, Tensor]) -> Pixels:
    bounds = even_bounds(batch["origins"], batch["directions"], SETTINGS.samples, stratified=False)
    return reference(batch["origins"], batch["directions"], batch["rows"], bounds)


def test_density_and_color_equal_those_of_the_fast_field():
    model = make_model("uniform")
    reference, field = make_reference(model), model.foreground_field
    positions, codes = torch.rand(7, 9, 3) * 2 - 1, torch.randn(7, 6)
    density, colors = reference.foreground(positions, codes[:, None].expand(-1, 9, -1))
    fast_density, fast_colors = field(positions, field.latent_terms(codes))
    torch.testing.assert_close(density, fast_density, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(colors, fast_colors, rtol=1e-4, atol=1e-5)
    assert density.std() > 1 and colors.std() > 0.01


def test_the_background_equals_that_of_the_fast_field():
    model = make_model("uniform")
    assert model.background_field is not None
    directions, codes = torch.nn.functional.normalize(torch.randn(7, 3), dim=-1), torch.randn(7, 6)
    background = make_reference(model).background(directions, codes)
    torch.testing.assert_close(background, model.background_field(directions, codes), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sampler", ["uniform", "importance"])
def test_pixels_and_losses_equal_those_of_the_fast_path(sampler):
    """The importance sampler spreads samples evenly as long as its grid has learned nothing."""
    model, batch = make_model(sampler), make_batch()
    reference = make_reference(model)
    ours, pixels = render_ours(model, batch), render_reference(reference, batch)
    for name in ("rgb", "accumulation", "depth", "weights"):
        torch.testing.assert_close(ours[name], getattr(pixels, name), rtol=1e-3, atol=1e-4)
    assert pixels.accumulation.min() < 0.9 and pixels.depth.std() > 0.05

    losses = model.get_loss_dict(ours, batch)
    expected = reference.loss(pixels, batch["image"], batch["matte"])
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("sampler", ["uniform", "importance"])
def test_gradients_equal_those_of_the_fast_path(sampler):
    model, batch = make_model(sampler), make_batch()
    reference = make_reference(model)
    sum(model.get_loss_dict(render_ours(model, batch), batch).values()).backward()
    pixels = render_reference(reference, batch)
    sum(reference.loss(pixels, batch["image"], batch["matte"]).values()).backward()

    expected = dict(reference.named_parameters())
    for name, parts in weight_sources(model).items():
        gradients = [part.grad for part in parts]
        assert all(gradient is not None for gradient in gradients), name
        ours = torch.cat([gradient.to_dense() for gradient in gradients], dim=-1)
        assert ours.abs().sum() > 0, name
        torch.testing.assert_close(ours, expected[name].grad, rtol=1e-3, atol=1e-6, msg=name)


def test_the_loss_without_a_matte_leaves_the_mask_out():
    model, batch = make_model("uniform"), make_batch()
    reference = make_reference(model)
    losses = reference.loss(render_reference(reference, batch), batch["image"], None)
    assert losses.keys() == {"rgb_loss", "hard_surface_loss"}


def test_stratified_bounds_rise_from_the_box_to_the_box_and_differ():
    batch = make_batch()
    rays = batch["origins"], batch["directions"]
    even, drawn = (even_bounds(*rays, 8, stratified=drawn) for drawn in (False, True))
    assert (drawn.diff(dim=-1) > 0).all()
    assert not torch.equal(even, drawn)
    torch.testing.assert_close(even[:, [0, -1]], drawn[:, [0, -1]])
    ends = batch["origins"][:, None] + batch["directions"][:, None] * even[:, [0, -1], None]
    torch.testing.assert_close(ends.abs().amax(dim=-1), torch.ones(RAYS, 2), rtol=1e-4, atol=1e-4)


def test_a_few_steps_of_its_optimizer_fit_a_batch_better():
    reference, batch = Reference(IDENTITIES, SETTINGS), make_batch()
    optimizer = reference.optimizer()
    totals = []
    for _ in range(30):
        losses = reference.loss(render_reference(reference, batch), batch["image"], batch["matte"])
        totals.append(sum(losses.values()))
        optimizer.zero_grad()
        totals[-1].backward()
        optimizer.step()
    assert totals[-1] < 0.95 * totals[0]
