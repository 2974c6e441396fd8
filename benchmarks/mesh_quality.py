"""Meshes of a run: time, watertightness, and how their silhouettes overlap the photographs' mattes.

python -m benchmarks.mesh_quality --load-config RUN/config.yml --identities 24
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
import tyro
from jaxtyping import Bool
from nerfstudio.cameras.cameras import Cameras
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table
from trimesh import Trimesh

from nerfgen_ns.cameras.projection import Cameras as PinholeCameras
from nerfgen_ns.cameras.projection import project
from nerfgen_ns.datamanagers.dataset import NerfgenDataset, open_dataset
from nerfgen_ns.meshing.extraction import SURFACE_LEVEL, extract_mesh
from nerfgen_ns.meshing.field import object_field
from nerfgen_ns.metrics.geometry import silhouette_iou
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.utils.files import write_json
from nerfgen_ns.utils.images import from_bytes
from nerfgen_ns.utils.spacing import evenly_spaced

SUBPIXELS = 4


def silhouette(mesh: Trimesh, camera: Cameras) -> Bool[np.ndarray, "height width"]:
    """Return the pixels of one camera, of shape (1,), that a mesh in front of it covers by half or more."""
    size = (int(camera.width), int(camera.height))
    image = Image.new("L", (size[0] * SUBPIXELS, size[1] * SUBPIXELS))
    draw = ImageDraw.Draw(image)
    # Pillow counts from the middle of the first pixel.
    corners = project(PinholeCameras.from_nerfstudio([camera]), mesh.vertices)[0] * SUBPIXELS - 0.5
    for triangle in corners[mesh.faces].reshape(-1, 6).tolist():
        draw.polygon(triangle, fill=255)
    return np.asarray(image.reduce(SUBPIXELS)) >= 128


@dataclass
class MeshQuality:
    """Extract meshes of identities, and compare them with their photographs."""

    load_config: Path
    """The config.yml of a trained run, whose data has mattes."""
    identities: int = 24
    """How many identities, evenly spread."""
    resolution: int = 128
    """Cells along each side of the box."""
    levels: tuple[float, ...] = (SURFACE_LEVEL,)
    """Densities of the surface to compare."""
    threads: int = 2
    """Processor cores to use."""
    output_path: Path | None = None
    """Where to write the figures as JSON."""

    def run(self) -> None:
        """Measure, print a table, write the figures."""
        torch.set_num_threads(self.threads)
        run = load_run(self.load_config)
        photographs = open_dataset(run.photographs)
        rows = [self._measure(run, photographs, level) for level in self.levels]
        table = Table("figure", *("" for _ in rows), title=f"{self.identities} meshes")
        for name in rows[0]:
            table.add_row(name.replace("_", " "), *(f"{row[name]:.4g}" for row in rows))
        Console().print(table)
        if self.output_path is not None:
            write_json(self.output_path, rows)

    def _measure(self, run: Run, photographs: NerfgenDataset, level: float) -> dict[str, float]:
        cameras: Any = photographs.cameras
        chosen = evenly_spaced(len(photographs), self.identities, "starts").tolist()
        seconds, overlaps, watertight, faces = [], [], [], []
        for photograph in chosen:
            matte = photographs.get_numpy_matte(photograph)
            assert matte is not None, "the data has no mattes"
            code = run.codes[int(cameras.metadata["cam_idx"][photograph])]
            begin = time.perf_counter()
            mesh = extract_mesh(
                object_field(run.model, code), self.resolution, level=level, cameras=run.cameras
            )
            seconds.append(time.perf_counter() - begin)
            covered = silhouette(mesh, cameras[photograph : photograph + 1])
            overlaps.append(silhouette_iou(torch.from_numpy(covered).float(), from_bytes(matte)))
            watertight.append(trimesh.Trimesh(mesh.vertices, mesh.faces).is_watertight)
            faces.append(len(mesh.faces))
        return {
            "level": level,
            "resolution": self.resolution,
            "mean_iou": float(np.mean(overlaps)),
            "least_iou": min(overlaps),
            "watertight_share": float(np.mean(watertight)),
            "median_seconds": float(np.median(seconds)),
            "largest_seconds": max(seconds),
            "mean_faces": float(np.mean(faces)),
        }


if __name__ == "__main__":
    tyro.cli(MeshQuality).run()
