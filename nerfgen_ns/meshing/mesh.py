"""Triangle meshes and points: their geometry, and their files .ply, .obj and .glb."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped, UInt8
from PIL import Image
from scipy import sparse

from nerfgen_ns.errors import UsageError
from nerfgen_ns.utils.files import replace_file, write_text


@dataclass(frozen=True)
class Texture:
    """An image, and where on it the corners of each face lie."""

    image: UInt8[np.ndarray, "height width 3"]
    """Colors, sRGB."""
    coordinates: Float[np.ndarray, "faces 3 2"]
    """Shares of the image's width from the left and of its height from the top."""


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in the class frame (y up, the front toward +z) and in its units."""

    vertices: Float[np.ndarray, "vertices 3"]
    """Positions."""
    faces: Int[np.ndarray, "faces 3"]
    """Vertices of each triangle, counter-clockwise seen from outside."""
    normals: Float[np.ndarray, "vertices 3"]
    """Smoothed unit normals, outwards."""
    colors: UInt8[np.ndarray, "vertices 3"]
    """Colors, sRGB."""
    texture: Texture | None = None
    """Colors between the vertices as well."""


@dataclass(frozen=True)
class Points:
    """Colored points with normals, in the class frame and in its units."""

    positions: Float[np.ndarray, "points 3"]
    """Positions."""
    normals: Float[np.ndarray, "points 3"]
    """Unit normals, outwards."""
    colors: UInt8[np.ndarray, "points 3"]
    """Colors, sRGB."""


Vertices = Float[np.ndarray, "vertices 3"]
Faces = Int[np.ndarray, "faces 3"]
BORDER = -0.01
"""Value on the border of the lattice: so little below 0 that the surface is closed right at the border."""
APART = 1e-3
"""How far from 0 values are kept, so that no two corners of the surface fall onto one lattice point."""


def triangulate(lattice: Float[np.ndarray, "n n n"]) -> tuple[Vertices, Faces]:
    """The closed surface around the positive values on a lattice over [−1, 1]³: marching cubes.

    Lewiner et al., "Efficient implementation of Marching Cubes' cases with topological guarantees" (2003).
    What is positive at the border of the lattice is closed there.
    """
    from skimage.measure import marching_cubes

    values = np.where(np.abs(lattice) < APART, -APART, lattice)
    inner = (slice(1, -1),) * 3
    closed = np.minimum(values, BORDER)
    closed[inner] = values[inner]
    spacing = 2.0 / (len(lattice) - 1)
    vertices, faces, _, _ = marching_cubes(closed, 0.0, spacing=(spacing,) * 3, gradient_direction="ascent")
    return (vertices - 1.0).astype(np.float32), faces.astype(np.int32)


def face_normals(vertices: Vertices, faces: Faces) -> Float[np.ndarray, "faces 3"]:
    """Outward normals of the faces, each as long as twice the face's area."""
    first, second, third = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    return np.cross(second - first, third - first)


def enclosed_volumes(vertices: Vertices, faces: Faces) -> Float[np.ndarray, "faces"]:
    """What each face adds to the volume that its surface encloses; around cavities the sum is negative."""
    return (face_normals(vertices, faces) * vertices[faces[:, 0]]).sum(axis=1) / 6.0


def largest_part(vertices: Vertices, faces: Faces) -> tuple[Vertices, Faces]:
    """Of the connected parts of a surface the one that encloses most; crumbs go, and walls of cavities."""
    starts, ends = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
    edges = sparse.coo_matrix((np.ones(len(starts)), (starts, ends)), shape=(len(vertices),) * 2)
    _, part_of_vertex = sparse.csgraph.connected_components(edges, directed=False)
    part_of_face = part_of_vertex[faces[:, 0]]
    kept = part_of_face == np.bincount(part_of_face, enclosed_volumes(vertices, faces)).argmax()
    used, own_faces = np.unique(faces[kept], return_inverse=True)
    return vertices[used], own_faces.reshape(-1, 3).astype(np.int32)


def vertex_normals(vertices: Vertices, faces: Faces, rounds: int = 2) -> Vertices:
    """Unit normals: of each vertex its faces' mean by area, averaged with its neighbors' in some rounds."""
    corners = faces.ravel()
    owners = np.repeat(np.arange(len(faces)), 3)
    faces_of_vertex = sparse.csr_matrix(
        (np.ones(len(corners)), (corners, owners)), shape=(len(vertices), len(faces))
    )
    normals = unit(faces_of_vertex @ face_normals(vertices, faces))
    for _ in range(rounds):
        normals = unit(faces_of_vertex @ normals[faces].sum(axis=1))
    return normals.astype(np.float32)


