"""`nerfgen find`: a run folder that shows what was looked for, with the ranking, heat maps and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from nerfgen_ns.cameras.trajectories import turned_cameras, usual_angles
from nerfgen_ns.dataset_format.label_maps import BACKGROUND, SUFFIX, Legend
from nerfgen_ns.errors import UsageError
from nerfgen_ns.fields.query import THRESHOLD, Query
from nerfgen_ns.inversion.inversion import Stages, silent
from nerfgen_ns.meshing.extraction import extract_mesh
from nerfgen_ns.meshing.features import SIMILARITY, part_of_members, surface_similarity
from nerfgen_ns.meshing.field import object_field
from nerfgen_ns.meshing.mesh import vertex_colors, write_mesh, write_points
from nerfgen_ns.runs.derived_runs import derived_run_folder
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.finding import Matches, Place, find_matches, segmentation, with_query
from nerfgen_ns.semantics.head_training import Progress
from nerfgen_ns.training.checkpoints import CONFIG
from nerfgen_ns.utils.files import write_json
from nerfgen_ns.utils.images import contact_sheet, resize, to_bytes, write_image
from nerfgen_ns.visualization.contact_sheets import TURNS, TURNS_AROUND, name_of_turn

REPORT, SHEET, SEGMENTATION = "find.json", "sheet.png", "segmentation"
"""The files of `nerfgen find` in its run folder."""
MASK_MESH, MASK_POINTS = "mask.ply", "mask_points.ply"
MARK = (255, 0, 0)
"""The color of the mark at the place that was asked for."""
Picture = UInt8[np.ndarray, "height width 3"]


def heat_map(outputs: Mapping[str, Tensor]) -> Picture:
    """Draw the similarity of a render over its gray colors: from blue, unlike, to red, alike."""
    from nerfstudio.utils import colormaps

    values = outputs["similarity"]
    heat = colormaps.apply_colormap(values, colormaps.ColormapOptions(colormap="turbo"))
    gray = outputs["rgb"].mean(dim=-1, keepdim=True).expand(-1, -1, 3)
    share = 0.6 * outputs["accumulation"].clamp(0.0, 1.0)
    return to_bytes((1.0 - share) * gray + share * heat)


def heat_sheet(
    run: Run, matches: Matches, identities: Sequence[int], size: int, progress: Progress | None = None
) -> Picture:
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
    sheet: dict[str, list[Picture]] = {}
    for done, identity in enumerate(identities, start=1):
        code = run.code(identity)
        photograph, asked = rows.index(identity) if identity in rows else 0, False
        if matches.photograph is not None and rows[matches.photograph] == identity:
            photograph, asked = matches.photograph, True
        camera = run.cameras[photograph : photograph + 1]
        factor = min(1.0, size / float(max(camera.width.max(), camera.height.max())))
        camera.rescale_output_resolution(factor)
        own = to_bytes(run.render(code, camera)["rgb"])
        own = _marked(own, matches.place, factor) if asked else own
        sheet.setdefault("as photographed", []).append(resize(own, size))
        for turn, yaw in enumerate(yaws):
            outputs = run.render(code, cameras[turn : turn + 1], query=matches.query)
            sheet.setdefault(name_of_turn(yaw), []).append(heat_map(outputs))
        if progress is not None:
            progress(done, len(identities))
    return contact_sheet(sheet)


def _marked(picture: Picture, place: Place, factor: float) -> Picture:
    """Draw a mark at a point or around a box, whose pixels are `1 / factor` times as small."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    if place.box is not None:
        draw.rectangle([factor * end for end in place.box], outline=MARK)
    if place.point is not None:
        x, y = (factor * end for end in place.point)
        draw.ellipse([x - 3, y - 3, x + 3, y + 3], outline=MARK)
    return np.asarray(image)


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
    found = with_query(run, matches.query)
    with derived_run_folder(output_dir, is_found_run, load_config, found, ("feature_head",)) as making:
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


def _write_segmentation(
    folder: Path, run: Run, query: Query, identities: Sequence[int], name: str, progress: Progress
) -> dict[str, int]:
    """Write label maps of the photographs of identities, and the part of the mesh of the first."""
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

    points: Any = PointCloud(mesh.vertices, vertex_colors(mesh))
    points.vertex_normals = mesh.vertex_normals
    points.vertex_attributes = {SIMILARITY: mesh.vertex_attributes[SIMILARITY]}
    return points
