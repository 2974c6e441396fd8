"""Labeled geometry: vertices with labels, parts of meshes, and points fused from several views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.cameras.trajectories import turned_cameras, usual_angles
from nerfgen_ns.dataset_format.label_maps import Legend
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.meshing.field import ObjectField, Progress, surface_values
from nerfgen_ns.meshing.mesh import part_of_vertices
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.rendering.volume_rendering import VISIBLE

if TYPE_CHECKING:
    from trimesh import PointCloud, Trimesh

LABEL, CONFIDENCE = "label", "label_confidence"
"""Attributes of vertices and points: the number of the label, and its probability."""
YAWS = (-60.0, -30.0, 0.0, 30.0, 60.0)
PITCHES = (-20.0, 20.0)
"""Turns in degrees of the views that points are fused from, pitches beside the usual one; of a class that is
seen from all around, yaws are all around."""


def label_mesh(
    mesh: Trimesh, field: ObjectField, legend: Legend, progress: Progress | None = None
) -> Trimesh:
    """Return a mesh whose vertices have the colors of their labels, with these as attributes.

    `vertex_attributes` has `label`, numbers, and `label_confidence`, probabilities. A vertex has the label
    that a ray sees that meets the surface there straight on. An object has no background: what is left to it
    goes to the most probable other label.

    Args:
        mesh: a mesh of the object, with normals.
        field: the object of a model with labels.
        legend: the labels of the model.
        progress: called with the number of vertices done and their total.
    """
    from trimesh import Trimesh
    from trimesh.visual.color import ColorVisuals

    assert field.density_and_labels is not None
    parts = surface_values(
        field.density_and_labels, mesh.vertices, mesh.vertex_normals, field.device, progress
    )
    labels, confidence = labels_of_object(torch.cat(list(parts)), legend)
    made = Trimesh(
        mesh.vertices,
        mesh.faces,
        vertex_normals=mesh.vertex_normals,
        vertex_attributes={LABEL: labels, CONFIDENCE: confidence},
        process=False,
    )
    made.visual = ColorVisuals(made, vertex_colors=np.array(legend.colors, dtype=np.uint8)[labels])
    return made


def part_of_mesh(mesh: Trimesh, number: int, name: str) -> Trimesh:
    """Return the faces of a labeled mesh most of whose corners have a label: an open surface.

    Args:
        mesh: of `label_mesh`.
        number: the label.
        name: its name, for messages.

    Raises:
        NerfgenError: no face has it.
    """
    part = part_of_vertices(mesh, np.asarray(mesh.vertex_attributes[LABEL]) == number)
    if part is None:
        raise NerfgenError(f"the object shows no {name}; choose another --part or another object")
    return part


def fused_points(
    model: NerfgenModel,
    code: Float[Tensor, "1 latent"],
    photographs: Cameras,
    legend: Legend,
    count: int,
    size: int = 192,
    seed: int = 0,
    progress: Progress | None = None,
) -> PointCloud:
    """Return labeled points of an object's surface, fused from several views of it.

    Each view gives the points that its pixels see, by its depth. Points of all views within one cell of the
    class's box become one point with the means of place, normal and label probabilities. `colors` are those
    of the labels; `vertex_normals`, `vertex_attributes["label"]` and `["label_confidence"]` are set.

    Args:
        model: a model with labels.
        code: one latent code.
        photographs: the cameras of the class's photographs.
        legend: the labels of the model.
        count: number of points at most; which, `seed` chooses.
        size: width and height of a view in pixels.
        seed: of the choice.
        progress: called with the number of views done and their total.

    Raises:
        NerfgenError: no view shows a surface.
    """
    from trimesh import PointCloud

    all_around, pitch = usual_angles(photographs)
    yaws = np.arange(0.0, 360.0, 45.0) if all_around else np.array(YAWS)
    angles = [(yaw, pitch + up) for yaw in yaws for up in (0.0, *PITCHES)]
    cameras = turned_cameras(photographs, np.array(angles), size)
    views = []
    for view in range(len(angles)):
        camera = cameras[view : view + 1].to(model.device)
        outputs = model.render_camera(camera, code.to(model.device), probabilities=True)
        rays = camera.generate_rays(camera_indices=0, keep_shape=True)
        shown = outputs["accumulation"][..., 0] > VISIBLE
        places = rays.origins + rays.directions * outputs["depth"]
        values = torch.cat([places, outputs["normals"] * 2.0 - 1.0, outputs["label_probabilities"]], dim=-1)
        views.append(values[shown])
        if progress is not None:
            progress(view + 1, len(angles))
    values = torch.cat(views)
    if len(values) == 0:
        raise NerfgenError("no view shows a surface of the object; train the run longer")
    fused = means_in_cells(values.cpu(), 2.0 / size)
    generator = torch.Generator().manual_seed(seed)
    fused = fused[torch.randperm(len(fused), generator=generator)[:count]]
    labels, confidence = labels_of_object(fused[:, 6:], legend)
    points: Any = PointCloud(fused[:, :3].numpy(), np.array(legend.colors, dtype=np.uint8)[labels])
    points.vertex_normals = torch.nn.functional.normalize(fused[:, 3:6], dim=-1).numpy()
    points.vertex_attributes = {LABEL: labels, CONFIDENCE: confidence}
    return points


def labels_of_object(
    probabilities: Float[Tensor, "n labels"], legend: Legend
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the most probable label of the object, never background, and its probability."""
    values = probabilities.cpu().clone()
    if len(legend.names) > 1:
        values[:, legend.background] = -1.0
    confidence, labels = values.max(dim=-1)
    return labels.numpy().astype(np.uint8), confidence.clamp(0.0, 1.0).numpy().astype(np.float32)


def means_in_cells(values: Float[Tensor, "n channels"], cell: float) -> Float[Tensor, "cells channels"]:
    """Return the mean of all values whose places, their first three, are in one cell, for each cell."""
    cells = torch.floor((values[:, :3] + 1.0) / cell).long().clamp(min=0)
    side = int(cells.max()) + 1
    flat = (cells[:, 0] * side + cells[:, 1]) * side + cells[:, 2]
    _, own, counts = flat.unique(return_inverse=True, return_counts=True)
    sums = values.new_zeros(len(counts), values.shape[1]).index_add(0, own, values)
    return sums / counts[:, None]
