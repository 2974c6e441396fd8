"""Pictures of a run: identities that turn, morphs between them, and a contact sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nerfgen_ns.cameras.trajectories import path_around, swing, turned_cameras, usual_angles
from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.latents.latent_space import way
from nerfgen_ns.model.class_view import ClassView
from nerfgen_ns.utils.images import PAPER, contact_sheet, depth_picture, enlarge, resize, to_bytes

Picture = UInt8[np.ndarray, "height width 3"]
TURNS = (-35.0, 0.0, 35.0)
TURNS_AROUND = (-140.0, -50.0, 40.0, 130.0)
"""Yaw in degrees of the turned views of a contact sheet; of a class that is seen from all around. Depth and
normals are shown of the middle one, or the one after the middle."""


def turning(
    view: ClassView, codes: Float[Tensor, "objects latent"], size: int, frames: int = 48
) -> Iterator[Picture]:
    """Yield frames of objects side by side, with their normals below, from a camera that swings sideways.

    Around a class that is seen from all around the camera makes a full turn.

    Args:
        view: a class model and the cameras of its photographs, for example a `Run`.
        codes: the latent codes of the objects.
        size: width and height of each render in pixels; the frames show it twice as large.
        frames: length of the path, which closes.
    """
    cameras = turned_cameras(view.cameras, path_around(view.cameras, frames), size)
    for frame in range(frames):
        renders = [view.render(code, cameras[frame : frame + 1]) for code in codes.split(1)]
        yield enlarge(torch.cat([_colors_over_normals(outputs) for outputs in renders], dim=1))


def turntable(
    view: ClassView, codes: Float[Tensor, "objects latent"], size: int, frames: int = 32
) -> Iterator[Picture]:
    """Yield frames of objects in a nearly square grid, with the camera of `turning`; colors alone.

    For the arguments see `turning`.
    """
    cameras = turned_cameras(view.cameras, path_around(view.cameras, frames), size)
    columns = math.ceil(len(codes) ** 0.5)
    for frame in range(frames):
        renders = [view.render(code, cameras[frame : frame + 1])["rgb"] for code in codes.split(1)]
        empty = -len(renders) % columns
        renders += [torch.ones_like(renders[0])] * empty
        rows = [
            torch.cat(renders[start : start + columns], dim=1) for start in range(0, len(renders), columns)
        ]
        yield enlarge(torch.cat(rows))


def morph(
    view: ClassView, codes: Float[Tensor, "objects latent"], size: int, frames: int = 48
) -> Iterator[Picture]:
    """Yield frames of one object that becomes each identity in turn and ends as the first.

    Its normals are shown below.

    Codes are mixed linearly. For the arguments see `turning`.
    """
    for outputs in morphing(view, way(codes, frames, closed=True), size):
        yield enlarge(_colors_over_normals(outputs))


def morphing(
    view: ClassView, codes: Float[Tensor, "frames latent"], size: int, standing: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Yield all outputs of the model for codes that change from frame to frame.

    Args:
        view: a class model and the cameras of its photographs, for example a `Run`.
        codes: the code of each frame, for example a `latent_space.way`.
        size: width and height in pixels.
        standing: whether the camera stays in front of the object; otherwise it turns a little to both
            sides, or all around a class that is seen from all around, once over all frames.
    """
    all_around, pitch = usual_angles(view.cameras)
    if standing:
        path = np.array([[0.0, pitch]]).repeat(len(codes), axis=0)
    else:
        path = path_around(view.cameras, len(codes)) if all_around else swing(len(codes), yaw=20.0, pitch=4.0)
    cameras = turned_cameras(view.cameras, path, size)
    for frame in range(len(codes)):
        yield view.render(codes[frame : frame + 1], cameras[frame : frame + 1])


