"""Photographs without landmarks: taken whole, with a camera that has to be searched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from nerfgen_ns.capture.crops import crop_photograph, square_crop
from nerfgen_ns.capture.matte_sources import MatteOptions
from nerfgen_ns.capture.photographs import RejectedError, read_alpha, read_photograph
from nerfgen_ns.capture.prepared_folder import Rejection
from nerfgen_ns.fitting.photograph import Gathered, Photograph
from nerfgen_ns.run import Run
from nerfgen_ns.turntable import turned_cameras, usual_angles


def take_uncaptured(files: Sequence[Path], run: Run, size: int, folder: Path, shows_people: bool) -> Gathered:
    """Photographs of any object of the class, padded to squares, each an object of its own.

    Mattes come from the model of capture where the class shows people; else from the alpha channel, where all
    photographs have one; else there are none.

    Args:
        files: the photographs.
        run: the trained run; its usual camera stands in until the search.
        size: side in pixels of the squares.
        folder: where they go.
        shows_people: whether the matte model knows the class.
    """
    camera = _usual_camera(run, size)
    kind = "mediapipe" if shows_people else "alpha" if all(map(_has_alpha, files)) else "none"
    mattes = MatteOptions(kind).open() if files else None
    folder.mkdir(parents=True)
    photographs: list[Photograph] = []
    rejected: list[Rejection] = []
    for path in files:
        image_file, matte_file = folder / f"{path.name}.png", folder / f"{path.name}.matte.png"
        try:
            whole = read_photograph(path)
            crop = square_crop(whole.shape[1], whole.shape[0], size)
            image = crop_photograph(whole, crop)
            if mattes is not None:
                Image.fromarray(mattes(path, whole, crop, image)).save(matte_file)
        except RejectedError as error:
            rejected.append(Rejection(path.name, error.reason, error.mend))
            continue
        Image.fromarray(image).save(image_file)
        matte = None if mattes is None else matte_file
        number = len(photographs)
        photographs.append(Photograph(path.name, image_file, matte, camera, number, searched=True))
    return Gathered(photographs, rejected)


def _has_alpha(path: Path) -> bool:
    try:
        return read_alpha(path) is not None
    except RejectedError:
        return False


def _usual_camera(run: Run, size: int) -> dict:
    _, pitch = usual_angles(run.cameras)
    camera = turned_cameras(run.cameras, np.array([[0.0, pitch]]), size)
    matrix = np.vstack([camera.camera_to_worlds[0].numpy(), [0.0, 0.0, 0.0, 1.0]])
    focal = float(camera.fx)
    return {
        "transform_matrix": matrix.tolist(),
        **{"fl_x": focal, "fl_y": focal, "cx": size / 2, "cy": size / 2, "w": size, "h": size},
    }
