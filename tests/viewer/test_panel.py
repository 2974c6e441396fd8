"""The panel's controls, pressed without a browser: what each shows and saves."""

import copy
import pickle
from types import SimpleNamespace

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle

from nerfgen_ns.latents.code_files import read_codes, write_codes
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.viewer.choice import ViewerPanelConfig
from nerfgen_ns.viewer.panel import NEARER, ViewerPanel
from tests.helpers.panel_viewer import DIMENSION, ROWS, picture, picture_of, press, upload


def test_a_panel_without_a_viewer_asks_nothing(model):
    rays = RayBundle(torch.zeros(1, 3), torch.ones(1, 3), torch.ones(1, 1), metadata={"cam_idx": 1})
    assert model.viewer_panel is None
    expected = model.get_outputs(model.collider(rays))["rgb"]
    model.viewer_panel = ViewerPanel(ViewerPanelConfig())
    assert model.viewer_panel.shown(rays) == (None, None, None, None)
    assert torch.equal(model.get_outputs(model.collider(rays))["rgb"], expected)


def test_the_panel_opens_on_what_nerfstudio_shows(model, panel):
    assert torch.equal(picture(model), picture_of(model, model.latent_table.row(0)))


def test_each_source_shows_its_identity_and_renders_anew(model, viewer, panel, tmp_path):
    table = model.latent_table
    space = LatentSpace.of(table.codes.weight)
    controls = panel._controls
    write_codes(tmp_path / "codes.npz", torch.rand(3, DIMENSION))
    upload(viewer, panel, tmp_path / "codes.npz")
    codes, _ = read_codes(tmp_path / "codes.npz", DIMENSION)
    press(viewer, controls.file_row, 1)
    assert torch.equal(picture(model), picture_of(model, codes[1:2]))
    expected = {
        "mean": table.mean(),
        "sample": space.sample(1, 0.8, seed=0),
        "morph": (0.5 * (table.row(0) + table.row(1))),
        "photograph": table.row(0),
    }
    for source, code in expected.items():
        rendered = len(viewer.actions)
        press(viewer, controls.source, source)
        assert len(viewer.actions) > rendered
        assert torch.allclose(picture(model), picture_of(model, code), atol=1e-4), source
    assert not viewer.client.errors


def test_only_the_controls_of_the_chosen_source_are_visible(viewer, panel):
    controls = panel._controls
    press(viewer, controls.source, "sample")
    assert controls.seed.visible and controls.truncation.visible
    assert not controls.identity.visible and not controls.share.visible


def test_another_source_is_shown_as_it_is(viewer, panel):
    press(viewer, panel._controls.amounts[0], 2.5)
    press(viewer, panel._controls.source, "mean")
    assert panel._controls.amounts[0].value == 0.0 and not any(panel._choice.amounts)


def test_directions_move_what_is_shown_and_reset_takes_it_back(model, viewer, panel):
    first = picture(model)
    press(viewer, panel._controls.amounts[0], 2.5)
    press(viewer, panel._controls.background, "color")
    assert (picture(model) - first).abs().mean() > 1e-4
    press(viewer, panel._controls.reset)
    assert torch.equal(picture(model), first)
    assert panel._controls.amounts[0].value == 0.0 and panel._controls.background.value == "learned"


def test_a_click_on_a_photograph_shows_its_identity_whatever_was_chosen_before(model, viewer, panel):
    press(viewer, panel._controls.source, "sample")
    viewer.client.moved(None)
    viewer.camera_handles[2].click(
        SimpleNamespace(client=viewer.client, target=SimpleNamespace(position=(0.0, 10.0, 20.0)))
    )
    assert viewer.client.camera.position == pytest.approx([0.0, 10.0 * NEARER, 20.0 * NEARER])
    press(viewer, panel._controls.source)  # viser calls this in another thread
    assert panel._controls.source.value == "photograph" and panel._controls.identity.value == ROWS[2]
    assert torch.equal(picture(model), picture_of(model, model.latent_table.row(ROWS[2])))


def test_what_is_set_as_a_and_b_are_the_ends_of_the_morph(model, viewer, panel):
    controls = panel._controls
    press(viewer, controls.identity, 5)
    press(viewer, controls.set_first)
    a = picture(model)
    press(viewer, controls.source, "sample")
    press(viewer, controls.set_second)
    b = picture(model)
    press(viewer, controls.source, "morph")
    for share, end in ((0.0, a), (1.0, b)):
        press(viewer, controls.share, share)
        assert torch.allclose(picture(model), end, atol=1e-4)
    assert controls.first.value == "identity_5" and controls.second.value.startswith("sample_0")


