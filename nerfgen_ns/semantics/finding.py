"""`nerfgen find`: which objects of a class have what one photograph shows, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.cameras.trajectories import turned_cameras, usual_angles
from nerfgen_ns.dataset_format.label_maps import BACKGROUND, SUFFIX, Legend
from nerfgen_ns.errors import UsageError
from nerfgen_ns.fields.query import THRESHOLD, Query, best_similarity, similarity
from nerfgen_ns.inversion.inversion import Stages, silent
from nerfgen_ns.preprocessing.photographs import RejectedError, read_photograph
from nerfgen_ns.rendering.volume_rendering import VISIBLE
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.distillation import extractor_of
from nerfgen_ns.semantics.head_runs import head_run_folder
from nerfgen_ns.semantics.head_training import Progress, samples_of_pixels, with_head
from nerfgen_ns.training.checkpoints import CONFIG
from nerfgen_ns.utils.files import write_json
from nerfgen_ns.utils.images import contact_sheet, resize, to_bytes, write_image
from nerfgen_ns.visualization.contact_sheets import TURNS, TURNS_AROUND, name_of_turn

REPORT, SHEET, SEGMENTATION = "find.json", "sheet.png", "segmentation"
"""The files of `nerfgen find` in its run folder."""
MASK_MESH, MASK_POINTS = "mask.ply", "mask_points.ply"
RANKED_SIDE = 48
"""Pixels along the longer side of the renders that identities are ranked by."""
MOST_PIXELS = 4096
"""Pixels of a box that are asked, at most."""


@dataclass(frozen=True)
class Place:
    """Where what is looked for is shown: a point or a box of a photograph of the run, or a picture of it."""

    photograph: str | None = None
    """The photograph: its place in the run's data, or its name."""
    point: tuple[float, float] | None = None
    """Pixels from the left and from the top of the photograph's crop."""
    box: tuple[float, float, float, float] | None = None
    """The left, upper, right and lower end of a box, in the same pixels."""
    image_crop: Path | None = None
    """A picture that shows nothing else, at the scale of the photographs."""

    def check(self) -> None:
        """Raise a UsageError if it is no place, or more than one."""
        given = [name for name in ("point", "box", "image_crop") if getattr(self, name) is not None]
        if len(given) != 1:
            raise UsageError("--point, --box, --image-crop: give one of them, to say what to look for")
        if self.image_crop is None and self.photograph is None:
            raise UsageError(f"--{given[0]}: say of which --photograph")
        if self.image_crop is not None and self.photograph is not None:
            raise UsageError("--photograph: --image-crop is a picture of its own; leave one of them out")


@dataclass(frozen=True)
class Match:
    """How much of what was looked for one identity has."""

    identity: int
    """Its row of the latent table."""
    photograph: str
    """Its photograph's name."""
    score: float
    """The mean similarity of the few places that are most alike, in [0, 1]."""
    position: tuple[float, float, float]
    """The most similar place, in the class frame."""


@dataclass(frozen=True)
class Matches:
    """What was looked for, and the identities in the order of how much of it they have."""

    query: Query
    """A feature and a threshold."""
    photograph: int | None
    """The photograph that the query is from; None if it is from a picture."""
    ranking: list[Match]
    """All identities, the best first."""


class Seen(NamedTuple):
    """What the pixels of a camera see."""

    features: Float[Tensor, "pixels dims"]
    accumulation: Float[Tensor, " pixels"]
    positions: Float[Tensor, "pixels 3"]
    """In the class frame; of the surface, where there is one."""

    def similarity(self, query: Query) -> Float[Tensor, " pixels"]:
        """Compute the similarity of each pixel to a query, 0 where no surface is seen."""
        return similarity(self.features, query) * (self.accumulation > VISIBLE)


