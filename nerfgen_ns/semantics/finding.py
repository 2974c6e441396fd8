"""Look on all objects of a class for what one photograph shows at a place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from nerfstudio.cameras.cameras import Cameras
from PIL import Image, ImageOps
from torch import Tensor

from nerfgen_ns.cameras.trajectories import turned_cameras, usual_angles
from nerfgen_ns.errors import UsageError
from nerfgen_ns.fields.query import THRESHOLD, Query, best_similarity, similarity
from nerfgen_ns.rendering.volume_rendering import VISIBLE
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.distillation import extractor_of
from nerfgen_ns.semantics.head_training import Progress, samples_of_pixels, with_head

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

    place: Place
    """Where it was shown."""
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
        # Not as a photograph of an object, which has a least size.
        with Image.open(path) as file:
            picture = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
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
    return Matches(place, query, photograph, sorted(matches, key=lambda match: -match.score))


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


def segmentation(
    run: Run, query: Query, code: Float[Tensor, "1 latent"], camera: Cameras
) -> UInt8[np.ndarray, "height width"]:
    """Return a label map of a camera of shape (1,): 1 where it sees what is similar enough to a query."""
    values = seen_by(run, code, camera).similarity(query) >= query.threshold
    shape = int(camera.height), int(camera.width)
    return values.view(shape).cpu().numpy().astype(np.uint8)
