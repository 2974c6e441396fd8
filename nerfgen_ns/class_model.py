"""A trained class for Python programs: what the commands do, as functions.

import nerfgen_ns

faces = nerfgen_ns.load("outputs/faces/nerfgen-tiny/run/config.yml")
me = faces.fit(["me.jpg"]).codes[0]
picture = faces.render(me, faces.camera(yaw=30))["rgb"]  # (128, 128, 3), in [0, 1]
stranger = faces.sample(1, truncation=0.7)[0]
between = faces.morph(me, stranger, share=0.5)
faces.save_mesh(between, "between.glb")
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.cameras.trajectories import turned_cameras, usual_angles
from nerfgen_ns.errors import UsageError
from nerfgen_ns.latents.latent_space import LatentSpace, interpolate
from nerfgen_ns.runs.run import Run

if TYPE_CHECKING:
    from trimesh import Trimesh

    from nerfgen_ns.dataset_format.label_maps import LabelMap
    from nerfgen_ns.fields.query import Query
    from nerfgen_ns.fields.regions import Effect
    from nerfgen_ns.inversion.config import FitConfig
    from nerfgen_ns.inversion.inversion import Found
    from nerfgen_ns.model.class_view import RayLabel
    from nerfgen_ns.semantics.config import DistillConfig, EditConfig, FactoryConfig, LabelConfig
    from nerfgen_ns.semantics.editing import Edited
    from nerfgen_ns.semantics.factory import FactoryReport
    from nerfgen_ns.semantics.finding import Matches


Code = Float[Tensor, " latent"]


class ClassModel:
    """One class of objects: render, fit, sample, mix and mesh them.

    Positions are in the class frame: right-handed, y up, objects look to +z, all within [−1, 1]³. Colors are
    in [0, 1]. A latent code is a tensor of shape (D,); rows of the latent table are the codes of the
    photographs that the class was trained on.

    Args:
        run: the trained run; see `nerfgen_ns.load`.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    @property
    def codes(self) -> Float[Tensor, "identities latent"]:
        """Return the latent table: one row for each identity of the training photographs."""
        return self.run.codes

    @cached_property
    def space(self) -> LatentSpace:
        """Compute the Gaussian of the latent table: mean, principal directions and standard deviations."""
        return LatentSpace.of(self.codes)

    def camera(self, yaw: float = 0.0, pitch: float | None = None, size: int = 128) -> Cameras:
        """Return a camera that looks at the object from the usual distance of the photographs.

        Args:
            yaw: degrees, positive when the camera is at the object's left, +x.
            pitch: degrees, positive when it is above; if not set, the class's usual one.
            size: width and height in pixels.

        Returns:
            nerfstudio's cameras, of shape (1,).

        Raises:
            UsageError: the size is below 1.
        """
        if size < 1:
            raise UsageError(f"size {size}: give 1 or more pixels")
        height = usual_angles(self.run.cameras)[1] if pitch is None else pitch
        return turned_cameras(self.run.cameras, np.array([[yaw, height]]), size)

    def render(
        self, code: Code, camera: Cameras | None = None, query: Query | None = None
    ) -> dict[str, Float[Tensor, "h w channels"]]:
        """Render one object.

        Args:
            code: its latent code.
            camera: of shape (1,); if not set, the usual one from the front.
            query: what the output `similarity` looks for, of a class with features: that of `find`.

        Returns:
            `rgb`, `foreground`, `background` and `normals` with three channels in [0, 1]; `accumulation` in
            [0, 1] and `depth`, the distance along the ray in units of the class frame, with one. Of a class
            with labels also `labels`, colors, and `label_confidence`. Of a class with features also
            `features`, colors, and where there is a query `similarity`, in [0, 1].
        """
        return self.run.render(code.reshape(1, -1), self.camera() if camera is None else camera, query=query)

    def save(self, path: Path | str, thumbnails: bool = False) -> None:
        """Write the class model as one file that `nerfgen_ns.load` and every command take.

        Args:
            path: the file, which ends in .safetensors. It holds tensors and JSON, nothing to execute.
            thumbnails: whether to put a small picture of each training photograph into it.

        Raises:
            UsageError: the path ends in something else, or the thumbnails' photographs are missing.
            NerfgenError: the file cannot be written.
        """
        from nerfgen_ns.runs.pack import write_pack

        write_pack(self.run, Path(path), thumbnails)

    def fit(
        self,
        images: Sequence[Path | str],
        config: FitConfig | None = None,
        label_maps: Path | str | None = None,
    ) -> Found:
        """Find the latent codes of photographs, all of them together.

        Args:
            images: photographs, folders of photographs, or one folder with cameras in the class frame.
            config: how; the command `nerfgen fit` has the same options.
            label_maps: a folder of label maps of the photographs or, without photographs, to be fitted alone.

        Returns:
            `codes`, (objects, D); `photographs`, each with its identity and its camera; `rejected`, those
            that could not be used, with the reason and the fix; `distances`, how unusual each object is.

        Raises:
            UsageError: there is no such photograph, or an option makes no sense.
            NerfgenError: no photograph can be used.
        """
        from nerfgen_ns.inversion.config import FitConfig
        from nerfgen_ns.inversion.inversion import find

        with tempfile.TemporaryDirectory() as work:
            return find(
                self.run,
                [Path(image) for image in images],
                config or FitConfig(),
                Path(work),
                label_maps=None if label_maps is None else Path(label_maps),
            )

    def label(self, masks: Path | str, config: LabelConfig | None = None) -> ClassModel:
        """Return this class with labels everywhere, learned from label maps of a few photographs.

        Its renders have the outputs `labels`, colors, and `label_confidence` too. Geometry and colors stay.

        Args:
            masks: a folder of label maps with their `labels.json`; see `nerfgen label`.
            config: how; the command `nerfgen label` has the same options.

        Raises:
            UsageError: a label map cannot be used, or an option makes no sense.
        """
        from nerfgen_ns.semantics.label_training import with_labels
        from nerfgen_ns.semantics.labeling import read_label_maps

        legend, label_maps = read_label_maps(self.run, Path(masks))
        return ClassModel(with_labels(self.run, label_maps, legend, config))

    def region(
        self,
        labels: str | Sequence[str],
        effect: Effect,
        color: tuple[int, int, int] | None = None,
        threshold: float | None = None,
        softness: float = 0.25,
    ) -> ClassModel:
        """Return this class with parts of every object removed, extracted or recolored.

        Renders, meshes and saved files show the effect. An effect that the class has already is replaced.

        Args:
            labels: the parts, by the names of their labels; none, `()`: what `nerfgen find` looked for.
            effect: "remove", "extract" or "recolor"; "none" takes an earlier effect back.
            color: the new color for "recolor", red, green, blue, 0 to 255.
            threshold: the probability of the labels, if not set 0.5, or the similarity, if not set 0.8, from
                which something belongs to the parts.
            softness: how gradually the parts end, 0.01 to 10.

        Raises:
            UsageError: the class has no such labels, nothing was looked for, or a value makes no sense.
            NerfgenError: no object shows the parts to recolor.
        """
        from nerfgen_ns.fields.regions import RegionConfig
        from nerfgen_ns.semantics.regions import usual_threshold, with_region

        names = (labels,) if isinstance(labels, str) else tuple(labels)
        threshold = usual_threshold(names) if threshold is None else threshold
        region = RegionConfig(effect, names, color, threshold, softness)
        return ClassModel(with_region(self.run, region))

    def features(
        self, extractor: str = "daisy", config: DistillConfig | None = None, file: Path | str | None = None
    ) -> ClassModel:
        """Return this class with the features of a 2D extractor everywhere, learned from its photographs.

        Its renders have the output `features`, colors, too. Geometry and colors stay.

        Args:
            extractor: its name; see `nerfgen distill`.
            config: how; the command `nerfgen distill` has the same options.
            file: the extractor's model file.

        Raises:
            UsageError: there is no such extractor, the photographs are gone, or an option makes no sense.
            NerfgenError: the extractor fails.
        """
        from nerfgen_ns.semantics.distillation import with_features

        path = None if file is None else Path(file)
        return ClassModel(with_features(self.run, extractor, config, path)[0])

    def find(
        self,
        photograph: int | str | None = None,
        point: tuple[float, float] | None = None,
        box: tuple[float, float, float, float] | None = None,
        image_crop: Path | str | None = None,
        threshold: float | None = None,
        file: Path | str | None = None,
    ) -> Matches:
        """Look on all identities for what a photograph shows at a point or in a box, or what a picture shows.

        Args:
            photograph: its place in the run's data, or its name.
            point: pixels from the left and from the top of its crop.
            box: left, upper, right and lower end, in the same pixels.
            image_crop: a picture, in place of a photograph.
            threshold: the least similarity of what counts as found, for `query.members`.
            file: the extractor's model file, for a picture.

        Returns:
            `query`, which `render` takes, and `ranking`, the identities with their scores, the best first.

        Raises:
            UsageError: the class has no features, or the place is none, or shows the background.
        """
        from nerfgen_ns.fields.query import THRESHOLD
        from nerfgen_ns.semantics.finding import Place, find_matches

        place = Place(
            None if photograph is None else str(photograph),
            point,
            box,
            None if image_crop is None else Path(image_crop),
        )
        path = None if file is None else Path(file)
        return find_matches(self.run, place, THRESHOLD if threshold is None else threshold, path)

    def suggest(self, count: int) -> list[str]:
        """Return the names of the photographs most worth labeling next, the most useful first."""
        from nerfgen_ns.semantics.labeling import suggest

        return suggest(self.run, count)

    def label_at(self, code: Code, camera: Cameras, column: int, row: int) -> RayLabel:
        """Return the label of what a pixel of a view shows, its probability, and where it is.

        Args:
            code: the latent code of the object.
            camera: the view, of shape (1,); see `camera`.
            column: counted from the left.
            row: counted from the top.

        Returns:
            `name`, `confidence` and `point`, of the class frame.

        Raises:
            UsageError: the class has no labels, or there is no such pixel.
        """
        from nerfgen_ns.model.class_view import label_of_ray

        width, height = int(camera.width), int(camera.height)
        if not (0 <= column < width and 0 <= row < height):
            raise UsageError(f"pixel ({column}, {row}): the view has {width}×{height}; choose one of them")
        ray = camera.generate_rays(camera_indices=0, keep_shape=True)[row, column]
        return label_of_ray(self.run.model, code.reshape(1, -1), ray.origins, ray.directions)

    def edit(
        self,
        code: Code,
        label_map: Path | str | LabelMap,
        camera: Cameras | None = None,
        config: EditConfig | None = None,
    ) -> Edited:
        """Find a code near that of an object whose labels in one view are those of a painted label map.

        Args:
            code: the latent code of the object.
            label_map: the label map, as large as the view: an array (h, w) of the class's label numbers, 255
                where labels stay, or a PNG of them.
            camera: the view, of shape (1,); if not set, the usual one from the front.
            config: how; the command `nerfgen edit` has the same options.

        Returns:
            `code`, (1, D); `agreement`, how much of the edit was reached and how well the rest stayed;
            `model`, which shows the code: the class's own, or a copy with tuned networks.

        Raises:
            UsageError: the class has no labels, or the label map or an option makes no sense.
        """
        from nerfgen_ns.semantics.edit_runs import read_view_map
        from nerfgen_ns.semantics.editing import edit_code

        camera = self.camera() if camera is None else camera
        name = "the label map"
        if isinstance(label_map, (Path, str)):
            name = str(label_map)
            label_map = read_view_map(self.run, Path(label_map))
        return edit_code(self.run, code.reshape(1, -1), label_map, camera, config, name=name)

    def factory(
        self, output_dir: Path | str, config: FactoryConfig | None = None, shard: str | None = None
    ) -> FactoryReport:
        """Write an annotated data set of sampled objects, as `nerfgen factory` does.

        Args:
            output_dir: the folder: new, empty, or one of an earlier call with the same options.
            config: what to make; the command has the same options.
            shard: `i/n` to make only a part.

        Raises:
            UsageError: the class has no labels, an option makes no sense, or the folder holds something else.
            NerfgenError: the folder cannot be written.
        """
        from nerfgen_ns.semantics.factory import factory

        return factory(self.run, Path(output_dir), config, shard)

    def sample(self, count: int, truncation: float = 1.0, seed: int = 0) -> Float[Tensor, "count latent"]:
        """Draw codes of new objects from the Gaussian of the latent table.

        Args:
            count: how many.
            truncation: scales the standard deviations: 0 gives the mean, 1 what the photographs show.
            seed: other seeds give other objects.

        Raises:
            UsageError: the truncation is below 0.
        """
        return self.space.sample(count, truncation, seed)

    def morph(
        self,
        first: Code,
        second: Code,
        share: float,
        kind: Literal["linear", "spherical"] = "linear",
    ) -> Code:
        """Return the code at `share` of the way, in [0, 1], from one object to another."""
        return interpolate(first, second, share, kind, self.space.mean)

    def mesh(self, code: Code, resolution: int = 128, labels: bool = False) -> Trimesh:
        """Return a closed surface of one object, with normals and vertex colors, in the class frame.

        Args:
            code: its latent code.
            resolution: cells along each side of the class's box, 16 to 512.
            labels: whether vertices have the colors of their labels, and the attributes `label` and
                `label_confidence`.

        Raises:
            UsageError: the resolution is out of range, or the class has no labels.
            NerfgenError: the object has no surface.
        """
        from nerfgen_ns.meshing.extraction import extract_mesh
        from nerfgen_ns.meshing.field import object_field
        from nerfgen_ns.meshing.labels import label_mesh

        field = object_field(self.run.model, code.reshape(1, -1))
        mesh = extract_mesh(field, resolution, cameras=self.run.cameras)
        return label_mesh(mesh, field, self.run.legend) if labels else mesh

    def save_mesh(self, code: Code, path: Path | str, resolution: int = 128) -> None:
        """Write `mesh` as .ply, .obj or .glb, by the suffix of the path.

        Raises:
            UsageError: the suffix is none of these, or the resolution is out of range.
            NerfgenError: the object has no surface, or the file cannot be written.
        """
        from nerfgen_ns.meshing.extraction import save_mesh

        save_mesh(self.run.model, code, Path(path), resolution, cameras=self.run.cameras)
