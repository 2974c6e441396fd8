"""The background field."""

import pytest
import torch

from nerfgen_ns.errors import UsageError
from nerfgen_ns.fields.background import BackgroundField, BackgroundFieldConfig


def unit_directions(count: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 3), dim=-1)


def test_one_color_a_ray_within_0_and_1():
    field = BackgroundField(BackgroundFieldConfig(hidden_dim=16, num_layers=3), latent_dim=5)
    rgb = field(unit_directions(7), 100 * torch.randn(7, 5))
    assert rgb.shape == (7, 3) and rgb.dtype == torch.float32
    assert rgb.min() >= 0 and rgb.max() <= 1


def test_each_ray_depends_on_its_own_direction_and_code_alone():
    field = BackgroundField(BackgroundFieldConfig(hidden_dim=16, num_layers=3), latent_dim=5)
    directions, codes = unit_directions(4), torch.randn(4, 5)
    rgb = field(directions, codes)
    torch.testing.assert_close(field(directions[2:3], codes[2:3]), rgb[2:3])
    assert not torch.allclose(field(directions.flip(0), codes), rgb)
    assert not torch.allclose(field(directions, codes.flip(0)), rgb)


def test_the_number_of_layers_counts_the_output_layer():
    field = BackgroundField(BackgroundFieldConfig(hidden_dim=16, num_layers=5), latent_dim=5)
    assert sum(isinstance(module, torch.nn.Linear) for module in field.modules()) == 5
    with pytest.raises(UsageError, match=r"--background\.num-layers 1"):
        BackgroundFieldConfig(num_layers=1).check("--background")


def test_bf16_is_used_only_when_asked_for():
    exact, fast = (
        BackgroundField(BackgroundFieldConfig(hidden_dim=16, num_layers=3), 5, use_bf16=use)
        for use in (False, True)
    )
    fast.load_state_dict(exact.state_dict())
    directions, codes = unit_directions(7), torch.randn(7, 5)
    rgb, exact_rgb = fast(directions, codes), exact(directions, codes)
    assert rgb.dtype == torch.float32 and not torch.equal(rgb, exact_rgb)
    torch.testing.assert_close(rgb, exact_rgb, rtol=0.02, atol=0.01)
