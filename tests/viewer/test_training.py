"""Training with the viewer open and the panel in use."""

import time
from pathlib import Path

import pytest
import torch
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.scripts.viewer.run_viewer import RunViewer
from nerfstudio.utils.eval_utils import eval_setup

from nerfgen_ns.cli.view import View
from nerfgen_ns.configs import nerfgen_tiny
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.pack import write_pack
from nerfgen_ns.training.trainer import NerfgenTrainer
from nerfgen_ns.viewer.choice import ViewerPanelConfig
from nerfgen_ns.viewer.panel import ViewerPanel
from tests.helpers.short_trainings import seed_everything, set_up, short_config


def viewed_trainer(heads: Path, output_dir: Path, vis: str) -> NerfgenTrainer:
    """A run of a few steps, the same whatever `vis` is."""
    seed_everything()
    config = short_config(heads, output_dir, 4, small=True, vis=vis)
    config.save_config()
    return set_up(config)


def test_training_is_the_same_with_the_panel_in_use(heads, tmp_path):
    plain = viewed_trainer(heads, tmp_path / "plain", "tensorboard")
    plain.train()
    viewed = viewed_trainer(heads, tmp_path / "viewed", "viewer+tensorboard")
    panel = viewed.pipeline.model.viewer_panel
    panel._controls.source.value = "sample"
    panel._controls.background.value = "none"
    deadline = time.monotonic() + 60.0
    while panel._choice.source != "sample" or panel._choice.background is None:
        assert time.monotonic() < deadline, "the panel did not follow its controls"
        time.sleep(0.01)  # viser calls back in threads of its own
    viewed.train()
    viewed.shutdown()
    states = [
        torch.load(next(trainer.checkpoint_dir.glob("*.ckpt")), map_location="cpu", weights_only=True)
        for trainer in (plain, viewed)
    ]
    assert states[0]["pipeline"].keys() == states[1]["pipeline"].keys()
    for name, value in states[0]["pipeline"].items():
        assert torch.equal(value, states[1]["pipeline"][name]), name


def test_a_run_without_the_viewer_has_a_panel_that_holds_nothing(heads, tmp_path):
    assert viewed_trainer(heads, tmp_path, "tensorboard").pipeline.model.viewer_panel._controls is None


@pytest.mark.parametrize(("given", "drawn"), [(ViewerConfig().camera_frustum_scale, 0.7), (2.0, 2.0)])
def test_photographs_are_drawn_large_enough_to_click_unless_asked_otherwise(viewer, model, given, drawn):
    viewer.config.camera_frustum_scale = given
    ViewerPanel(ViewerPanelConfig())._setup(viewer)
    assert viewer.config.camera_frustum_scale == drawn


def test_training_and_nerfgen_view_listen_to_this_machine_alone(trained_config, tmp_path, monkeypatch):
    assert nerfgen_tiny.config.viewer.websocket_host == "127.0.0.1"
    opened = []
    monkeypatch.setattr(
        RunViewer, "main", lambda viewer: opened.append((viewer, eval_setup(viewer.load_config)))
    )
    View(trained_config).run()
    packed = tmp_path / "packed.safetensors"
    write_pack(load_run(trained_config), packed)
    View(packed, websocket_port=7123).run()
    assert [viewer.viewer.websocket_host for viewer, _ in opened] == ["127.0.0.1"] * 2
    assert opened[1][0].viewer.websocket_port == 7123
    tables = [pipeline.model.latent_table.codes.weight for _, (_, pipeline, _, _) in opened]
    assert torch.equal(*tables)
