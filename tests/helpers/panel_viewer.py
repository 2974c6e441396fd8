"""The panel without a browser: what stands in for one, and for a hand on its controls."""

import threading
import time
from collections.abc import Callable
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
        self.errors: list[str] = []  # the messages in red
        self.camera = SimpleNamespace(on_update=self.hear)
        self.moved = lambda _: None

    def hear(self, callback) -> None:
        self.moved = callback

    def atomic(self):
        return torch.no_grad()

    def add_notification(self, title, body, **options):
        self.messages.append((title, body))
        if options.get("color") == "red":
            self.errors.append(body)
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


class CallsAtOnce:
    """In place of viser's pool of threads: calls in the thread that asks, as viser from 0.2.10 on does."""

    def submit(self, call, *arguments) -> None:
        call(*arguments)


def assign(control, value) -> None:
    """Let viser's own setter give a control a value."""

    def set_value() -> None:
        control.value = value

    must_return(set_value)


def must_return(call: Callable[[], None]) -> None:
    """Call something that a lock may hold forever."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(20.0)
    assert not thread.is_alive(), "the call waits forever"


def eventually(is_so: Callable[[], bool]) -> bool:
    """Whether something becomes so soon: older viser calls back in threads of its own."""
    deadline = time.monotonic() + 20.0
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


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
