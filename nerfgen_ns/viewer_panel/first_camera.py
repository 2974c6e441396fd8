"""The camera that the viewer opens with: where the class's photographs are usually taken from, y up."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from viser import ClientHandle

from nerfgen_ns.turntable import turned_cameras, usual_angles

YAW_ALL_AROUND = 40.0
"""Turn in degrees of the first camera for a class that is seen from all around: its front and a side."""

NEARER = 0.85
"""The first camera's distance from the object, as a share of the photographs'."""


class View(NamedTuple):
    """A camera that looks at the origin, y up."""

    position: Float[np.ndarray, "3"]
    """In the class frame."""
    field_of_view: float
    """From top to bottom, radians."""


def usual_view(photographs: Cameras) -> View:
    """The class from the front, as large in the picture as in its photographs, from a little nearer.

    Nearer, because where the photographs were taken from the viewer draws them: in front of the camera.
    """
    all_around, pitch = usual_angles(photographs)
    yaw = YAW_ALL_AROUND if all_around else 0.0
    camera = turned_cameras(photographs.to("cpu"), np.array([[yaw, pitch]]), size=2)
    half = 1.0 / (NEARER * float(camera.fy[0]))
    return View(NEARER * camera.camera_to_worlds[0, :, 3].numpy(), 2.0 * math.atan(half))


def place_camera(client: ClientHandle, view: View, scale: float) -> None:
    """Put a browser's camera at a view.

    Args:
        client: the browser.
        view: the view.
        scale: units of the browser's scene to one of the class frame.
    """
    with client.atomic():
        client.camera.up_direction = (0.0, 1.0, 0.0)
        client.camera.position = scale * view.position
        client.camera.look_at = (0.0, 0.0, 0.0)
        client.camera.fov = view.field_of_view