def unit(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """The same directions, of length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)


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
            temporary.write_bytes(_ply(mesh.vertices, mesh.normals, mesh.colors, mesh.faces))
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
        temporary.write_bytes(_ply(points.positions, points.normals, points.colors))


def _ply(
    positions: Shaped[np.ndarray, "n 3"],
    normals: Shaped[np.ndarray, "n 3"],
    colors: Shaped[np.ndarray, "n 3"],
    faces: Shaped[np.ndarray, "faces 3"] | None = None,
) -> bytes:
    floats = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    vertices = np.empty(len(positions), dtype=[*floats, *((name, "u1") for name in ("red", "green", "blue"))])
    for name, column in zip(vertices.dtype.names or (), [*positions.T, *normals.T, *colors.T], strict=True):
        vertices[name] = column
    header = ["ply", "format binary_little_endian 1.0", "comment y up, front toward +z"]
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
    lines = ["# y up, front toward +z"]
    if mesh.texture is None:
        lines += _lines("v", np.hstack([mesh.vertices, mesh.colors / 255.0]))
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


FLOAT, UNSIGNED_INT = 5126, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963


def glb_bytes(mesh: Mesh) -> bytes:
    """Return the contents of a .glb file: y up and the front toward +z, as glTF has it.

    Vertex colors are linear there, as floats: trimesh cuts integers of 16 bits to their lower 8. They come
    without a material, beside which trimesh drops them; a texture comes with a matte one, and is sRGB.
    """
    glb = _Glb()
    primitive: dict[str, Any] = {}
    if mesh.texture is None:
        attributes = {
            "POSITION": glb.add(mesh.vertices, FLOAT, ARRAY_BUFFER, bounds=True),
            "NORMAL": glb.add(mesh.normals, FLOAT, ARRAY_BUFFER),
            "COLOR_0": glb.add(_linear(mesh.colors), FLOAT, ARRAY_BUFFER),
        }
        corners = mesh.faces
    else:
        # A corner has a place of its own on the image in each face, so faces share no vertices.
        flat = mesh.faces.ravel()
        attributes = {
            "POSITION": glb.add(mesh.vertices[flat], FLOAT, ARRAY_BUFFER, bounds=True),
            "NORMAL": glb.add(mesh.normals[flat], FLOAT, ARRAY_BUFFER),
            "TEXCOORD_0": glb.add(mesh.texture.coordinates.reshape(-1, 2), FLOAT, ARRAY_BUFFER),
        }
        corners = np.arange(len(flat))
        primitive["material"] = 0
        material = {"metallicFactor": 0.0, "roughnessFactor": 1.0, "baseColorTexture": {"index": 0}}
        png = io.BytesIO()
        Image.fromarray(mesh.texture.image).save(png, format="png")
        glb.tree |= {
            "materials": [{"pbrMetallicRoughness": material}],
            "images": [{"bufferView": glb.view(png.getvalue()), "mimeType": "image/png"}],
            "samplers": [{"magFilter": 9729, "minFilter": 9729, "wrapS": 33071, "wrapT": 33071}],
            "textures": [{"source": 0, "sampler": 0}],
        }
    indices = glb.add(corners.reshape(-1).astype(np.uint32), UNSIGNED_INT, ELEMENT_ARRAY_BUFFER)
    primitive |= {"attributes": attributes, "indices": indices}
    glb.tree |= {
        "meshes": [{"primitives": [primitive]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }
    return glb.bytes()


class _Glb:
    """The parts of the file, and what says where each lies."""

    def __init__(self) -> None:
        self.accessors: list[dict[str, Any]] = []
        self.views: list[dict[str, Any]] = []
        self.tree: dict[str, Any] = {"asset": {"version": "2.0", "generator": "nerfgen"}}
        self.binary = bytearray()

    def view(self, data: bytes, **kind: int) -> int:
        """Put bytes into the file, and return the number that they go by."""
        self.views.append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data), **kind})
        self.binary += data + b"\0" * (-len(data) % 4)
        return len(self.views) - 1

    def add(
        self,
        values: Shaped[np.ndarray, "..."],
        component: int,
        target: int,
        bounds: bool = False,
    ) -> int:
        """Put numbers into the file, and return the number that they go by.

        Args:
            values: one row each.
            component: glTF's number for their type.
            target: what they are for, vertices or faces.
            bounds: note the least and the greatest, as glTF demands of positions.
        """
        width = 1 if values.ndim == 1 else values.shape[1]
        accessor: dict[str, Any] = {
            "bufferView": self.view(np.ascontiguousarray(values).tobytes(), target=target),
            "componentType": component,
            "count": len(values),
            "type": "SCALAR" if width == 1 else f"VEC{width}",
        }
        if bounds:
            accessor |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def bytes(self) -> bytes:
        """The whole file."""
        tree = {
            **self.tree,
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.binary)}],
        }
        text = json.dumps(tree, separators=(",", ":")).encode("ascii")
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + len(self.binary)
        return b"".join(
            [
                struct.pack("<4sII", b"glTF", 2, total),
                struct.pack("<I4s", len(text), b"JSON") + text,
                struct.pack("<I4s", len(self.binary), b"BIN\0") + bytes(self.binary),
            ]
        )


def _linear(colors: UInt8[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
    """Return sRGB bytes as linear light in [0, 1] (IEC 61966-2-1)."""
    shares = np.arange(256) / 255.0
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)[colors]
