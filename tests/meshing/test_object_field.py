"""The field of one object of a class."""

from pathlib import Path

import pytest
import torch

from nerfgen_ns.errors import UsageError
from nerfgen_ns.meshing.field import object_field
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.runs.loading import load_run


@pytest.fixture
def model(trained_config: Path) -> NerfgenModel:
    return load_run(trained_config).model


def test_it_is_the_class_s_field_at_the_code(model: NerfgenModel) -> None:
    code, positions = torch.randn(96), torch.rand(50, 3) * 2.0 - 1.0
    model.foreground_field.use_bf16 = False
    terms = model.foreground_field.latent_terms(code[None])
    density, colors = model.foreground_field(positions[None], terms)
    field = object_field(model, code)
    torch.testing.assert_close(field.density(positions), density[0])
    torch.testing.assert_close(field.density_and_color(positions), (density[0], colors[0]))
    assert not torch.equal(object_field(model, -code).density(positions), density[0])


def test_it_is_exact_where_the_model_is_not_and_stays_as_training_goes_on(model: NerfgenModel) -> None:
    code, positions = torch.randn(1, 96), torch.rand(50, 3) * 2.0 - 1.0
    model.foreground_field.use_bf16 = False
    exact = object_field(model, code).density(positions)
    model.foreground_field.use_bf16 = True
    field = object_field(model, code)
    torch.testing.assert_close(field.density(positions), exact, rtol=0.0, atol=0.0)
    assert model.foreground_field.use_bf16
    with torch.no_grad():
        model.foreground_field.density_head.bias += 1.0
    torch.testing.assert_close(field.density(positions), exact, rtol=0.0, atol=0.0)


def test_it_knows_where_the_class_is(model: NerfgenModel) -> None:
    occupancy = model.ray_renderer.occupancy
    occupancy.occupied.zero_()
    occupancy.occupied[:24] = 1.0
    near_class = object_field(model, torch.zeros(96)).near_class
    assert near_class is not None
    assert near_class(torch.tensor([[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0]])).tolist() == [True, False]


def test_a_code_of_another_model_s_size_is_refused(model: NerfgenModel) -> None:
    with pytest.raises(UsageError, match=r"\b95\b.*\b96\b"):
        object_field(model, torch.zeros(1, 95))
