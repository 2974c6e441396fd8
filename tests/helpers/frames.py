"""A frame that nothing is wrong with."""

from typing import Any

import numpy as np

from nerfgen_ns.cameras.trajectories import look_at_origin
from nerfgen_ns.dataset_format.frame import Frame


def some_frame(**fields: Any) -> Frame:
    """A frame with what every frame needs, and the given fields."""
    pose = np.vstack([look_at_origin(np.array([[30.0, 10.0]]), 2.7)[0].double().numpy(), [0, 0, 0, 1]])
    needed: dict[str, Any] = {"file_path": "images/a.png", "transform_matrix": pose}
    needed |= {"fl_x": 268.8, "fl_y": 268.8, "cx": 64.0, "cy": 64.0, "w": 128, "h": 128}
    return Frame(**{**needed, **fields})
