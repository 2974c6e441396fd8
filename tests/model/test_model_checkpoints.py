"""Which checkpoints a model loads."""

import pytest
import torch

from nerfgen_ns.errors import UsageError
from tests.helpers.small_models import make_camera, make_model

SAMPLERS = ["importance", "pdf", "uniform"]


def test_a_checkpoint_restores_the_renders():
    model, other = make_model().eval(), make_model().eval()
    model.ray_renderer.occupancy.occupied.bernoulli_(0.5)
    other.load_state_dict(model.state_dict())
    camera = make_camera(cam_idx=1)
    expected = model.get_outputs_for_camera(camera)
    for name, output in other.get_outputs_for_camera(camera).items():
        torch.testing.assert_close(output, expected[name])


@pytest.mark.parametrize(
    "other",
    [
        {"foreground__hidden_dim": 8},
        {"foreground__num_layers": 4},
        {"identities": 6},
        {"background__learned": False},
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(other):
    with pytest.raises(UsageError, match=r"config\.yml"):
        make_model().load_state_dict(make_model(**other).state_dict())


@pytest.mark.parametrize("sampler", ["pdf", "importance"])
def test_a_checkpoint_trained_with_another_sampler_loads_without_its_grid(sampler):
    trained = make_model(sampler__kind=sampler)
    model = make_model(sampler__kind="importance", sampler__grid_resolution=4).eval()
    model.load_state_dict(trained.state_dict())
    torch.testing.assert_close(model.latent_table.mean(), trained.latent_table.mean())
    assert (model.ray_renderer.occupancy.occupied == 1).all()
    assert model.get_outputs_for_camera(make_camera(cam_idx=1))["accumulation"].max() > 0


def test_a_checkpoint_of_the_volumetric_sampler_tells_the_importance_sampler_where_the_class_is():
    model = make_model().eval()
    state = {
        name: value for name, value in model.state_dict().items() if not name.startswith("ray_renderer.")
    }
    cells = torch.rand(1, 8, 8, 8) > 0.5
    model.load_state_dict({**state, "ray_renderer.grid.binaries": cells})
    torch.testing.assert_close(model.ray_renderer.occupancy.occupied, cells[0].float())
    torch.testing.assert_close(model.ray_renderer.sampler.occupancy.occupied, cells[0].float())