@torch.no_grad()
def seen_by(run: Run, code: Float[Tensor, "1 latent"], camera: Cameras) -> Seen:
    """Return what a camera of shape (1,) sees of an object, without colors: row by row."""
    head = run.feature_head
    rays = camera.to(run.model.device).generate_rays(camera_indices=0, keep_shape=True).flatten()
    size, parts = run.model.config.eval_num_rays_per_chunk, []
    for start in range(0, len(rays), size):
        own = rays[start : start + size]
        samples = run.model.seen_samples(own, code.to(run.model.device))
        values = [
            head(samples.features, samples.positions),
            samples.weights.new_ones(len(samples.weights), 1),
            samples.positions,
        ]
        parts.append(samples.composite(torch.cat(values, dim=-1), len(own)))
    features, accumulation, positions = torch.cat(parts).split([head.dims, 1, 3], dim=-1)
    return Seen(features, accumulation[:, 0], positions / accumulation.clamp(min=1e-6))


def photograph_number(run: Run, name: str) -> int:
    """Return a photograph's place in a run's data.

    Args:
        run: the run.
        name: its place, or its name as crop or as it was before it was prepared, with or without suffix.

    Raises:
        UsageError: there is none, or several have the name.
    """
    files = zip(run.record.images, run.record.sources, strict=True)
    names = [{image.name, image.stem, source, Path(source).stem} for image, source in files]
    found = [number for number, own in enumerate(names) if name in own]
    if not found and name.isdecimal() and int(name) < len(names):
        return int(name)
    if len(found) != 1:
        reason = "several photographs have this name" if found else "the run has no such photograph"
        raise UsageError(
            f"--photograph {name}: {reason}; give 0 to {len(names) - 1}, "
            f"or a name like {run.record.images[0].name}"
        )
    return found[0]


def query_of(
    run: Run, place: Place, threshold: float = THRESHOLD, features_file: Path | None = None
) -> tuple[Query, int | None]:
    """Return the feature of a place, and its photograph's place in the run's data.

    Args:
        run: a run with features.
        place: where it is shown.
        threshold: the least similarity of what counts as found.
        features_file: the model file of the run's extractor, which a picture needs.

    Raises:
        UsageError: the run has no features, the place is none, is outside the photograph, or shows the
            background.
        NerfgenError: the extractor fails.
    """
    place.check()
    if not 0.0 < threshold <= 1.0:
        raise UsageError(f"--threshold {threshold}: take more than 0, and at most 1")
    if place.image_crop is not None:
        return Query.of_features(_features_of_picture(run, place.image_crop, features_file), threshold), None
    head = run.feature_head
    assert place.photograph is not None
    number = photograph_number(run, place.photograph)
    name = run.record.images[number].name
    pixels, option = _pixels_of(run, number, place)
    samples = samples_of_pixels(run.model, run.cameras, {number: pixels})
    with torch.no_grad():
        values = head(samples.features.float(), samples.positions)
        features = samples.composite(values, len(pixels))
        shown = samples.composite(torch.ones_like(values[:, :1]), len(pixels))[:, 0] > VISIBLE
    if not bool(shown.any()):
        raise UsageError(f"{option}: shows the background of {name}; choose a place on the object")
    return Query.of_features(features[shown], threshold), number


