"""Training with the viewer open and the panel in use."""

import copy
import time
from pathlib import Path

import pytest
import torch
from nerfstudio.configs.base_config import ViewerConfig

from nerfgen_ns.configs import nerfgen_tiny
from nerfgen_ns.training.trainer import NerfgenTrainer
from tests.helpers.short_trainings import seed_everything, set_up, short_config


def viewed_trainer(heads: Path, output_dir: Path, vis: str) -> NerfgenTrainer:
    """A run of a few steps, the same whatever `vis` is."""
    seed_everything()
    config = short_config(heads, output_dir, 4, vis=vis)
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


@pytest.mark.parametrize(
    ("words", "asked", "host", "scale"),
    [
        ([], {}, "127.0.0.1", 0.7),
        (["--viewer.websocket-port", "7010"], {}, "127.0.0.1", 0.7),
        (["--viewer.websocket-host", "0.0.0.0"], {}, "0.0.0.0", 0.7),
        (["--viewer.websocket_host=::"], {"websocket_host": "::"}, "::", 0.7),
        (["--viewer.camera-frustum-scale=2"], {"camera_frustum_scale": 2.0}, "127.0.0.1", 2.0),
    ],
)
def test_ns_viewer_listens_and_draws_as_the_run_does_unless_asked_otherwise(
    words, asked, host, scale, monkeypatch
):
    monkeypatch.setattr("sys.argv", ["ns-viewer", "--load-config", "config.yml", *words])
    config = copy.deepcopy(nerfgen_tiny.config)
    config.viewer = ViewerConfig(**asked)  # as nerfstudio does, with what it read from the command line
    assert (config.viewer.websocket_host, config.viewer.camera_frustum_scale) == (host, scale)
