"""Meshes and points as files: .ply, .obj and .glb, each written whole or not at all."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from nerfgen_ns.errors import UsageError
from nerfgen_ns.files import replace_file, write_text
from nerfgen_ns.meshing.glb import glb_bytes
from nerfgen_ns.meshing.mesh import Mesh, Points

MESH_SUFFIXES = (".ply", ".obj", ".glb")
TEXTURED_SUFFIXES = (".obj", ".glb")


def check_suffix(path: Path, suffixes: tuple[str, ...]) -> None:
    """Make sure that a file's suffix names one of the formats.

    Raises:
        UsageError: it does not.
    """
    if path.suffix.lower() not in suffixes:
        expected = suffixes[0] if len(suffixes) == 1 else f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise UsageError(f"{path}: the name of the file must end in {expected}")


def write_mesh(path: Path, mesh: Mesh) -> None:
    """Write a mesh as the suffix of the file says.

    A textured .obj brings a .mtl and a .png of the same name, which are written before it. Where programs
    would not read that name inside a file, because of a space for instance, theirs is another.

    Raises:
        UsageError: another suffix, or a texture where the format holds none.
        NerfgenError: the file cannot be written.
    """
    check_suffix(path, MESH_SUFFIXES if mesh.texture is None else TEXTURED_SUFFIXES)
    suffix = path.suffix.lower()
    if suffix == ".obj":
        _write_obj(path, mesh)
        return
    with replace_file(path) as temporary:
        if suffix == ".ply":
            temporary.write_bytes(_ply(mesh.vertices, mesh.normals, mesh.colours, mesh.faces))
        else:
            temporary.write_bytes(glb_bytes(mesh))


def write_points(path: Path, points: Points) -> None:
    """Write points as .ply.

    Raises:
        UsageError: another suffix.
        NerfgenError: the file cannot be written.
    """
    check_suffix(path, (".ply",))
    with replace_file(path) as temporary:
        temporary.write_bytes(_ply(points.positions, points.normals, points.colours))


def _ply(
    positions: Shaped[np.ndarray, "n 3"],
    normals: Shaped[np.ndarray, "n 3"],
    colours: Shaped[np.ndarray, "n 3"],
    faces: Shaped[np.ndarray, "faces 3"] | None = None,
) -> bytes:
    floats = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    vertices = np.empty(len(positions), dtype=[*floats, *((name, "u1") for name in ("red", "green", "blue"))])
    for name, column in zip(vertices.dtype.names or (), [*positions.T, *normals.T, *colours.T], strict=True):
        vertices[name] = column
    header = ["ply", "format binary_little_endian 1.0", "comment y up, front towards +z"]
    header += [f"element vertex {len(positions)}"]
    header += [
        f"property {'float' if name in dict(floats) else 'uchar'} {name}"
        for name in vertices.dtype.names or ()
    ]
    body = vertices.tobytes()
    if faces is not None:
        triangles = np.empty(len(faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
        triangles["count"], triangles["corners"] = 3, faces
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
        body += triangles.tobytes()
    return "\n".join([*header, "end_header\n"]).encode("ascii") + body


def _write_obj(path: Path, mesh: Mesh) -> None:
    corners = mesh.faces + 1
    lines = ["# y up, front towards +z"]
    if mesh.texture is None:
        lines += _lines("v", np.hstack([mesh.vertices, mesh.colours / 255.0]))
        faces = ["f {0}//{0} {1}//{1} {2}//{2}".format(*face) for face in corners.tolist()]
    else:
        stem = _reference(path.stem)
        image, material = path.with_name(f"{stem}.png"), path.with_name(f"{stem}.mtl")
        with replace_file(image) as temporary:
            Image.fromarray(mesh.texture.image).save(temporary)
        write_text(material, f"newmtl object\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {image.name}\n")
        lines += [f"mtllib {material.name}", "usemtl object", *_lines("v", mesh.vertices)]
        lines += _lines("vt", mesh.texture.coordinates.reshape(-1, 2) * (1.0, -1.0) + (0.0, 1.0))
        places = np.arange(1, 3 * len(corners) + 1).reshape(-1, 3)
        faces = [
            "f {0}/{3}/{0} {1}/{4}/{1} {2}/{5}/{2}".format(*face)
            for face in np.hstack([corners, places]).tolist()
        ]
    write_text(path, "\n".join([*lines, *_lines("vn", mesh.normals), *faces]) + "\n")


def _reference(name: str) -> str:
    """Return a name that every program reads within an .obj or .mtl: spaces, # and \\ end a name there.

    The name that changes gets a mark, so that `my head` and `my_head` do not share their files.
    """
    plain = re.sub(r"[^\w.-]+", "_", name).lstrip("-")
    return plain if plain == name else f"{plain}_{zlib.crc32(os.fsencode(name)):08x}"


def _lines(keyword: str, rows: Shaped[np.ndarray, "n columns"]) -> list[str]:
    return [f"{keyword} {' '.join(f'{value:.7g}' for value in row)}" for row in rows.tolist()]
