"""`nerfgen mesh`: an object of the class as a mesh, a voxel grid or a point cloud."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nerfgen_ns.errors import UsageError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from nerfgen_ns.runs.run import Run


SUFFIXES = {"mesh": (".ply", ".obj", ".glb"), "points": (".ply",), "voxels": (".npz",)}


@dataclass
class Mesh:
    """Write one object as a closed colored mesh, as a voxel grid or as a colored point cloud.

    Which object: --identity or --code; if neither is given, the mean of the latent table.
    It is in the class frame and in its units: y up, the front toward +z, within [-1, 1] along each axis.
    What no photograph of the run could show is cut off. The shape of a side that none shows is a guess of the
    field.
    """

    load_config: Path
    """The config.yml of a trained run."""
    output_path: Path
    """The file: .ply, .obj or .glb for a mesh, .ply for points, .npz for voxels."""
    kind: Literal["mesh", "points", "voxels"] = "mesh"
    """What to make. mesh: a closed surface, with normals and vertex colors; points: spread evenly
    over that surface, with normals and colors; voxels: the arrays `occupancy` (n × n × n, bool, axes x, y,
    z), `color` (n × n × n × 3, bytes) and `box` (the least and the greatest corner of the grid)."""
    identity: int | None = None
    """The object: its row of the latent table."""
    code: str | None = None
    """The object: FILE.npz:NAME, a code of a file by name or row, or FILE.npz if it holds only one."""
    resolution: int = 128
    """Cells, or voxels, along each side of the box."""
    level: float | None = None
    """Density of the surface, per unit of length; more makes the object thinner. If not set, 10, at
    which silhouettes fit the photographs' mattes best."""
    keep_all: bool = False
    """Keep loose parts and cavities as well; otherwise the largest part, filled."""
    texture: int | None = None
    """Bake a texture of this width and height in pixels, for .obj and .glb."""
    points: int = 100_000
    """How many points, for --kind points; with --labels, at most."""
    labels: bool = False
    """Label the surface, for a run of `nerfgen label`: vertices have the colors of their labels and the
    properties `label`, a number, and `label_confidence`. Points are then fused from several views."""
    part: str | None = None
    """Write only the part of this name, as a mesh; implies --labels."""

    def run(self) -> None:
        """Extract and write, and print the file's path.

        Raises:
            UsageError: an option is out of range or excludes another, or there is no such run or object.
            NerfgenError: there is nothing above the level, or the file cannot be written.
        """
        self._check()
        from nerfgen_ns.runs.loading import load_run

        run = load_run(self.load_config)
        self._write(run, self._code(run))
        print(self.output_path)

    def _check(self) -> None:
        suffix, fitting = self.output_path.suffix.lower(), SUFFIXES[self.kind]
        if suffix not in fitting:
            others = [kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes]
            hint = f", or --kind {others[0]}" if others else ""
            raise UsageError(
                f"--output-path {self.output_path}: --kind {self.kind} is written as {' '.join(fitting)}; "
                f"choose such a name{hint}"
            )
        if self.texture is not None and (self.kind != "mesh" or suffix == ".ply"):
            raise UsageError("--texture needs a mesh in a .obj or .glb; choose such an --output-path")
        if self.labels_wanted and (self.kind == "voxels" or self.texture is not None):
            raise UsageError("--labels: labels are on meshes and points without --texture; leave one out")
        if self.labels_wanted and suffix == ".obj":
            raise UsageError(
                f"--output-path {self.output_path}: an .obj holds no labels; choose a .ply or a .glb"
            )
        if self.part is not None and self.kind != "mesh":
            raise UsageError(f"--part {self.part}: a part is a mesh; leave out --kind {self.kind}")
        if self.identity is not None and self.code is not None:
            raise UsageError("--identity and --code both name an object: give one of them")

    @property
    def labels_wanted(self) -> bool:
        """Whether labels are written."""
        return self.labels or self.part is not None

    def _code(self, run: Run) -> Float[Tensor, "1 latent"]:
        table = run.model.latent_table
        if self.identity is not None:
            return table.row(self.identity)
        if self.code is None:
            return table.mean()
        from nerfgen_ns.latents.code_files import choose_codes

        codes = choose_codes(self.code, run.model.config.latent_dim, run.model_fingerprint)
        if len(codes) != 1:
            raise UsageError(
                f"--code {self.code}: the file holds {len(codes)} codes; name one as FILE.npz:NAME"
            )
        return codes

    def _write(self, run: Run, code: Float[Tensor, "1 latent"]) -> None:
        from nerfgen_ns.meshing.extraction import (
            SURFACE_LEVEL,
            extract_mesh,
            extract_points,
            extract_voxels,
            write_voxels,
        )
        from nerfgen_ns.meshing.field import object_field
        from nerfgen_ns.meshing.mesh import write_mesh, write_points
        from nerfgen_ns.utils.console import progress_bar

        if self.labels_wanted:
            self._write_labeled(run, code)
            return
        field = object_field(run.model, code)
        with progress_bar(self.kind) as progress:
            options: dict[str, Any] = {
                "level": SURFACE_LEVEL if self.level is None else self.level,
                "keep_all": self.keep_all,
                "cameras": run.cameras,
                "progress": progress,
            }
            if self.kind == "voxels":
                write_voxels(self.output_path, extract_voxels(field, self.resolution, **options))
            elif self.kind == "points":
                points = extract_points(field, self.points, self.resolution, **options)
                write_points(self.output_path, points)
            else:
                mesh = extract_mesh(field, self.resolution, texture_size=self.texture, **options)
                write_mesh(self.output_path, mesh)

    def _write_labeled(self, run: Run, code: Float[Tensor, "1 latent"]) -> None:
        from nerfgen_ns.meshing.extraction import SURFACE_LEVEL, check_count, extract_mesh
        from nerfgen_ns.meshing.field import object_field
        from nerfgen_ns.meshing.labels import fused_points, label_mesh, part_of_mesh
        from nerfgen_ns.meshing.mesh import write_mesh, write_points
        from nerfgen_ns.utils.console import progress_bar

        legend = run.legend
        number = None if self.part is None else legend.number(self.part, "--part")
        with progress_bar(self.kind) as progress:
            if self.kind == "points":
                check_count(self.points)
                points = fused_points(run.model, code, run.cameras, legend, self.points, progress=progress)
                write_points(self.output_path, points)
                return
            field = object_field(run.model, code)
            level = SURFACE_LEVEL if self.level is None else self.level
            mesh = extract_mesh(
                field,
                self.resolution,
                level=level,
                keep_all=self.keep_all,
                cameras=run.cameras,
                progress=progress,
            )
            labeled = label_mesh(mesh, field, legend, progress)
            if number is not None:
                assert self.part is not None
                labeled = part_of_mesh(labeled, number, self.part)
            write_mesh(self.output_path, labeled)
