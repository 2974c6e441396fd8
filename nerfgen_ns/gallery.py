"""Pictures of a run: identities that turn, morphs between them, and a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nerfgen_ns.datamanagers.data_parser import number_photographs
from nerfgen_ns.evaluation import open_dataset
from nerfgen_ns.pictures import contact_sheet, depth_picture, enlarge, resize, to_bytes
from nerfgen_ns.run import Run
from nerfgen_ns.turntable import path_around, swing, turned_cameras, usual_angles

Frame = UInt8[np.ndarray, "height width 3"]

TURNS = (-35.0, 0.0, 35.0)
TURNS_AROUND = (-140.0, -50.0, 40.0, 130.0)
"""Yaw in degrees of the turned views of a contact sheet; of a class that is seen from all around. Depth and
normals are shown of the middle one, or the one after the middle."""


def turning(run: Run, identities: Sequence[int], size: int, frames: int = 48) -> Iterator[Frame]:
    """Identities side by side under a camera that swings to both sides; their normals below.

    Around a class that is seen from all around the camera makes a full turn.

    Args:
        run: a trained run.
        identities: rows of the latent table.
        size: width and height of each render in pixels; the frames show it twice as large.
        frames: length of the path, which closes.
    """
    cameras = turned_cameras(run.cameras, path_around(run.cameras, frames), size)
    for frame in range(frames):
        renders = [run.render(identity, cameras[frame : frame + 1]) for identity in identities]
        yield enlarge(torch.cat([_colours_over_normals(outputs) for outputs in renders], dim=1))


def morph(run: Run, identities: Sequence[int], size: int, frames: int = 48) -> Iterator[Frame]:
    """One object that becomes each of the identities in turn and ends as the first; its normals below.

    Codes are mixed linearly, slower near each identity. For the arguments see `turning`.
    """
    codes = run.codes[list(identities)]
    all_around, _ = usual_angles(run.cameras)
    path = path_around(run.cameras, frames) if all_around else swing(frames, yaw=20.0, pitch=4.0)
    cameras = turned_cameras(run.cameras, path, size)
    for frame in range(frames):
        start, share = divmod(frame * len(codes) / frames, 1.0)
        eased = 0.5 - 0.5 * np.cos(np.pi * share)
        code = torch.lerp(codes[int(start)], codes[(int(start) + 1) % len(codes)], float(eased))
        yield enlarge(_colours_over_normals(run.render(code[None], cameras[frame : frame + 1])))


def identity_sheet(
    run: Run, identities: Sequence[int], size: int, progress: Callable[[int, int], None] | None = None
) -> Frame:
    """For each identity its photograph, the reconstruction, turned views, depth and normals.

    Args:
        run: a trained run, whose data is still where it was.
        identities: rows of the latent table.
        size: width and height of each picture in pixels.
        progress: called with the number of identities done and their total.
    """
    photographs = open_dataset(run.data)
    number_photographs(photographs.cameras)
    assert photographs.cameras.metadata is not None
    rows = photographs.cameras.metadata["cam_idx"].flatten().tolist()
    all_around, pitch = usual_angles(run.cameras)
    yaws = TURNS_AROUND if all_around else TURNS
    cameras = turned_cameras(run.cameras, np.array([[yaw, pitch] for yaw in yaws]), size)
    sheet: dict[str, list[Frame]] = {}
    for done, identity in enumerate(identities, start=1):
        own = rows.index(identity)
        reconstruction = run.render(identity, photographs.cameras[own : own + 1])
        turned = [run.render(identity, cameras[view : view + 1]) for view in range(len(yaws))]
        shown = turned[len(yaws) // 2]
        pictures = {
            "photograph": resize(photographs.get_numpy_image(own), size),
            "reconstruction": resize(to_bytes(reconstruction["rgb"]), size),
            **{
                _name_of_turn(yaw): to_bytes(outputs["rgb"])
                for yaw, outputs in zip(yaws, turned, strict=True)
            },
            "depth": depth_picture(shown),
            "normals": to_bytes(shown["normals"]),
        }
        for name, picture in pictures.items():
            sheet.setdefault(name, []).append(picture)
        if progress is not None:
            progress(done, len(identities))
    return contact_sheet(sheet)


def turning_sheet(
    run: Run, identities: Sequence[int], size: int, yaws: Sequence[float] | None = None
) -> Frame:
    """Identities turned to several sides, and their normals from the front: renders alone, no photograph.

    Args:
        run: a trained run.
        identities: rows of the latent table, one column each.
        size: width and height of each render in pixels.
        yaws: turns of the camera in degrees, one row each; if not set, every 15° between −30° and 30°, or
            every 60° around a class that is seen from all around.
    """
    all_around, pitch = usual_angles(run.cameras)
    yaws = yaws or (range(0, 360, 60) if all_around else range(-30, 31, 15))
    angles = np.array([[yaw, pitch] for yaw in (*yaws, 0.0)])
    cameras = turned_cameras(run.cameras, angles, size)
    sheet = {
        _name_of_turn(yaw): [to_bytes(run.render(row, cameras[view : view + 1])["rgb"]) for row in identities]
        for view, yaw in enumerate(yaws)
    }
    sheet["normals"] = [to_bytes(run.render(row, cameras[len(yaws) :])["normals"]) for row in identities]
    return contact_sheet(sheet)


def _colours_over_normals(outputs: dict[str, Tensor]) -> Float[Tensor, "height width 3"]:
    return torch.cat([outputs["rgb"], outputs["normals"]], dim=0)


def _name_of_turn(yaw: float) -> str:
    return "frontal" if yaw == 0.0 else f"yaw {yaw:+.0f}°"
