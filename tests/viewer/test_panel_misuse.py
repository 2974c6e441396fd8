"""The panel under hostile hands: what cannot be is said, and the picture stays."""

import re

import numpy as np
import pytest
import torch
from viser._gui_handles import UploadedFile

from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.latents.code_files import write_codes
from nerfgen_ns.viewer.choice import ViewerPanelConfig
from nerfgen_ns.viewer.panel import ViewerPanel
from tests.helpers.panel_viewer import DIMENSION, picture, press

HOSTILE = [-1, 10**30, float("nan"), float("inf"), "", "../..", b"\0", (), ("a", None), object()]
SOURCES_AND_NONSENSE = ("photograph", "sample", "morph", "file", "nonsense")


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: type(value).__name__)
def test_no_value_of_any_control_raises_or_stops_the_rendering(value, model, viewer, panel):
    controls = panel._controls
    before = picture(model)
    for source in (*SOURCES_AND_NONSENSE,):
        for control in (controls.source, *controls.values):
            kept = control.value
            press(viewer, controls.source, source)
            press(viewer, control, value)
            assert picture(model).shape == before.shape
            control._impl.value = kept
    press(viewer, controls.reset)
    assert torch.equal(picture(model), before)


def test_what_cannot_be_shown_is_said_and_the_picture_stays(model, viewer, panel):
    before = picture(model)
    press(viewer, panel._controls.identity, 99)
    assert "identity 99" in viewer.client.errors[-1]
    assert torch.equal(picture(model), before)


@pytest.mark.parametrize("content", [b"", b"PK\3\4", np.random.default_rng(0).bytes(99)])
@pytest.mark.parametrize("name", ["codes.npz", "", "..", "a\0b", "/etc/passwd"])
def test_an_upload_that_holds_no_codes_is_refused(name, content, model, viewer, panel):
    before = picture(model)
    press(viewer, panel._controls.upload, UploadedFile(name, content))
    assert viewer.client.errors
    assert torch.equal(picture(model), before)


def test_codes_of_another_model_are_refused_by_their_file_name(viewer, panel, tmp_path):
    write_codes(tmp_path / "other.npz", torch.rand(2, DIMENSION + 1))
    press(viewer, panel._controls.upload, UploadedFile("other.npz", (tmp_path / "other.npz").read_bytes()))
    assert re.match(rf"other\.npz: .*\b{DIMENSION + 1}\b.*\b{DIMENSION}\b", viewer.client.errors[-1])


def test_a_save_that_fails_is_said(viewer, panel, monkeypatch):
    def fail(*arguments, **options):
        raise NerfgenError("no room")

    monkeypatch.setattr("nerfgen_ns.meshing.extraction.save_mesh", fail)
    press(viewer, panel._controls.save_mesh)
    assert viewer.client.errors == ["no room"]
    viewer.log_filename.parent.write_text("a file where the folder should be")
    press(viewer, panel._controls.save_code)
    assert str(viewer.log_filename.parent) in viewer.client.errors[-1]
    assert not viewer.train_lock.locked() and not panel._controls.save_mesh.disabled


def test_a_table_of_one_identity_has_a_panel_without_directions(viewer, model):
    model.latent_table = type(model.latent_table)(1, DIMENSION)
    viewer.viser_server.gui.reset()
    model.viewer_panel = ViewerPanel(ViewerPanelConfig())
    model.viewer_panel._setup(viewer)
    assert model.viewer_panel._controls.amounts == []
    for source in SOURCES_AND_NONSENSE:
        press(viewer, model.viewer_panel._controls.source, source)
        assert picture(model).isfinite().all()
