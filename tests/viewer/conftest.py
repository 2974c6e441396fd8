"""A panel on a real viser server, with a viewer that only notes."""

import socket
import threading
from types import SimpleNamespace

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.configs.base_config import ViewerConfig
from viser import ViserServer

from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.viewer.choice import ViewerPanelConfig
from nerfgen_ns.viewer.panel import ViewerPanel
from tests.helpers.panel_viewer import DIMENSION, IDENTITIES, ROWS, CallsAtOnce, Client, Frustum
from tests.helpers.small_models import make_model


@pytest.fixture(scope="module")
def server():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = ViserServer(host="127.0.0.1", port=port, verbose=False)
    yield server
    server.stop()


@pytest.fixture(params=["threads", "at once"])
def callbacks(request, server, monkeypatch) -> str:
    """How viser calls back when a value is assigned: in threads, as 0.2.7 does, or at once, as newer ones."""
    if request.param == "at once":
        monkeypatch.setattr(server.gui, "_thread_executor", CallsAtOnce())
    return request.param


@pytest.fixture
def model() -> NerfgenModel:
    return make_model(IDENTITIES, latent_dim=DIMENSION, sampler__kind="uniform", num_train_data=9).eval()


@pytest.fixture
def viewer(server, model, tmp_path) -> SimpleNamespace:
    """What of nerfstudio's viewer the panel uses, with one browser."""
    server.gui.reset()
    poses = torch.eye(4)[:3].repeat(len(ROWS), 1, 1)
    poses[:, 2, 3] = 2.7
    cameras = Cameras(
        poses, fx=80.0, fy=80.0, cx=20.0, cy=20.0, width=40, height=40,
        metadata={"cam_idx": torch.tensor(ROWS)[:, None]},
    )  # fmt: skip
    client, actions = Client(), []
    viewer = SimpleNamespace(
        viser_server=SimpleNamespace(
            gui=server.gui,
            scene=server.scene,
            get_clients=lambda: {0: client},
            on_client_connect=lambda welcome: welcome(client),
        ),
        train_lock=threading.Lock(),
        get_model=lambda: model,
        trainer=None,
        pipeline=SimpleNamespace(datamanager=SimpleNamespace(train_dataset=SimpleNamespace(cameras=cameras))),
        config=ViewerConfig(),
        log_filename=tmp_path / "run" / "log.txt",
        render_statemachines={0: SimpleNamespace(action=actions.append)},
        get_camera_state=lambda client: "where the browser stands",
        camera_handles={number: Frustum() for number in range(len(ROWS))},
        client=client,
        actions=actions,
    )
    model.viewer_panel = ViewerPanel(ViewerPanelConfig())
    model.viewer_panel._setup(viewer)
    return viewer


@pytest.fixture
def panel(model, viewer) -> ViewerPanel:
    return model.viewer_panel
