"""The foreground field against a plain one that concatenates the code to every sample."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nerfgen_ns.errors import UsageError
from nerfgen_ns.fields.conditional_mlp import product_dtype
from nerfgen_ns.fields.foreground import (
    ForegroundField,
    ForegroundFieldConfig,
    LatentTerms,
    activate_density,
    invert_density,
)
from nerfgen_ns.utils.machine import has_fast_bf16

LATENT_DIM = 5


def make_field(use_bf16: bool = False, **options) -> ForegroundField:
    sizes = {"hidden_dim": 16, "num_layers": 4, "skip_connection": 2, "num_frequencies": 3, **options}
    return ForegroundField(ForegroundFieldConfig(**sizes), LATENT_DIM, use_bf16)


def plain_layer(features: list[Tensor], weights: list[Tensor], bias: Tensor) -> Tensor:
    """One layer on the concatenation of its inputs: W·[a, b, …] + bias."""
    return torch.cat(features, dim=-1) @ torch.cat(weights, dim=-1).T + bias


def plain_field(field: ForegroundField, positions: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """The NeRF MLP as the paper has it: [γ(x), z] enters, and enters again at the skip layer."""
    encoded = field.encoding(positions)
    codes = codes[:, None].expand(*positions.shape[:2], -1)
    features = F.relu(
        plain_layer(
            [encoded, codes],
            [
                field.input_position.weight
                * (1.0 if field.low_frequencies is None else field.low_frequencies),
                field.input_latent.weight,
            ],
            field.input_latent.bias,
        )
    )
    early = features
    for layer, linear in enumerate(field.hidden, start=1):
        if layer == field.skip_connection:
            early = features
            inputs = [features, encoded, codes]
            weights = [linear.weight, field.skip_position.weight, field.skip_latent.weight]
            features = F.relu(plain_layer(inputs, weights, field.skip_latent.bias))
        elif layer in field.code_layers:
            weights = [linear.weight, field.hidden_latent[str(layer)].weight]
            features = F.relu(plain_layer([features, codes], weights, linear.bias))
        else:
            features = F.relu(linear(features))
    density = 10.0 * F.softplus(
        field.density_head(features if field.low_frequencies is None else early) - 2.0
    )
    return density.squeeze(-1), field.rgb_head(features).sigmoid()


@pytest.mark.parametrize(("layers", "skip_layer"), [(2, 1), (4, 2), (4, 3), (8, 4)])
@pytest.mark.parametrize("in_every_layer", [False, True])
@pytest.mark.parametrize("density_frequencies", [None, 1])
def test_the_fast_form_equals_plain_concatenation(layers, skip_layer, in_every_layer, density_frequencies):
    sizes = {
        "num_layers": layers,
        "skip_connection": skip_layer,
        "density_frequencies": density_frequencies,
    }
    field = make_field(**sizes, code_in_every_layer=in_every_layer).double()
    positions = torch.rand(6, 9, 3, dtype=torch.double) * 2 - 1
    codes = torch.randn(6, LATENT_DIM, dtype=torch.double)

    density, rgb = field(positions, field.latent_terms(codes))

    plain_density, plain_rgb = plain_field(field, positions, codes)
    # The field returns float32; everything before is float64.
    torch.testing.assert_close(density.double(), plain_density, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(rgb.double(), plain_rgb, rtol=1e-6, atol=1e-6)


def test_the_fast_form_equals_plain_concatenation_to_the_precision_of_float32():
    field = make_field(hidden_dim=64, num_frequencies=6)
    positions, codes = torch.rand(6, 9, 3) * 2 - 1, torch.randn(6, LATENT_DIM)
    density, rgb = field(positions, field.latent_terms(codes))
    plain_density, plain_rgb = plain_field(field, positions, codes)
    torch.testing.assert_close(density, plain_density, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(rgb, plain_rgb, rtol=1e-5, atol=1e-5)


def test_one_code_serves_all_rays():
    field = make_field()
    positions, code = torch.rand(6, 9, 3), torch.randn(1, LATENT_DIM)
    shared = field(positions, field.latent_terms(code))
    own = field(positions, field.latent_terms(code.expand(6, -1)))
    torch.testing.assert_close(shared[0], own[0])
    torch.testing.assert_close(shared[1], own[1])


@pytest.mark.parametrize("density_frequencies", [None, 2])
def test_density_alone_is_the_density(density_frequencies):
    field = make_field(density_frequencies=density_frequencies)
    positions, terms = torch.rand(6, 9, 3), field.latent_terms(torch.randn(6, LATENT_DIM))
    torch.testing.assert_close(field.density(positions, terms), field(positions, terms)[0])


def test_high_frequencies_change_the_color_and_not_the_density():
    field = make_field(density_frequencies=1)
    positions, terms = torch.rand(6, 9, 3), field.latent_terms(torch.randn(6, LATENT_DIM))
    before = field(positions, terms)
    with torch.no_grad():
        # The second frequency and the third, of the sine and of the cosine.
        for first in (6, 15):
            field.input_position.weight[:, first : first + 6] += 1.0
            field.skip_position.weight[:, first : first + 6] += 1.0
    density, rgb = field(positions, terms)
    torch.testing.assert_close(density, before[0])
    assert not torch.allclose(rgb, before[1], atol=1e-2)


def test_frequencies_that_the_encoding_does_not_have_are_refused():
    with pytest.raises(UsageError, match=r"--foreground\.density-frequencies 11"):
        ForegroundFieldConfig(density_frequencies=11).check("--foreground")


def test_density_starts_as_a_thin_fog_and_grows_linearly():
    density = activate_density(torch.tensor([0.0, 100.0, 200.0]))
    assert 0.5 < density[0] < 2.0
    torch.testing.assert_close(density[1:], torch.tensor([980.0, 1980.0]))


def test_density_is_positive_and_color_within_0_and_1_however_large_the_weights():
    field = make_field()
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.mul_(100.0)
    density, rgb = field(torch.rand(6, 9, 3), field.latent_terms(torch.randn(6, LATENT_DIM)))
    assert density.isfinite().all() and (density >= 0).all()
    assert rgb.min() >= 0 and rgb.max() <= 1


def test_the_gradient_of_a_ray_reaches_its_own_code_through_both_layers():
    field = make_field()
    codes = torch.randn(3, LATENT_DIM, requires_grad=True)
    density, _ = field(torch.rand(3, 4, 3), field.latent_terms(codes))
    (gradient,) = torch.autograd.grad(density[1].sum(), codes)
    assert gradient[1].abs().sum() > 0
    assert (gradient[[0, 2]] == 0).all()

    terms = LatentTerms(term.detach().requires_grad_() for term in field.latent_terms(codes))
    density, _ = field(torch.rand(3, 4, 3), terms)
    for gradient in torch.autograd.grad(density.sum(), terms):
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("layer", [0, 4])
def test_a_skip_connection_outside_the_network_is_refused(layer):
    with pytest.raises(UsageError, match=f"--foreground.skip-connection {layer}"):
        ForegroundFieldConfig(num_layers=4, skip_connection=layer).check("--foreground")


def test_bf16_is_used_only_when_asked_for():
    positions, codes = torch.rand(6, 9, 3), torch.randn(6, LATENT_DIM)
    exact, fast = make_field(), make_field(use_bf16=True)
    fast.load_state_dict(exact.state_dict())

    terms = fast.latent_terms(codes)
    assert {term.dtype for term in terms} == {torch.bfloat16}
    assert {term.dtype for term in exact.latent_terms(codes)} == {torch.float32}

    density, rgb = fast(positions, terms)
    exact_density, exact_rgb = exact(positions, exact.latent_terms(codes))
    assert density.dtype == rgb.dtype == torch.float32
    assert not torch.equal(density, exact_density)
    torch.testing.assert_close(density, exact_density, rtol=0.05, atol=0.01)
    torch.testing.assert_close(rgb, exact_rgb, rtol=0.05, atol=0.01)


def test_products_have_one_number_format_whatever_autocast_is_in_force():
    points = torch.ones(2, 3)
    assert product_dtype(points, use_bf16=True) == torch.bfloat16
    assert product_dtype(points, use_bf16=False) == torch.float32
    with torch.autocast("cpu", dtype=torch.float16):
        assert product_dtype(points, use_bf16=True) == torch.bfloat16
        assert product_dtype(points, use_bf16=False) == torch.float16
    assert has_fast_bf16("meta") is False


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("use_bf16", [False, True])
def test_a_field_within_an_autocast_learns_what_it_learns_without(dtype, use_bf16):
    field = ForegroundField(
        ForegroundFieldConfig(hidden_dim=16, num_layers=3, skip_connection=1, num_frequencies=2),
        6,
        use_bf16=use_bf16,
    )
    positions, codes = torch.rand(5, 4, 3), torch.rand(5, 6)

    def gradient(enabled: bool) -> torch.Tensor:
        field.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled=enabled):
            density, colors = field(positions, field.latent_terms(codes))
        assert density.dtype == colors.dtype == torch.float32
        (density.mean() + colors.mean()).backward()
        return torch.cat([parameter.grad.flatten() for parameter in field.parameters()])

    torch.testing.assert_close(gradient(True), gradient(False), rtol=0.1, atol=2e-2)


def test_a_field_without_points_gives_nothing_and_does_not_fail():
    field = ForegroundField(
        ForegroundFieldConfig(hidden_dim=16, num_layers=3, skip_connection=1, num_frequencies=2), 6
    )
    density, colors = field(torch.zeros(0, 4, 3), field.latent_terms(torch.zeros(0, 6)))
    assert density.shape == (0, 4) and colors.shape == (0, 4, 3)
    (density.sum() + colors.sum()).backward()
    assert all(not parameter.grad.any() for parameter in field.parameters())


def test_the_activation_of_the_density_is_undone():
    raw = torch.tensor([-8.0, -1.0, 0.0, 2.0, 30.0, 300.0])
    torch.testing.assert_close(invert_density(activate_density(raw)), raw, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("use_bf16", [False, True])
@pytest.mark.parametrize("kept", [0.0, 0.4])
def test_activations_that_are_computed_twice_change_no_value_and_no_gradient(
    monkeypatch: pytest.MonkeyPatch, use_bf16: bool, kept: float
) -> None:
    field = make_field(use_bf16, code_in_every_layer=True, density_frequencies=2)
    positions, codes = torch.rand(100, 8, 3) * 2 - 1, torch.randn(100, LATENT_DIM)
    whole = 100 * 8 * field._activation_bytes(positions)
    saved: list[int] = []

    def results(memory: float | None) -> list[Tensor]:
        field.activation_memory = memory
        given = [positions.clone().requires_grad_(), codes.clone().requires_grad_()]
        field.zero_grad()
        saved.clear()

        def count(tensor: Tensor) -> Tensor:
            saved.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            density, color = field(given[0], field.latent_terms(given[1]))
        (density.square().mean() + (color * torch.arange(3)).square().mean()).backward()
        gradients = [value.grad for value in (*given, *field.parameters())]
        assert all(gradient is not None for gradient in gradients)
        return [density, color, *gradients]  # type: ignore[list-item]

    expected, all_saved = results(None), sum(saved)
    # Pieces of 30 rays.
    monkeypatch.setattr("nerfgen_ns.fields.foreground.PIECE", 0.301 * whole / 1e9)
    found = results(kept * whole / 1e9)
    assert sum(saved) < (0.2 + kept) * all_saved
    tolerance = {"rtol": 2e-2, "atol": 2e-2} if use_bf16 else {"rtol": 1e-5, "atol": 1e-6}
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(value, wanted, **tolerance)
    with torch.no_grad():
        assert torch.equal(field(positions, field.latent_terms(codes))[0], expected[0])


def test_a_memory_below_zero_is_refused() -> None:
    with pytest.raises(UsageError, match=r"foreground.activation-memory"):
        ForegroundFieldConfig(activation_memory=-1.0).check("--pipeline.model.foreground")
