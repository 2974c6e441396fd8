"""The camera that the viewer opens with."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from nerfgen_ns.cameras.trajectories import look_at_origin
from nerfgen_ns.viewer.panel import NEARER, YAW_ALL_AROUND, place_camera, usual_view


def photographs(yaws: list[float], pitch: float, distance: float = 3.0) -> Cameras:
    poses = look_at_origin(np.array([[yaw, pitch] for yaw in yaws]), distance)
    return Cameras(poses, fx=80.0, fy=80.0, cx=20.0, cy=20.0, width=40, height=40)


def test_a_class_that_shows_its_front_is_seen_from_the_front():
    view = usual_view(photographs([-20.0, 5.0, 15.0], pitch=4.0))
    assert view.position == pytest.approx([0.0, 0.0, 3.0 * NEARER], abs=1e-5)
    size_in_photographs = 80.0 / 3.0 / 20.0
    size = 1.0 / math.tan(0.5 * view.field_of_view) / np.linalg.norm(view.position)
    assert size == pytest.approx(size_in_photographs)


def test_a_class_that_is_seen_from_all_around_is_seen_from_a_corner_at_its_usual_height():
    view = usual_view(photographs([0.0, 90.0, 180.0, 270.0], pitch=20.0))
    expected = look_at_origin(np.array([[YAW_ALL_AROUND, 20.0]]), 3.0 * NEARER)[0, :, 3].numpy()
    assert view.position == pytest.approx(expected, abs=1e-4)


def test_the_camera_of_a_browser_is_placed_upright_in_the_units_of_its_scene():
    class Client(SimpleNamespace):
        def atomic(self):
            return torch.no_grad()

    client = Client(camera=SimpleNamespace())
    place_camera(client, usual_view(photographs([0.0], pitch=0.0)), scale=10.0)
    assert client.camera.position == pytest.approx([0.0, 0.0, 30.0 * NEARER], abs=1e-4)
    assert client.camera.up_direction == (0.0, 1.0, 0.0)
    assert client.camera.look_at == (0.0, 0.0, 0.0)
