"""Camera paths around an object of the class."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from scipy.spatial.transform import Rotation
from torch import Tensor


def swing(views: int, yaw: float = 40.0, pitch: float = 8.0) -> Float[np.ndarray, "views 2"]:
    """Return yaw and pitch in degrees of a closed path: to both sides and back, slightly up and down.

    Args:
        views: number of views; the one after the last would be the first again.
        yaw: largest turn to either side.
        pitch: largest turn up and down.
    """
    phase = 2.0 * np.pi * np.arange(views) / views
    return np.stack([yaw * np.sin(phase), pitch * np.sin(2.0 * phase)], axis=-1)


def orbit(views: int, pitch: float) -> Float[np.ndarray, "views 2"]:
    """Return yaw and pitch in degrees of a full turn at one pitch, from the front to the left side (+x)."""
    return np.stack([360.0 * np.arange(views) / views, np.full(views, pitch)], axis=-1)


def usual_angles(photographs: Cameras) -> tuple[bool, float]:
    """Return whether a class is seen from all around, and if so from which pitch.

    A class is seen from all around where a tenth of its photographs are taken from behind the object. The
    second value is then the photographs' median pitch in degrees, else 0.
    """
    places = photographs.camera_to_worlds[..., :3, 3].reshape(-1, 3)
    if float((places[:, 2] < 0).float().mean()) < 0.1:
        return False, 0.0
    return True, float(torch.rad2deg(torch.asin(places[:, 1] / places.norm(dim=-1))).median())


def path_around(photographs: Cameras, views: int) -> Float[np.ndarray, "views 2"]:
    """Return the closed path that shows what the photographs show: a full turn, or a swing to both sides."""
    all_around, pitch = usual_angles(photographs)
    return orbit(views, pitch) if all_around else swing(views)


def look_at_origin(angles: Float[np.ndarray, "views 2"], distance: float) -> Float[Tensor, "views 3 4"]:
    """Return camera-to-world of upright cameras that look at the origin, nerfstudio/OpenGL convention.

    Args:
        angles: yaw (positive when the camera is at +x), pitch (positive when it is above); degrees.
        distance: from the origin, units of the class frame.
    """
    turned = Rotation.from_euler("YX", angles * [1.0, -1.0], degrees=True).as_matrix()
    rotation = torch.from_numpy(turned).float()
    return torch.cat([rotation, distance * rotation[..., 2:]], dim=-1)


def turned_cameras(photographs: Cameras, angles: Float[np.ndarray, "views 2"], size: int) -> Cameras:
    """Make square cameras around the origin with the photographs' usual distance and field of view.

    Args:
        photographs: the cameras of the photographs.
        angles: yaw and pitch of each view, degrees; see `look_at_origin`.
        size: width and height in pixels.
    """
    distance = float(photographs.camera_to_worlds[..., :3, 3].norm(dim=-1).median())
    focal = float((photographs.fx / photographs.width).median()) * size
    return Cameras(
        look_at_origin(angles, distance),
        fx=focal,
        fy=focal,
        cx=size / 2,
        cy=size / 2,
        width=size,
        height=size,
    )
