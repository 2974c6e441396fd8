"""The panel's controls of parts, pressed without a browser."""

import pytest
import torch

from nerfgen_ns.fields.regions import RegionConfig
from tests.helpers.panel_viewer import picture, picture_of, press, viewer_camera
from tests.helpers.split_objects import ball_model


@pytest.fixture
def model():
    return ball_model()


def expected(model, region):
    return model.render_camera(viewer_camera(), model.latent_table.row(0), region=region)["rgb"]


def test_a_part_is_edited_and_the_command_that_does_it_is_shown(model, viewer, panel):
    parts = panel._controls.region
    whole = picture(model)
    assert torch.equal(whole, picture_of(model, model.latent_table.row(0)))
    assert parts.command.content == "" and not parts.part.visible
    press(viewer, parts.effect, "remove")
    assert torch.equal(picture(model), expected(model, RegionConfig("remove", ("front",))))
    assert parts.part.visible and not parts.color.visible
    press(viewer, parts.part, "back")
    press(viewer, parts.threshold, 0.3)
    assert torch.equal(picture(model), expected(model, RegionConfig("remove", ("back",), None, 0.3)))
    config = viewer.log_filename.parent / "config.yml"
    assert (
        f"nerfgen region --load-config {config} --labels back --effect remove --threshold 0.3 "
        in parts.command.content
    )
    press(viewer, panel._controls.reset)
    assert torch.equal(picture(model), whole) and not viewer.client.errors


def test_a_new_color_is_measured_once_and_shown(model, viewer, panel):
    parts = panel._controls.region
    press(viewer, parts.effect, "recolor")
    press(viewer, parts.color, (0, 255, 0))
    (luminance,) = panel._luminances.values()
    region = RegionConfig("recolor", ("front",), (0, 255, 0), luminance=luminance)
    assert torch.equal(picture(model), expected(model, region))
    assert "--color 0 255 0" in parts.command.content
    press(viewer, parts.part, "inside")
    assert len(viewer.client.errors) == 1 and "inside" in viewer.client.errors[0]
    assert torch.equal(picture(model), expected(model, region))


def test_an_edited_run_opens_as_it_is_and_can_be_shown_whole(model, viewer, panel):
    whole = picture(model)
    region = RegionConfig("extract", ("front", "back"), softness=0.5)
    model.config.region = region
    viewer.viser_server.gui.reset()
    panel._setup(viewer)
    assert torch.equal(picture(model), expected(model, region))
    assert panel._controls.region.part.value == "front + back"
    press(viewer, panel._controls.region.effect, "none")
    assert torch.equal(picture(model), whole)
