"""Labeled geometry: attributes of vertices in files, parts, and points fused from several views."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from nerfgen_ns.dataset_format.label_maps import Legend
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.fields.foreground import activate_density
from nerfgen_ns.meshing.extraction import extract_mesh
from nerfgen_ns.meshing.field import ObjectField, object_field
from nerfgen_ns.meshing.labels import label_mesh, part_of_mesh
from nerfgen_ns.meshing.mesh import write_mesh
from nerfgen_ns.runs.loading import load_run

LEGEND = Legend(("background", "lower", "upper"), ((0, 0, 0), (255, 0, 0), (0, 0, 255)))
LEVEL = float(activate_density(torch.zeros(())))


def two_halves() -> ObjectField:
    """A ball whose upper half has another label; the background is the most probable label of both."""

    def density(positions: torch.Tensor) -> torch.Tensor:
        return activate_density(100.0 * (0.6 - positions.norm(dim=-1)))

    def labels(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        upper = (positions[:, 1] > 0).float()
        return density(positions), torch.stack([0 * upper + 0.5, 0.4 * (1 - upper), 0.4 * upper], dim=-1)

    return ObjectField(
        density, lambda positions: (density(positions), 0.5 + 0 * positions), density_and_labels=labels
    )


@pytest.fixture(scope="module")
def mesh() -> trimesh.Trimesh:
    field = two_halves()
    return label_mesh(extract_mesh(field, 24, level=LEVEL), field, LEGEND)


def test_vertices_have_the_labels_of_their_places(mesh: trimesh.Trimesh) -> None:
    away = np.abs(mesh.vertices[:, 1]) > 0.1
    expected = np.where(mesh.vertices[:, 1] > 0, 2, 1)
    np.testing.assert_array_equal(mesh.vertex_attributes["label"][away], expected[away])
    np.testing.assert_allclose(mesh.vertex_attributes["label_confidence"][away], 0.4, atol=1e-5)
    np.testing.assert_array_equal(
        mesh.visual.vertex_colors[:, :3], np.array(LEGEND.colors)[mesh.vertex_attributes["label"]]
    )
    assert mesh.is_watertight


def test_files_hold_labels_as_attributes(mesh: trimesh.Trimesh, tmp_path: Path) -> None:
    write_mesh(tmp_path / "a.ply", mesh)
    vertices = trimesh.load(tmp_path / "a.ply", process=False).metadata["_ply_raw"]["vertex"]
    np.testing.assert_array_equal(vertices["data"]["label"].ravel(), mesh.vertex_attributes["label"])
    np.testing.assert_allclose(
        vertices["data"]["label_confidence"].ravel(), mesh.vertex_attributes["label_confidence"]
    )
    write_mesh(tmp_path / "a.glb", mesh)
    (read,) = trimesh.load_scene(tmp_path / "a.glb", process=False).geometry.values()
    np.testing.assert_array_equal(read.vertex_attributes["_LABEL"].ravel(), mesh.vertex_attributes["label"])


def test_a_part_has_the_faces_of_its_label_alone(mesh: trimesh.Trimesh) -> None:
    part = part_of_mesh(mesh, 2, "upper")
    assert 0.4 < part.area / mesh.area < 0.6
    assert part.vertices[:, 1].min() > -0.1 and len(part.vertex_attributes["label"]) == len(part.vertices)
    other = part_of_mesh(mesh, 1, "lower")
    np.testing.assert_allclose(part.area + other.area, mesh.area, rtol=1e-6)
    with pytest.raises(NerfgenError, match="background"):
        part_of_mesh(mesh, 0, "background")


@pytest.fixture
def call(call_nerfgen: Callable[..., int], labeled_config: Path) -> Callable[..., int]:
    """Call the command with further options; gives its exit status."""
    return partial(call_nerfgen, "mesh", "--load-config", labeled_config, "--identity", 1)


def test_the_command_writes_labeled_meshes_and_points(
    call: Callable[..., int], labeled_config: Path, tmp_path: Path
) -> None:
    run = load_run(labeled_config)
    positions = torch.rand(2000, 3) * 2.0 - 1.0
    level = float(object_field(run.model, run.codes[0]).density(positions).quantile(0.7).detach())
    shared = ("--resolution", 24, "--level", level, "--labels")
    assert call(*shared, "--output-path", tmp_path / "a.ply") == 0
    read = trimesh.load(tmp_path / "a.ply", process=False)
    labels = read.metadata["_ply_raw"]["vertex"]["data"]["label"].ravel()
    assert set(labels.tolist()) <= set(range(1, 6))
    part = run.legend.names[int(np.bincount(labels).argmax())]
    assert call(*shared, "--part", part, "--output-path", tmp_path / "part.glb") == 0
    assert call("--labels", "--kind", "points", "--points", 300, "--output-path", tmp_path / "b.ply") == 0
    points = trimesh.load(tmp_path / "b.ply").metadata["_ply_raw"]["vertex"]["data"]
    assert len(points["x"]) == 300 and points["label"].min() >= 1
    assert points["label_confidence"].min() >= 0.0 and points["label_confidence"].max() <= 1.0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--labels", "--output-path", "a.obj"), "--output-path"),
        (("--labels", "--kind", "voxels", "--output-path", "a.npz"), "--labels"),
        (("--labels", "--texture", "512", "--output-path", "a.glb"), "--labels"),
        (("--part", "hair", "--kind", "points", "--output-path", "a.ply"), "--part"),
        (("--part", "nose", "--output-path", "a.ply"), "--part nose"),
    ],
)
def test_what_holds_no_labels_and_unknown_parts_are_refused(
    options: tuple[str, ...], named: str, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*options) == 2
    assert named in capsys.readouterr().err


def test_a_run_without_labels_says_how_to_get_them(
    call_nerfgen: Callable[..., int],
    trained_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("--load-config", trained_config, "--labels", "--output-path", tmp_path / "a.ply")
    assert call_nerfgen("mesh", *arguments) == 2
    assert "nerfgen label" in capsys.readouterr().err
