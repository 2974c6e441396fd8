"""Triangle meshes: from a lattice to a surface, and the files .ply, .obj and .glb of meshes and points."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from nerfgen_ns.errors import UsageError
from nerfgen_ns.utils.files import replace_file

if TYPE_CHECKING:
    from trimesh import PointCloud, Trimesh

BORDER = -0.01
"""Value on the border of the lattice: so little below 0 that the surface is closed right at the border."""
APART = 1e-3
"""How far from 0 values are kept, so that no two corners of the surface fall onto one lattice point."""
MESH_SUFFIXES = (".ply", ".obj", ".glb")
TEXTURED_SUFFIXES = (".obj", ".glb")


def triangulate(lattice: Float[np.ndarray, "n n n"]) -> Trimesh:
    """Return the closed surface around the positive values on a lattice over [−1, 1]³: marching cubes.

    Lewiner et al., "Efficient implementation of Marching Cubes' cases with topological guarantees" (2003).
    What is positive at the border of the lattice is closed there.
    """
    from skimage.measure import marching_cubes
    from trimesh import Trimesh

    values = np.where(np.abs(lattice) < APART, -APART, lattice)
    inner = (slice(1, -1),) * 3
    closed = np.minimum(values, BORDER)
    closed[inner] = values[inner]
    spacing = 2.0 / (len(lattice) - 1)
    vertices, faces, _, _ = marching_cubes(closed, 0.0, spacing=(spacing,) * 3, gradient_direction="ascent")
    return Trimesh((vertices - 1.0).astype(np.float32), faces, process=False)


def largest_part(mesh: Trimesh) -> Trimesh:
    """Return the connected part that encloses most: no crumbs, and no walls of cavities, which enclose less.

    Not by `Trimesh.split`, which makes a mesh of every crumb and takes 4 times as long.
    """
    from trimesh.graph import connected_component_labels

    part = connected_component_labels(mesh.edges, node_count=len(mesh.vertices))[mesh.faces[:, 0]]
    volumes = (mesh.triangles_cross * mesh.triangles[:, 0]).sum(axis=1)
    mesh = mesh.copy()
    mesh.update_faces(part == np.bincount(part, volumes).argmax())
    mesh.remove_unreferenced_vertices()
    return mesh


def part_of_vertices(mesh: Trimesh, chosen: Bool[np.ndarray, " vertices"]) -> Trimesh | None:
    """Return the faces most of whose corners are chosen, an open surface; None if there are none."""
    faces = chosen[np.asarray(mesh.faces)].sum(axis=1) >= 2
    if not faces.any():
        return None
    part = mesh.copy()
    part.update_faces(faces)
    part.remove_unreferenced_vertices()
    return part


def check_suffix(path: Path, suffixes: tuple[str, ...]) -> None:
    """Make sure that a file's suffix names one of the formats.

    Raises:
        UsageError: it does not.
    """
    if path.suffix.lower() not in suffixes:
        expected = suffixes[0] if len(suffixes) == 1 else f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise UsageError(f"{path}: the name of the file must end in {expected}")


def write_mesh(path: Path, mesh: Trimesh) -> None:
    """Write a mesh as the suffix of the file says, with its normals and its colors or its texture.

    A textured .obj brings a .mtl and a .png of the same name, which are written before it. If programs
    cannot read that name inside a file, for example because of a space, they get another name. The attributes
    of vertices become properties of a .ply, and, in capitals after an underscore, attributes of a .glb.

    Raises:
        UsageError: another suffix, or a texture where the format holds none.
        NerfgenError: the file cannot be written.
    """
    from trimesh.exchange.ply import export_ply
    from trimesh.visual.texture import TextureVisuals

    check_suffix(path, TEXTURED_SUFFIXES if isinstance(mesh.visual, TextureVisuals) else MESH_SUFFIXES)
    suffix = path.suffix.lower()
    files: dict[str, bytes] = {}
    if suffix == ".ply":
        content = export_ply(mesh, vertex_normal=True)
    elif suffix == ".glb":
        content = _glb(mesh)
    else:
        content, files = _obj(mesh, _reference(path.stem))
    for name, data in (files | {path.name: content}).items():
        with replace_file(path.with_name(name)) as temporary:
            temporary.write_bytes(data)


def write_points(path: Path, points: PointCloud) -> None:
    """Write points as .ply, with their colors and with their normals, the attribute `vertex_normals`.

    Raises:
        UsageError: another suffix.
        NerfgenError: the file cannot be written.
    """
    from trimesh.exchange.ply import export_ply

    check_suffix(path, (".ply",))
    with replace_file(path) as temporary:
        temporary.write_bytes(export_ply(points, vertex_normal=True))


def _obj(mesh: Trimesh, name: str) -> tuple[bytes, dict[str, bytes]]:
    """Return the contents of an .obj, and those of its .mtl and .png by their names."""
    from trimesh.exchange.obj import export_obj
    from trimesh.visual.material import SimpleMaterial
    from trimesh.visual.texture import TextureVisuals

    if isinstance(mesh.visual, TextureVisuals):
        white, black = [255] * 4, [0, 0, 0, 255]
        baked: Any = mesh.visual.material
        image = baked.baseColorTexture
        material = SimpleMaterial(image, diffuse=white, ambient=white, specular=black, name=name)
        mesh = _dressed(mesh, visual=TextureVisuals(mesh.visual.uv, material))
    text, files = export_obj(
        mesh,
        include_normals=True,
        return_texture=True,
        mtl_name=f"{name}.mtl",
        header="y up, front toward +z",
    )
    return text.encode(), files


def _reference(name: str) -> str:
    """Return a name that every program reads within an .obj or .mtl: spaces, # and \\ end a name there.

    The name that changes gets a mark, so that `my head` and `my_head` do not share their files.
    """
    plain = re.sub(r"[^\w.-]+", "_", name).lstrip("-")
    return plain if plain == name else f"{plain}_{zlib.crc32(os.fsencode(name)):08x}"


def _glb(mesh: Trimesh) -> bytes:
    """Return the contents of a .glb: y up and the front toward +z, as glTF has it.

    glTF's vertex colors are linear light. trimesh writes them in 8 bits, too few for dark ones, so they are
    an attribute in floats here. There is no material beside them: trimesh would not read them.
    """
    from trimesh.exchange.gltf import export_glb
    from trimesh.visual.color import srgb_to_linear
    from trimesh.visual.texture import TextureVisuals

    def name_colors(tree: dict[str, Any]) -> None:
        attributes = tree["meshes"][0]["primitives"][0]["attributes"]
        attributes["COLOR_0"] = attributes.pop("_COLOR_0")

    if isinstance(mesh.visual, TextureVisuals):
        return export_glb(mesh, include_normals=True)
    linear = srgb_to_linear(vertex_colors(mesh) / 255.0).astype(np.float32)
    # glTF's own attributes begin with an underscore, and each takes a multiple of four bytes.
    others = {
        f"_{name.upper()}": np.asarray(values, np.float32) for name, values in mesh.vertex_attributes.items()
    }
    mesh = _dressed(mesh, vertex_attributes={"_COLOR_0": linear, **others})
    return export_glb(mesh, include_normals=True, tree_postprocessor=name_colors)


def matte(**options: Any) -> Any:
    """Return a material of glTF without gloss, so that colors show as they are: a `PBRMaterial`."""
    from trimesh.visual.material import PBRMaterial

    return PBRMaterial(baseColorFactor=[255] * 4, metallicFactor=0.0, roughnessFactor=1.0, **options)


def vertex_colors(mesh: Trimesh) -> UInt8[np.ndarray, "vertices 3"]:
    """Return the colors of the vertices, sRGB."""
    visual: Any = mesh.visual
    return np.asarray(visual.vertex_colors)[:, :3]


def _dressed(mesh: Trimesh, **options: Any) -> Trimesh:
    """Return the same surface and normals with other colors."""
    from trimesh import Trimesh

    return Trimesh(mesh.vertices, mesh.faces, vertex_normals=mesh.vertex_normals, process=False, **options)
