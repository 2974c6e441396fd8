"""Files of meshes, points and voxels, read back by another program."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from trimesh.visual.color import linear_to_srgb, srgb_to_linear

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.fields.foreground import activate_density
from nerfgen_ns.meshing.extraction import Voxels, extract_mesh, write_voxels
from nerfgen_ns.meshing.field import ObjectField
from nerfgen_ns.meshing.mesh import vertex_colors, write_mesh, write_points

RADIUS = 0.6
LEVEL = float(activate_density(torch.zeros(())))
"""The density where the distance to the surface is 0."""


def ball_field() -> ObjectField:
    def density_and_color(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inside = RADIUS - positions.norm(dim=-1)
        return activate_density(100.0 * inside), 0.5 + 0.5 * positions

    return ObjectField(lambda positions: density_and_color(positions)[0], density_and_color)


@pytest.fixture(scope="module")
def mesh() -> trimesh.Trimesh:
    return extract_mesh(ball_field(), 16, level=LEVEL)


@pytest.fixture(scope="module")
def textured() -> trimesh.Trimesh:
    return extract_mesh(ball_field(), 16, level=LEVEL, texture_size=512)


def reload(path: Path) -> trimesh.Trimesh:
    (part,) = trimesh.load_scene(path, process=False, maintain_order=path.suffix == ".ply").geometry.values()
    return part


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_a_file_holds_the_same_surface_and_colors(mesh: trimesh.Trimesh, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"object{suffix}"
    write_mesh(path, mesh)
    read = reload(path)
    np.testing.assert_allclose(read.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(read.faces, mesh.faces)
    assert read.is_watertight
    colors = colors_of_glb(path) if suffix == ".glb" else read.visual.vertex_colors[:, :3]
    np.testing.assert_allclose(colors, vertex_colors(mesh), atol=0.05)
    assert {file.name for file in tmp_path.iterdir()} == {path.name}


def colors_of_glb(path: Path) -> np.ndarray:
    """The vertex colors as the file has them, linear light in floats, made sRGB bytes."""
    content = path.read_bytes()
    length = int.from_bytes(content[12:16], "little")
    tree, binary = json.loads(content[20 : 20 + length]), content[28 + length :]
    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]
    assert (accessor["componentType"], accessor["type"]) == (5126, "VEC3")
    start = tree["bufferViews"][accessor["bufferView"]]["byteOffset"]
    linear = np.frombuffer(binary, "<f4", 3 * accessor["count"], start).reshape(-1, 3)
    return linear_to_srgb(linear) * 255.0


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_a_file_opened_as_one_mesh_has_its_colors(mesh: trimesh.Trimesh, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"object{suffix}"
    write_mesh(path, mesh)
    read = trimesh.load(path, force="mesh", process=False, maintain_order=suffix == ".ply")
    colors, expected = read.visual.vertex_colors[:, :3] / 255.0, vertex_colors(mesh) / 255.0
    if suffix == ".glb":
        expected = srgb_to_linear(expected)
    np.testing.assert_allclose(colors, expected, atol=0.6 / 255.0)
    assert np.ptp(colors, axis=0).min() > 0.5


def test_a_textured_glb_has_a_matte_material(textured: trimesh.Trimesh, tmp_path: Path) -> None:
    path = tmp_path / "object.glb"
    write_mesh(path, textured)
    material = trimesh.load(path, force="mesh").visual.material
    assert (material.metallicFactor, material.roughnessFactor) == (0.0, 1.0)
    assert material.baseColorTexture is not None


@pytest.mark.parametrize("suffix", [".obj", ".glb"])
def test_a_texture_shows_the_field_s_color_all_over_each_face(
    textured: trimesh.Trimesh, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"object{suffix}"
    write_mesh(path, textured)
    read = reload(path)
    assert len(read.faces) == len(textured.faces)
    assert read.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.05)
    material = read.visual.material
    image = np.asarray(material.baseColorTexture if suffix == ".glb" else material.image).astype(float)
    shares = np.random.default_rng(0).dirichlet((1.0, 1.0, 1.0), size=len(read.faces))
    # Corners, too, where the pixels of the neighbors are nearest.
    for weights in (shares, np.eye(3)[np.arange(len(read.faces)) % 3]):
        place = (read.visual.uv[read.faces] * weights[..., None]).sum(axis=1)
        position = (read.vertices[read.faces] * weights[..., None]).sum(axis=1)
        # The sagitta of the faces and the depth at which pixels get their colors.
        np.testing.assert_allclose(bilinear(image, place), (0.5 + 0.5 * position) * 255, atol=0.03 * 255)


def bilinear(image: np.ndarray, place: np.ndarray) -> np.ndarray:
    """An image at places given as shares of its width from the left and of its height from the bottom."""
    column = place[:, 0] * image.shape[1] - 0.5
    row = (1.0 - place[:, 1]) * image.shape[0] - 0.5
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    across, down = (column - left)[:, None], (row - top)[:, None]
    left, top = left.clip(0, image.shape[1] - 2), top.clip(0, image.shape[0] - 2)
    upper = image[top, left, :3] * (1 - across) + image[top, left + 1, :3] * across
    lower = image[top + 1, left, :3] * (1 - across) + image[top + 1, left + 1, :3] * across
    return upper * (1 - down) + lower * down


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_a_file_holds_the_normals(mesh: trimesh.Trimesh, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"object{suffix}"
    write_mesh(path, mesh)
    if suffix == ".ply":
        vertices = trimesh.load(path, process=False).metadata["_ply_raw"]["vertex"]["data"]
        normals = np.stack([vertices[name].ravel() for name in ("nx", "ny", "nz")], axis=-1)
    elif suffix == ".obj":
        lines = path.read_text().splitlines()
        normals = np.array([line.split()[1:] for line in lines if line.startswith("vn ")], dtype=float)
    else:
        normals = reload(path).vertex_normals
    np.testing.assert_allclose(normals, mesh.vertex_normals, atol=1e-6)


def test_a_textured_obj_brings_its_material_and_its_image(textured: trimesh.Trimesh, tmp_path: Path) -> None:
    write_mesh(tmp_path / "head.obj", textured)
    assert {path.name for path in tmp_path.iterdir()} == {"head.obj", "head.mtl", "head.png"}


@pytest.mark.parametrize("stem", ["my head", "a  b#c", "tab\there", "-s", "Žofie ü", "head.v2", "50%"])
def test_a_textured_obj_of_any_name_finds_its_material_and_image(
    textured: trimesh.Trimesh, tmp_path: Path, stem: str
) -> None:
    path = tmp_path / f"{stem}.obj"
    write_mesh(path, textured)
    (library,) = (line for line in path.read_text().splitlines() if line.startswith("mtllib "))
    # Programs take all up to the end of the line, or up to the next space.
    assert len(library.split()) == 2
    material = tmp_path / library.split()[1]
    (image,) = (line for line in material.read_text().splitlines() if line.startswith("map_Kd "))
    assert len(image.split()) == 2 and (tmp_path / image.split()[1]).is_file()
    assert not image.split()[1].startswith("-")
    assert (
        f"usemtl {material.stem}\n" in path.read_text()
        and f"newmtl {material.stem}\n" in material.read_text()
    )
    assert reload(path).visual.material.image.size == (512, 512)


def test_names_that_differ_in_a_space_do_not_share_a_texture(
    textured: trimesh.Trimesh, tmp_path: Path
) -> None:
    for stem in ("my head", "my_head", "my  head"):
        write_mesh(tmp_path / f"{stem}.obj", textured)
    assert len(list(tmp_path.glob("*.png"))) == len(list(tmp_path.glob("*.mtl"))) == 3


def test_points_and_voxels_come_back_as_they_were(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    points = trimesh.PointCloud(random.random((3, 3), np.float32), random.integers(0, 256, (3, 3), np.uint8))
    points.vertex_normals = np.eye(3)
    write_points(tmp_path / "points.ply", points)
    read = trimesh.load(tmp_path / "points.ply")
    np.testing.assert_array_equal(read.vertices, points.vertices)
    np.testing.assert_array_equal(read.colors, points.colors)
    assert b"property float nz" in (tmp_path / "points.ply").read_bytes()

    voxels = Voxels(random.random((4, 4, 4)) > 0.5, random.integers(0, 256, (4, 4, 4, 3), np.uint8))
    write_voxels(tmp_path / "voxels.npz", voxels)
    with np.load(tmp_path / "voxels.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"occupancy", "color", "box"}
        for name in arrays:
            np.testing.assert_array_equal(arrays[name], getattr(voxels, name))


def test_another_suffix_is_refused_and_nothing_is_written(
    mesh: trimesh.Trimesh, textured: trimesh.Trimesh, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"object\.stl: .*\.ply.*\.obj.*\.glb"):
        write_mesh(tmp_path / "object.stl", mesh)
    with pytest.raises(UsageError, match=r"object\.ply: .*\.obj.*\.glb"):
        write_mesh(tmp_path / "object.ply", textured)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_an_unwritable_output_is_one_line(mesh: trimesh.Trimesh, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NerfgenError, match=f"/file/object{suffix}: "):
        write_mesh(tmp_path / "file" / f"object{suffix}", mesh)


def test_an_interrupted_write_leaves_the_old_file(
    mesh: trimesh.Trimesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "object.ply"
    write_mesh(path, mesh)
    before = path.read_bytes()

    def fail(self: Path, data: bytes) -> int:
        with open(self, "wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(NerfgenError, match=r"object\.ply: "):
        write_mesh(path, mesh)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
