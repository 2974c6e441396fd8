"""The labels in the panel: their legend, and what a click says."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nerfgen_ns.fields.heads import LabelHeadConfig
from nerfgen_ns.model.class_view import label_of_ray
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.viewer.controls import LEGEND_ROW, legend_picture
from tests.helpers.panel_viewer import DIMENSION, IDENTITIES, eventually, picture, press
from tests.helpers.small_models import make_model

NAMES = ("background", "skin", "hair")
COLORS = ((0, 0, 0), (224, 172, 105), (60, 40, 30))


@pytest.fixture
def model() -> NerfgenModel:
    head = LabelHeadConfig(names=NAMES, colors=COLORS, hidden_dim=4)
    options = {"latent_dim": DIMENSION, "sampler__kind": "uniform", "label_head": head}
    return make_model(IDENTITIES, num_train_data=9, **options).eval()


def click(viewer, origin=(0.0, 0.0, 27.0), direction=(0.0, 0.0, -1.0)) -> SimpleNamespace:
    return SimpleNamespace(client=viewer.client, ray_origin=origin, ray_direction=direction)


def test_the_legend_shows_every_color_beside_its_name(model, panel) -> None:
    from nerfgen_ns.model.class_view import require_legend

    drawn = legend_picture(require_legend(model))
    assert drawn.shape[0] == LEGEND_ROW * len(NAMES)
    for row, color in enumerate(COLORS):
        np.testing.assert_array_equal(drawn[row * LEGEND_ROW + LEGEND_ROW // 2, LEGEND_ROW // 2], color)
        assert drawn[row * LEGEND_ROW : (row + 1) * LEGEND_ROW, LEGEND_ROW:].min() < 128  # the name


def test_labels_are_outputs_of_the_viewer(model, panel) -> None:
    colors = {
        tuple(round(255 * part) for part in color) for color in picture(model, "labels").view(-1, 3).tolist()
    }
    assert colors <= set(COLORS)
    assert picture(model, "label_confidence").shape == (12, 12, 1)


def test_a_click_tells_the_label_of_what_is_shown(model, viewer, panel) -> None:
    controls = panel._controls
    press(viewer, controls.source, "mean")
    press(viewer, controls.label_clicks, True)
    panel._hear_click(click(viewer))
    assert eventually(lambda: viewer.client.messages)
    expected = label_of_ray(
        model, model.latent_table.mean(), torch.tensor([0.0, 0.0, 2.7]), torch.tensor([0.0, 0.0, -1.0])
    )
    assert controls.clicked_label.value == f"{expected.name}, {100 * expected.confidence:.0f} %"
    assert controls.clicked_label.value in viewer.client.messages[-1][1]
    assert not viewer.train_lock.locked()


def test_clicks_are_heard_only_while_asked_for(viewer, panel) -> None:
    scene = viewer.viser_server.scene
    press(viewer, panel._controls.label_clicks, True)
    assert scene._scene_pointer_cb
    press(viewer, panel._controls.label_clicks, False)
    assert not scene._scene_pointer_cb
    assert not viewer.client.errors


def test_a_click_that_cannot_be_told_is_said(viewer, panel) -> None:
    panel._hear_click(click(viewer, origin=None))
    assert eventually(lambda: viewer.client.errors)
    assert not viewer.train_lock.locked()