def test_the_background_is_replaced_and_the_foreground_stays(model, viewer, panel):
    foreground, accumulation = picture(model, "foreground"), picture(model, "accumulation")
    press(viewer, panel._controls.background, "none")
    assert torch.allclose(picture(model), foreground, atol=1e-5)
    press(viewer, panel._controls.color, (255, 0, 51))
    press(viewer, panel._controls.background, "color")
    color = torch.tensor([1.0, 0.0, 0.2])
    assert torch.allclose(picture(model), foreground + (1.0 - accumulation) * color, atol=1e-5)
    assert torch.allclose(picture(model, "background"), color.expand(12, 12, 3))


def test_photographs_of_an_evaluation_show_their_own_identities(model, viewer, panel):
    photographs = viewer.pipeline.datamanager.train_dataset.cameras
    before = model.get_outputs_for_camera(photographs[0:1])["rgb"]
    press(viewer, panel._controls.source, "mean")
    press(viewer, panel._controls.background, "none")
    assert torch.equal(model.get_outputs_for_camera(photographs[0:1])["rgb"], before)


def test_a_choice_follows_the_training(model, viewer, panel):
    press(viewer, panel._controls.identity, 4)
    before = picture(model)
    with torch.no_grad():
        model.latent_table.codes.weight += 0.5
    assert not torch.equal(picture(model), before)
    assert torch.equal(picture(model), picture_of(model, model.latent_table.row(4)))


def test_a_saved_code_is_the_one_that_is_shown_and_nothing_is_written_over(model, viewer, panel):
    press(viewer, panel._controls.source, "sample")
    press(viewer, panel._controls.amounts[1], -1.0)
    press(viewer, panel._controls.save_code)
    press(viewer, panel._controls.save_code)
    folder = viewer.log_filename.parent / "viewer_panel"
    names = ["sample_0_truncation_0.8_moved", "sample_0_truncation_0.8_moved_2"]
    assert sorted(path.stem for path in folder.iterdir()) == names
    codes, called = read_codes(folder / f"{names[0]}.npz", DIMENSION)
    assert called == names[:1]
    assert torch.equal(picture_of(model, codes), picture(model))


def test_a_mesh_is_saved_of_what_is_shown_while_nothing_else_uses_the_model(
    model, viewer, panel, monkeypatch
):
    seen = {}

    def save_mesh(model, code, path, resolution, cameras, region, query):
        seen.update(code=code, path=path, resolution=resolution, cameras=len(cameras), region=region)
        seen.update(locked=viewer.train_lock.locked(), training=model.training)

    monkeypatch.setattr("nerfgen_ns.meshing.extraction.save_mesh", save_mesh)
    model.train()
    press(viewer, panel._controls.identity, 7)
    press(viewer, panel._controls.mesh_cells, "64")
    press(viewer, panel._controls.mesh_kind, ".glb")
    press(viewer, panel._controls.save_mesh)
    assert torch.equal(seen["code"], model.latent_table.row(7)) and seen["region"] is None
    assert seen["path"] == viewer.log_filename.parent / "viewer_panel" / "identity_7.glb"
    assert (
        seen["resolution"] == 64 and seen["cameras"] == len(ROWS) and seen["locked"] and not seen["training"]
    )
    assert model.training and not viewer.train_lock.locked()


def test_the_panel_is_no_part_of_the_model(model, viewer, panel):
    assert not [name for name in model.state_dict() if "panel" in name]
    other = copy.deepcopy(model)
    for copied in (other.viewer_panel, pickle.loads(pickle.dumps(panel))):
        assert copied is not panel and copied._controls is None
    assert torch.equal(
        picture_of(other, other.latent_table.row(2)), picture_of(model, model.latent_table.row(2))
    )


def test_the_browser_opens_upright_before_the_class(viewer, panel):
    assert viewer.client.camera.position == pytest.approx([0.0, 0.0, 27.0 * NEARER], abs=1e-4)
    assert viewer.client.camera.up_direction == (0.0, 1.0, 0.0)
    viewer.client.camera.position = viewer.client.camera.up_direction = None
    press(viewer, panel._controls.face)
    assert viewer.client.camera.position == pytest.approx([0.0, 0.0, 27.0 * NEARER], abs=1e-4)
