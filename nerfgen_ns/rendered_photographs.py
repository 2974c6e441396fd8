"""Photographs of codes that nobody photographed: their renders, as a prepared folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.files import write_json
from nerfgen_ns.pictures import to_bytes, write_image
from nerfgen_ns.run import Run
from nerfgen_ns.turntable import turned_cameras, usual_angles


def usual_camera(run: Run) -> Cameras:
    """The camera that stands before the object as the class's photographs do, of shape (1,).

    Its size is that which the run's photographs had in training, and square.
    """
    manager: Any = run.config.pipeline.datamanager
    width = float(run.cameras.width.float().median()) / (manager.dataparser.downscale_factor or 1.0)
    _, pitch = usual_angles(run.cameras)
    return turned_cameras(run.cameras, np.array([[0.0, pitch]]), max(round(width), 1))


def write_rendered_photographs(
    run: Run,
    codes: Float[Tensor, "n latent"],
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """A prepared folder in which each code is an identity, photographed once by `usual_camera`.

    Args:
        run: the run that shows the codes.
        codes: the latent codes; their places are the identities.
        folder: where to write, a folder that is not there.
        progress: called with the number of photographs done and their total.
    """
    camera = usual_camera(run)
    matrix = torch.eye(4)
    matrix[:3] = camera.camera_to_worlds[0]
    shared = {
        "transform_matrix": matrix.tolist(),
        "fl_x": float(camera.fx),
        "fl_y": float(camera.fy),
        "cx": float(camera.cx),
        "cy": float(camera.cy),
        "w": int(camera.width),
        "h": int(camera.height),
    }
    digits = max(4, len(str(len(codes) - 1)))
    frames = []
    for identity in range(len(codes)):
        outputs = run.render(codes[identity : identity + 1], camera)
        name = f"{identity:0{digits}d}.png"
        write_image(folder / "images" / name, to_bytes(outputs["rgb"]))
        write_image(folder / "mattes" / name, to_bytes(outputs["accumulation"])[..., 0])
        frames.append(
            {"file_path": f"images/{name}", "mask_path": f"mattes/{name}", "identity": identity, **shared}
        )
        if progress is not None:
            progress(identity + 1, len(codes))
    class_name, landmarks = run.record.class_name, run.record.canonical_landmarks
    head = {"camera_model": "OPENCV", **({"class_name": class_name} if class_name else {})}
    write_json(folder / "transforms.json", {**head, "frames": frames})
    if landmarks is not None:
        shutil.copyfile(landmarks, folder / landmarks.name)
