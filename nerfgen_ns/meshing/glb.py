"""Meshes as binary glTF 2.0 (Khronos Group, "glTF 2.0 Specification", 2021): all in one file."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from PIL import Image

from nerfgen_ns.meshing.mesh import Mesh

FLOAT, UNSIGNED_INT = 5126, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963


def glb_bytes(mesh: Mesh) -> bytes:
    """Return the contents of a .glb file: y up and the front towards +z, as glTF has it.

    Vertex colours are linear there, as floats: trimesh cuts integers of 16 bits to their lower 8. They come
    without a material, beside which trimesh drops them; a texture comes with a matte one, and is sRGB.
    """
    glb = _Glb()
    primitive: dict[str, Any] = {}
    if mesh.texture is None:
        attributes = {
            "POSITION": glb.add(mesh.vertices, FLOAT, ARRAY_BUFFER, bounds=True),
            "NORMAL": glb.add(mesh.normals, FLOAT, ARRAY_BUFFER),
            "COLOR_0": glb.add(_linear(mesh.colours), FLOAT, ARRAY_BUFFER),
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


def _linear(colours: UInt8[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
    """Return sRGB bytes as linear light in [0, 1] (IEC 61966-2-1)."""
    shares = np.arange(256) / 255.0
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)[colours]
