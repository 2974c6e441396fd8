"""The panel without a browser: what stands in for one, and for a hand on its controls."""

from types import SimpleNamespace

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.viewer.utils import CameraState, get_camera
from viser._gui_handles import UploadedFile

IDENTITIES, DIMENSION = 12, 6
ROWS = [3, 1, 2, 0]
"""Rows of the latent table of the photographs that the viewer shows."""


class Client:
    """A browser that notes what it is told."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []
        self.camera = SimpleNamespace(on_update=self.hear)
        self.moved = lambda _: None

    def hear(self, callback) -> None:
        self.moved = callback

    def atomic(self):
        return torch.no_grad()

    def add_notification(self, title, body, **options):
        self.messages.append((title, body))
        return SimpleNamespace(remove=lambda: None)


class Frustum:
    """A photograph in the scene."""

    def on_click(self, callback) -> None:
        self.click = callback


def press(viewer, control, value=None) -> None:
    """What viser does when a control is used, at once rather than in another thread."""
    if value is not None:
        control._impl.value = value
    for callback in control._impl.update_cb:
        callback(SimpleNamespace(client=viewer.client, target=control))


def viewer_camera() -> Cameras:
    pose = torch.eye(4)[:3]
    pose[2, 3] = 2.7
    return get_camera(CameraState(0.5, 1.0, pose, camera_type=1), 12, 12)  # type: ignore[arg-type]


def picture(model, name="rgb") -> torch.Tensor:
    return model.get_outputs_for_camera(viewer_camera())[name]


def picture_of(model, code) -> torch.Tensor:
    return model.render_camera(viewer_camera(), code)["rgb"]


def upload(viewer, panel, path) -> None:
    press(viewer, panel._controls.upload, UploadedFile(path.name, path.read_bytes()))
    press(viewer, panel._controls.source, "file")
