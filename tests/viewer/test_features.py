"""Features in the panel: a click looks for what it hits, and effects are on it."""

from types import SimpleNamespace

import pytest
import torch

from nerfgen_ns.fields.heads import FeatureHeadConfig
from nerfgen_ns.fields.regions import RegionConfig
from nerfgen_ns.model.class_view import query_of_ray
from nerfgen_ns.model.model import NerfgenModel
from tests.helpers.panel_viewer import DIMENSION, IDENTITIES, eventually, picture, press, viewer_camera
from tests.helpers.small_models import make_model

ORIGIN, DIRECTION = (0.0, 0.0, 27.0), (0.0, 0.0, -1.0)


@pytest.fixture
def model() -> NerfgenModel:
    head = FeatureHeadConfig(channels=4, dims=4, hidden_dim=4)
    options = {"latent_dim": DIMENSION, "sampler__kind": "uniform", "feature_head": head}
    model = make_model(IDENTITIES, num_train_data=9, **options).eval()
    with torch.no_grad():
        model.foreground_field.density_head.bias.fill_(4.0)
    return model


def click(viewer, origin=ORIGIN) -> SimpleNamespace:
    return SimpleNamespace(client=viewer.client, ray_origin=origin, ray_direction=DIRECTION)


def test_a_click_looks_for_what_it_hits(model, viewer, panel) -> None:
    press(viewer, panel._controls.find_clicks, True)
    panel._hear_click(click(viewer))
    assert eventually(lambda: viewer.client.messages)
    code = model.latent_table.row(0)
    query = query_of_ray(model, code, torch.tensor([0.0, 0.0, 2.7]), torch.tensor(DIRECTION))
    torch.testing.assert_close(panel._choice.query.feature, query.feature)
    expected = model.render_camera(viewer_camera(), code, query=query)["similarity"]
    torch.testing.assert_close(picture(model, "similarity"), expected)
    assert not viewer.client.errors


def test_an_effect_is_on_what_was_clicked(model, viewer, panel) -> None:
    parts = panel._controls.region
    press(viewer, panel._controls.find_clicks, True)
    panel._hear_click(click(viewer))
    assert eventually(lambda: viewer.client.messages)
    press(viewer, parts.effect, "remove")
    press(viewer, parts.threshold, 0.8)
    region, query = RegionConfig("remove", threshold=0.8), panel._choice.query
    code = model.latent_table.row(0)
    expected = model.render_camera(viewer_camera(), code, region=region, query=query)["rgb"]
    torch.testing.assert_close(picture(model), expected)
    assert not torch.equal(expected, model.render_camera(viewer_camera(), code)["rgb"])
    assert "--effect remove --threshold 0.8" in parts.command.content
    assert "--labels" not in parts.command.content


def test_an_effect_on_nothing_and_a_click_beside_the_object_are_said(model, viewer, panel) -> None:
    whole = picture(model)
    press(viewer, panel._controls.region.effect, "remove")
    assert viewer.client.errors and torch.equal(picture(model), whole)
    press(viewer, panel._controls.find_clicks, True)
    panel._hear_click(click(viewer, origin=(90.0, 0.0, 27.0)))
    assert eventually(lambda: len(viewer.client.errors) == 2)