def identity_sheet(
    view: ClassView,
    photographs: NerfgenDataset,
    identities: Sequence[int],
    size: int,
    progress: Callable[[int, int], None] | None = None,
) -> Picture:
    """Draw a sheet with one column for each identity.

    It shows photograph and reconstruction, matte and accumulation, turned views, depth and normals. There is
    no row for mattes where the data has none.

    Args:
        view: a class model and the cameras of its photographs.
        photographs: those photographs; numbered, where each has an identity (`number_photographs`).
        identities: rows of the latent table.
        size: width and height of each picture in pixels.
        progress: called with the number of identities done and their total.
    """
    assert photographs.cameras.metadata is not None
    rows = photographs.cameras.metadata["cam_idx"].flatten().tolist()
    all_around, pitch = usual_angles(view.cameras)
    yaws = TURNS_AROUND if all_around else TURNS
    cameras = turned_cameras(view.cameras, np.array([[yaw, pitch] for yaw in yaws]), size)
    sheet: dict[str, list[Picture]] = {}
    for done, identity in enumerate(identities, start=1):
        own = rows.index(identity)
        camera = photographs.cameras[own : own + 1]
        camera.rescale_output_resolution(min(1.0, size / int(camera.width.max())))
        code = view.code(identity)
        reconstruction = view.render(code, camera)
        turned = [view.render(code, cameras[turn : turn + 1]) for turn in range(len(yaws))]
        shown = turned[len(yaws) // 2]
        matte = photographs.get_numpy_matte(own)
        pictures = {
            "photograph": resize(photographs.get_numpy_image(own), size),
            "reconstruction": resize(to_bytes(reconstruction["rgb"]), size),
            **({} if matte is None else {"matte": resize(matte[..., None].repeat(3, axis=-1), size)}),
            "accumulation": resize(to_bytes(reconstruction["accumulation"].expand(-1, -1, 3)), size),
            **{
                name_of_turn(yaw): to_bytes(outputs["rgb"]) for yaw, outputs in zip(yaws, turned, strict=True)
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
    view: ClassView,
    codes: Float[Tensor, "objects latent"],
    size: int,
    yaws: Sequence[float] | None = None,
    columns: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Picture:
    """Draw objects turned to several sides, and their normals from the front, without photographs.

    Args:
        view: a class model and the cameras of its photographs, for example a `Run`.
        codes: the latent codes of the objects, one column each.
        size: width and height of each render in pixels.
        yaws: turns of the camera in degrees, one row each; if not set, every 15° between −30° and 30°, or
            every 60° around a class that is seen from all around.
        columns: most columns beside each other, further ones go below; if not set, all are beside each other.
        progress: called with the number of objects done and their total.
    """
    all_around, pitch = usual_angles(view.cameras)
    yaws = yaws or (range(0, 360, 60) if all_around else range(-30, 31, 15))
    cameras = turned_cameras(view.cameras, np.array([[yaw, pitch] for yaw in (*yaws, 0.0)]), size)
    columns = columns or len(codes)
    sheets: list[dict[str, list[Picture]]] = []
    for place, code in enumerate(codes.split(1)):
        if place % columns == 0:
            sheets.append({})
        first = place - place % columns
        last = min(first + columns, len(codes)) - 1
        # With a hyphen: the font has no dash.
        span = f"{first}-{last}: " if columns < len(codes) else ""
        for turn, yaw in enumerate(yaws):
            picture = to_bytes(view.render(code, cameras[turn : turn + 1])["rgb"])
            sheets[-1].setdefault(span + name_of_turn(yaw), []).append(picture)
        normals = to_bytes(view.render(code, cameras[len(yaws) :])["normals"])
        sheets[-1].setdefault(f"{span}normals", []).append(normals)
        if progress is not None:
            progress(place + 1, len(codes))
    return _one_below_the_other([contact_sheet(sheet) for sheet in sheets])


def _one_below_the_other(sheets: list[Picture]) -> Picture:
    height, width = sum(sheet.shape[0] for sheet in sheets), sheets[0].shape[1]
    page = np.full((height, width, 3), PAPER, dtype=np.uint8)
    top = 0
    for sheet in sheets:
        page[top : top + sheet.shape[0], : sheet.shape[1]] = sheet
        top += sheet.shape[0]
    return page


def _colors_over_normals(outputs: dict[str, Tensor]) -> Float[Tensor, "height width 3"]:
    return torch.cat([outputs["rgb"], outputs["normals"]], dim=0)


def name_of_turn(yaw: float) -> str:
    """Return how a sheet calls a turn of the camera in degrees."""
    return "frontal" if yaw == 0.0 else f"yaw {yaw:+.0f}°"
