"""What the benchmarks of fitted cameras and of meshes compare with the truth."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from scipy.spatial.transform import Rotation

from benchmarks.camera_cost import OWN, WHOLE, PairedCameras, moved_camera, new_view_figures
from benchmarks.mesh_quality import silhouette
from nerfgen_ns.cameras.alignment import Similarity, align_collection
from nerfgen_ns.evaluation.comparisons import read_views

CAMERA = torch.tensor([[[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 2.0]]])


def test_views_are_judged_from_where_a_moved_class_frame_sees_them(small_heads: Path) -> None:
    """Fitted cameras that one similarity takes onto the true ones: both alignments find it."""
    photographs, views = read_views(small_heads / "train"), read_views(small_heads / "test")
    true = np.array([np.eye(4)] * len(photographs))
    true[:, :3] = [view.camera.camera_to_worlds[0].double().numpy() for view in photographs]
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [10.0, 20.0, -5.0], degrees=True).as_matrix()
    fitted = turn @ true
    pairs = PairedCameras(fitted, true, {view.identity: row for row, view in enumerate(photographs)})
    seen: list[tuple[int, torch.Tensor]] = []

    def render(row: int, camera: Cameras) -> dict[str, torch.Tensor]:
        seen.append((row, camera.camera_to_worlds[0]))
        shape = (int(camera.height), int(camera.width))
        return {
            name: torch.full((*shape, size), 0.5)
            for name, size in (("rgb", 3), ("depth", 1), ("accumulation", 1))
        }

    run: Any = SimpleNamespace(render=render, code=lambda row: row)
    rows = {identity: 10 + row for identity, row in pairs.row_of_identity.items()}
    figures = new_view_figures(run, pairs, views, rows)
    assert figures.keys() == {OWN, WHOLE}
    assert figures[OWN]["foreground_psnr"] == pytest.approx(figures[WHOLE]["foreground_psnr"])
    for place, view in enumerate(views):
        expected = torch.from_numpy(turn).float() @ torch.cat(
            [view.camera.camera_to_worlds[0], torch.tensor([[0.0, 0.0, 0.0, 1.0]])]
        )
        for row, matrix in (seen[place], seen[len(views) + place]):
            assert row == rows[view.identity]
            torch.testing.assert_close(matrix, expected[:3], atol=1e-4, rtol=0)


def test_a_moved_camera_keeps_its_intrinsics(small_heads: Path) -> None:
    view = read_views(small_heads / "test")[0]
    same: Similarity = align_collection(np.eye(4)[None].repeat(3, 0), np.eye(4)[None].repeat(3, 0))
    moved = moved_camera(view.camera, same)
    assert float(moved.fx) == float(view.camera.fx) and moved.width == view.camera.width


def test_a_square_covers_the_pixels_that_it_projects_to() -> None:
    """Two triangles 2 units in front of a camera whose focal length is 8 pixels: a square of 4 pixels."""
    corners = np.array([[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [-0.5, 0.5, 0.0]])
    mesh: Any = SimpleNamespace(vertices=corners, faces=np.array([[0, 1, 2], [0, 2, 3]]))
    camera = Cameras(CAMERA, fx=8.0, fy=8.0, cx=5.0, cy=4.0, width=10, height=8)
    covered = np.zeros((8, 10), dtype=bool)
    covered[2:6, 3:7] = True
    np.testing.assert_array_equal(silhouette(mesh, camera), covered)