def _pixels_of(run: Run, number: int, place: Place) -> tuple[Int[Tensor, "pixels 2"], str]:
    """Return the pixels of a place, (row, column), and the option that gave it."""
    camera = run.cameras[number]
    width, height = int(camera.width), int(camera.height)
    size = f"{run.record.images[number].name} has {width}×{height} pixels"
    if place.point is not None:
        x, y = place.point
        option = f"--point {x:g} {y:g}"
        if not (0 <= x < width and 0 <= y < height):
            raise UsageError(f"{option}: is outside the photograph; {size}")
        return torch.tensor([[int(y), int(x)]]), option
    assert place.box is not None
    left, top, right, bottom = place.box
    option = f"--box {left:g} {top:g} {right:g} {bottom:g}"
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise UsageError(f"{option}: is no box within the photograph, left top right bottom; {size}")
    rows = torch.arange(int(top), max(int(top) + 1, round(bottom)))
    columns = torch.arange(int(left), max(int(left) + 1, round(right)))
    every = torch.cartesian_prod(rows, columns).view(-1, 2)
    return every[:: -(-len(every) // MOST_PIXELS)], option


def _features_of_picture(run: Run, path: Path, features_file: Path | None) -> Float[Tensor, "cells dims"]:
    """Return the features of a picture, as if it was a part of a photograph of the run."""
    try:
        picture = read_photograph(path)
    except (OSError, RejectedError) as error:
        reason = error.reason if isinstance(error, RejectedError) else error.strerror
        raise UsageError(f"--image-crop {path}: {reason}; give a picture of what to look for") from error
    head = run.feature_head
    side = int(torch.maximum(run.cameras.width, run.cameras.height).max())
    longer = max(picture.shape[:2])
    if longer > side:
        step = -(-longer // side)
        picture = picture[::step, ::step]
    rows, columns = picture.shape[:2]
    top, left = (side - rows) // 2, (side - columns) // 2
    around = ((top, side - rows - top), (left, side - columns - left), (0, 0))
    features = extractor_of(run, features_file)(np.pad(picture, around, mode="edge"))
    if features.shape[2] != len(head.mean):
        raise UsageError(
            f"--features-file: {head.extractor!r} gives {features.shape[2]} numbers, the run has "
            f"{len(head.mean)}; give the file that nerfgen distill was given"
        )
    first = (np.array([top, left]) / side * features.shape[:2]).astype(int)
    last = -(-np.array([top + rows, left + columns]) * features.shape[:2] // side)
    own = features[first[0] : last[0], first[1] : last[1]]
    return head.reduce(torch.from_numpy(own).to(head.mean)).flatten(0, 1)


def find_matches(
    run: Run,
    place: Place,
    threshold: float = THRESHOLD,
    features_file: Path | None = None,
    progress: Progress | None = None,
) -> Matches:
    """Look for what a place shows on every identity of a run.

    An identity is looked at from where the place's photograph was taken, or, for a picture, from the front.
    For the arguments see `query_of`; `progress` is called with the number of identities done and their total.
    """
    query, photograph = query_of(run, place, threshold, features_file)
    camera = _ranking_camera(run, photograph)
    names = _names_of_rows(run)
    matches = []
    for row in range(len(run.codes)):
        seen = seen_by(run, run.code(row), camera)
        values = seen.similarity(query)
        score = float(best_similarity(values[seen.accumulation > VISIBLE]))
        x, y, z = seen.positions[int(values.argmax())].tolist()
        matches.append(
            Match(row, names.get(row, ""), round(score, 4), (round(x, 4), round(y, 4), round(z, 4)))
        )
        if progress is not None:
            progress(row + 1, len(run.codes))
    return Matches(query, photograph, sorted(matches, key=lambda match: -match.score))


def _ranking_camera(run: Run, photograph: int | None) -> Cameras:
    if photograph is None:
        return turned_cameras(run.cameras, np.array([[0.0, usual_angles(run.cameras)[1]]]), RANKED_SIDE)
    camera = run.cameras[photograph : photograph + 1]
    camera.rescale_output_resolution(RANKED_SIDE / float(max(camera.width.max(), camera.height.max())))
    camera.metadata = {}
    return camera


def _names_of_rows(run: Run) -> dict[int, str]:
    """Return the name of the first photograph of each identity."""
    names: dict[int, str] = {}
    for row, image in zip(run.record.rows.tolist(), run.record.images, strict=True):
        names.setdefault(row, image.name)
    return names


def with_query(run: Run, query: Query) -> Run:
    """Return a run whose output `similarity` looks for a query; the given run stays as it is."""
    assert run.model.config.feature_head is not None
    config = replace(run.model.config.feature_head, query=tuple(query.feature.tolist()))
    head = config.setup(features=run.model.config.foreground.hidden_dim).to(run.model.device).eval()
    head.load_state_dict(run.feature_head.state_dict())
    return with_head(run, "feature_head", config, head)


def heat_map(outputs: Mapping[str, Tensor]) -> UInt8[np.ndarray, "height width 3"]:
    """Draw the similarity of a render over its gray colors: from blue, unlike, to red, alike."""
    from nerfstudio.utils import colormaps

    values = outputs["similarity"]
    heat = colormaps.apply_colormap(values, colormaps.ColormapOptions(colormap="turbo"))
    gray = outputs["rgb"].mean(dim=-1, keepdim=True).expand(-1, -1, 3)
    share = 0.6 * outputs["accumulation"].clamp(0.0, 1.0)
    return to_bytes((1.0 - share) * gray + share * heat)


def heat_sheet(
    run: Run, matches: Matches, identities: Sequence[int], size: int, progress: Progress | None = None
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Draw identities, one column each: their colors as they were photographed, and heat maps from all sides.

    Args:
        run: a run with features.
        matches: what was looked for.
        identities: rows of the latent table.
        size: width and height of each picture in pixels.
        progress: called with the number of identities done and their total.
    """
    all_around, pitch = usual_angles(run.cameras)
    yaws = TURNS_AROUND if all_around else TURNS
    cameras = turned_cameras(run.cameras, np.array([[yaw, pitch] for yaw in yaws]), size)
    rows = run.record.rows.tolist()
    sheet: dict[str, list[UInt8[np.ndarray, "size size 3"]]] = {}
    for done, identity in enumerate(identities, start=1):
        code = run.code(identity)
        photograph = rows.index(identity) if identity in rows else 0
        camera = run.cameras[photograph : photograph + 1]
        camera.rescale_output_resolution(min(1.0, size / float(max(camera.width.max(), camera.height.max()))))
        own = to_bytes(run.render(code, camera)["rgb"])
        sheet.setdefault("as photographed", []).append(resize(own, size))
        for turn, yaw in enumerate(yaws):
            outputs = run.render(code, cameras[turn : turn + 1], matches.query)
            sheet.setdefault(name_of_turn(yaw), []).append(heat_map(outputs))
        if progress is not None:
            progress(done, len(identities))
    return contact_sheet(sheet)


@dataclass(frozen=True)
class FindReport:
    """What `nerfgen find` wrote."""

    config: Path
    """The config.yml of a run whose output `similarity` looks for the query."""
    matches: Matches
    """The ranking; `find.json` holds the same."""
    sheet: Path
    """The heat maps."""
    members: dict[str, int]
    """How many pixels of each photograph are similar enough, where a threshold was given."""


def find(
    load_config: Path,
    place: Place,
    output_dir: Path,
    threshold: float | None = None,
    name: str = "found",
    top: int = 8,
    size: int = 128,
    features_file: Path | None = None,
    stages: Stages = silent,
) -> FindReport:
    """Look for what a place shows, and write a run folder with the query, the ranking and pictures.

    Args:
        load_config: the config.yml of a run with features.
        place: where what is looked for is shown.
        output_dir: the run folder to make: new, empty, or one of an earlier call, which is then replaced.
        threshold: similarity from which a place counts as found: writes label maps of the best identities'
            photographs, and of the query's object, or the best one, the part of its mesh. None: neither.
        name: what the label maps call it.
        top: how many identities are drawn and segmented.
        size: width and height of the pictures of the sheet.
        features_file: the model file of the run's extractor, for a picture.
        stages: shows progress.

    Raises:
        UsageError: an option or the place makes no sense, or the run has no features.
        NerfgenError: nothing is similar enough, or the folder cannot be written.
    """
    if top < 1:
        raise UsageError(f"--top {top}: take at least 1")
    if size < 16:
        raise UsageError(f"--size {size}: take at least 16")
    if name in ("", BACKGROUND):
        raise UsageError(f"--name {name!r}: choose another name for what is found")
    run = load_run(load_config)
    with stages("ranking") as progress:
        matches = find_matches(
            run, place, THRESHOLD if threshold is None else threshold, features_file, progress
        )
    ranked = [match.identity for match in matches.ranking]
    if matches.photograph is not None:
        # The query's own object is first, whoever else has more of it.
        own = int(run.record.rows[matches.photograph])
        ranked = [own, *(row for row in ranked if row != own)]
    drawn = ranked[:top]
    with stages("heat maps") as progress:
        sheet = heat_sheet(run, matches, drawn, size, progress)
    members: dict[str, int] = {}
    with head_run_folder(output_dir, is_found_run, load_config, with_query(run, matches.query)) as making:
        write_image(making / SHEET, sheet)
        if threshold is not None:
            with stages("segmentation") as progress:
                members = _write_segmentation(making, run, matches.query, drawn, name, progress)
        write_json(making / REPORT, _report(run, place, matches, threshold, drawn, members))
    return FindReport(output_dir / CONFIG, matches, output_dir / SHEET, members)


def is_found_run(folder: Path) -> bool:
    """Return whether `find` made a folder."""
    return all((folder / name).is_file() for name in (CONFIG, REPORT))


def _report(
    run: Run,
    place: Place,
    matches: Matches,
    threshold: float | None,
    drawn: Sequence[int],
    members: dict[str, int],
) -> dict[str, Any]:
    shown = {name: value for name, value in vars(place).items() if value is not None}
    return {
        "query": {
            **{name: str(value) if isinstance(value, Path) else value for name, value in shown.items()},
            "threshold": threshold,
            "extractor": run.feature_head.extractor,
            "feature": [round(value, 6) for value in matches.query.feature.tolist()],
        },
        "ranking": [{"rank": rank, **vars(match)} for rank, match in enumerate(matches.ranking, start=1)],
        "columns": list(drawn),
        "pixels": members,
    }


def segmentation(
    run: Run, query: Query, code: Float[Tensor, "1 latent"], camera: Cameras
) -> UInt8[np.ndarray, "height width"]:
    """Return a label map of a camera of shape (1,): 1 where it sees what is similar enough to a query."""
    values = seen_by(run, code, camera).similarity(query) >= query.threshold
    shape = int(camera.height), int(camera.width)
    return values.view(shape).cpu().numpy().astype(np.uint8)


def _write_segmentation(
    folder: Path, run: Run, query: Query, identities: Sequence[int], name: str, progress: Progress
) -> dict[str, int]:
    """Write label maps of the photographs of identities, and the part of the mesh of the first."""
    from nerfgen_ns.meshing.extraction import extract_mesh
    from nerfgen_ns.meshing.features import SIMILARITY, part_of_members, surface_similarity
    from nerfgen_ns.meshing.field import object_field
    from nerfgen_ns.meshing.mesh import write_mesh, write_points

    legend = Legend.of_names([BACKGROUND, name])
    photographs = [number for number, row in enumerate(run.record.rows.tolist()) if row in set(identities)]
    counts: dict[str, int] = {}
    for done, number in enumerate(photographs, start=1):
        row = int(run.record.rows[number])
        labels = segmentation(run, query, run.code(row), run.cameras[number : number + 1])
        image = run.record.images[number]
        legend.write_map(folder / SEGMENTATION / f"{image.stem}{SUFFIX}", labels)
        counts[image.name] = int(labels.sum())
        progress(done, len(photographs) + 1)
    legend.write(folder / SEGMENTATION)
    field = object_field(run.model, run.code(identities[0]))
    mesh = extract_mesh(field, cameras=run.cameras)
    values = surface_similarity(field, mesh.vertices, mesh.vertex_normals, query)
    mesh.vertex_attributes[SIMILARITY] = values.astype(np.float32)
    part = part_of_members(mesh, values >= query.threshold, name)
    write_mesh(folder / MASK_MESH, part)
    write_points(folder / MASK_POINTS, _points_of(part))
    progress(len(photographs) + 1, len(photographs) + 1)
    return counts


def _points_of(mesh: Any) -> Any:
    from trimesh import PointCloud

    from nerfgen_ns.meshing.features import SIMILARITY
    from nerfgen_ns.meshing.mesh import vertex_colors

    points: Any = PointCloud(mesh.vertices, vertex_colors(mesh))
    points.vertex_normals = mesh.vertex_normals
    points.vertex_attributes = {SIMILARITY: mesh.vertex_attributes[SIMILARITY]}
    return points
