"""Values that a program gives to the panel's controls, through viser's own setters."""

from types import SimpleNamespace

import pytest
import torch

from nerfgen_ns.latents.code_files import write_codes
from nerfgen_ns.latents.latent_space import LatentSpace
from tests.helpers.panel_viewer import (
    DIMENSION,
    ROWS,
    assign,
    eventually,
    must_return,
    picture,
    picture_of,
    press,
)

pytestmark = pytest.mark.usefixtures("callbacks")


def test_every_source_is_followed_and_every_assignment_comes_back(model, viewer, panel):
    table, controls = model.latent_table, panel._controls
    space = LatentSpace.of(table.codes.weight)
    for source, code in {
        "sample": space.sample(1, 0.8, seed=0),
        "mean": table.mean(),
        "morph": 0.5 * (table.row(0) + table.row(1)),
        "photograph": table.row(0),
    }.items():
        assign(controls.amounts[0], 2.0)
        assign(controls.source, source)
        expected = picture_of(model, code)
        assert eventually(lambda expected=expected: torch.allclose(picture(model), expected, atol=1e-4)), (
            source
        )
        assert eventually(lambda: controls.amounts[0].value == 0.0)
    assert not viewer.client.messages


def test_every_control_is_followed(model, panel):
    controls = panel._controls
    for control, value in (
        (controls.identity, 5),
        (controls.seed, 3),
        (controls.truncation, 0.3),
        (controls.share, 0.2),
        (controls.kind, "spherical"),
        (controls.amounts[0], 1.5),
        (controls.background, "color"),
        (controls.color, (255, 0, 51)),
    ):
        assign(control, value)
    assert eventually(lambda: panel._choice.background == (1.0, 0.0, 0.2))
    choice = panel._choice
    assert (choice.identity, choice.seed, choice.truncation, choice.share) == (5, 3, 0.3, 0.2)
    assert choice.kind == "spherical" and choice.amounts[0] == 1.5


def test_reset_shows_the_first_picture_and_nothing_between(model, viewer, panel):
    first = picture(model)
    assign(panel._controls.source, "sample")
    assign(panel._controls.background, "none")
    assign(panel._controls.amounts[1], -1.0)
    assert eventually(lambda: panel._choice.amounts[1:2] == (-1.0,) and panel._choice.background is not None)
    assign(panel._controls.reset, True)
    assert eventually(lambda: torch.equal(picture(model), first))
    assert panel._controls.source.value == "photograph" and not viewer.client.messages


def test_codes_of_a_file_are_shown_at_once_and_nothing_is_complained_about(model, viewer, panel, tmp_path):
    codes = torch.rand(3, DIMENSION)
    write_codes(tmp_path / "codes.npz", codes)
    content = (tmp_path / "codes.npz").read_bytes()
    uploaded = type(panel._controls.upload.value)("codes.npz", content)
    must_return(lambda: press(viewer, panel._controls.upload, uploaded))
    assert eventually(lambda: torch.equal(picture(model), picture_of(model, codes[:1])))
    assert [title for title, _ in viewer.client.messages] == ["Codes"]


def test_a_click_on_a_photograph_shows_it_unmoved(model, viewer, panel):
    viewer.client.moved(None)
    assign(panel._controls.identity, ROWS[2])
    assign(panel._controls.amounts[0], 2.0)
    assert eventually(lambda: panel._choice.amounts[:1] == (2.0,))
    target = SimpleNamespace(position=(0.0, 10.0, 20.0))
    event = SimpleNamespace(client=viewer.client, target=target)
    must_return(lambda: viewer.camera_handles[2].click(event))
    expected = picture_of(model, model.latent_table.row(ROWS[2]))
    assert eventually(lambda: torch.equal(picture(model), expected))


def test_a_source_that_cannot_be_shown_is_said_and_the_picture_stays(model, viewer, panel):
    before = picture(model)
    assign(panel._controls.source, "file")
    assert eventually(lambda: bool(viewer.client.errors))
    assert torch.equal(picture(model), before)
