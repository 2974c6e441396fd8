"""`nerfgen factory`: sampled identities with all that a class model knows of them, as annotated images.

Source: Chi et al., "DatasetNeRF: Efficient 3D-aware Data Factory with Generative Radiance Fields" (2024): a
labeled class model makes as many images, label maps and part-labeled point clouds as are asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nerfgen_ns.cameras.projection import project_tensors
from nerfgen_ns.dataset_format.label_maps import UNLABELED, LabelMap, Legend
from nerfgen_ns.latents.code_files import fingerprint_of_model
from nerfgen_ns.meshing.labels import CONFIDENCE, LABEL, labels_of_object, means_in_cells
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.preprocessing.prepared_folder import Shard
from nerfgen_ns.rendering.volume_rendering import VISIBLE
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.config import FactoryConfig
from nerfgen_ns.semantics.factory_card import Card
from nerfgen_ns.semantics.factory_draws import DrawnObject, Draws, image_size
from nerfgen_ns.semantics.factory_formats import open_writer
from nerfgen_ns.utils.files import hash_of
from nerfgen_ns.utils.images import to_bytes

if TYPE_CHECKING:
    from trimesh import PointCloud

BEHIND = 0.05
"""How much nearer than a landmark, in the class's units, a surface must be to hide it."""
Box = tuple[int, int, int, int]
"""Left, top, width and height in whole pixels."""


@dataclass(frozen=True)
class AnnotatedView:
    """One image with all that is known of it. Pixels count from the upper left corner, middles at +0.5."""

    camera: Cameras
    """Of shape (1,), in the class frame."""
    image: UInt8[np.ndarray, "height width 3"]
    labels: LabelMap
    """Numbers of labels; 255 where the label is less probable than asked for."""
    matte: UInt8[np.ndarray, "height width"]
    depth: Float32[np.ndarray, "height width"]
    """Along the optical axis, in the class's units; infinite off the object."""
    normals: Float32[np.ndarray, "height width 3"]
    """Of unit length, in the class frame; 0 off the object."""
    box: Box | None
    """Around the object; None where it is not in the image."""
    boxes: dict[str, Box]
    """Around each part that shows, by its name."""
    landmarks: Float[np.ndarray, "m 2"] | None
    """In pixels; None where the class has none."""
    landmarks_visible: Bool[np.ndarray, " m"] | None
    """Whether each is in the image, and nothing is before it."""


@dataclass(frozen=True)
class AnnotatedObject:
    """An identity with its images."""

    number: int
    views: Iterator[AnnotatedView]
    """They are rendered as they are asked for."""
    landmarks: Float[np.ndarray, "m 3"] | None
    """In the class frame."""
    points: Callable[[], PointCloud | None]
    """Makes the cloud, after all views; None where nothing shows, or no points are asked for. `colors` are
    those of the surface; `vertex_normals`, and the attributes `label` and `label_confidence` are set."""


@dataclass(frozen=True)
class FactoryReport:
    """What a call made."""

    folder: Path
    images: int
    """Images that this call made."""
    objects: int
    """Identities of them."""
    seconds: float
    """How long it took, without loading the run."""
    unfinished: int
    """Parts that are not there yet, for other shards to make; with 0 the data set is complete."""


def factory(
    run: Run,
    output_dir: Path,
    config: FactoryConfig | None = None,
    shard: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FactoryReport:
    """Make an annotated data set, or continue one that was begun with the same options.

    Args:
        run: a run with labels.
        output_dir: the folder: new, empty, or one of an earlier call. What is finished in it stays.
        config: what to make.
        shard: `i/n`: make only every n-th part, from the i-th. Any number of shards may write into one folder
            at once, and the last one to finish completes it; the result is that of one call.
        progress: called with the number of images that are made, or were there, and their total.

    Raises:
        UsageError: the run has no labels, an option makes no sense, or the folder holds something else.
        NerfgenError: the folder cannot be written; what is finished stays.
    """
    config = config or FactoryConfig()
    config.check()
    part = Shard.parse(shard) if shard is not None else Shard(1, 1)
    config = replace(config, size=image_size(run, config))
    legend = run.legend
    draws = Draws(run, config)
    card = Card(
        config,
        legend,
        [] if draws.landmarks is None else draws.landmarks.names,
        run.record.class_name or "objects",
        _fingerprint(run),
    )
    writer = open_writer(output_dir, card)
    begin = time.perf_counter()
    images = objects = 0
    own = part.part_of(writer.parts)
    total = sum(draws.views_of(number) for numbers in own for number in numbers)

    def rendered(numbers: range) -> Iterator[AnnotatedObject]:
        nonlocal images, objects
        for number in numbers:
            drawn = draws.draw(number)
            yield render_object(run, drawn, config, legend)
            images, objects = images + len(drawn.cameras), objects + 1
            if progress is not None:
                progress(images + before, total)

    before = 0
    for numbers in own:
        if writer.has(numbers):
            before += sum(draws.views_of(number) for number in numbers)
        else:
            writer.write(numbers, rendered(numbers))
    return FactoryReport(output_dir, images, objects, time.perf_counter() - begin, writer.complete())


def _fingerprint(run: Run) -> str:
    assert run.model.label_head is not None
    head = [tensor.cpu().numpy().tobytes() for tensor in run.model.label_head.state_dict().values()]
    codes = run.codes.cpu().numpy().tobytes()
    return hash_of([fingerprint_of_model(run.model.foreground_field), *head, codes])[:20]


def render_object(run: Run, drawn: DrawnObject, config: FactoryConfig, legend: Legend) -> AnnotatedObject:
    """Render an object from its cameras, one after the other as they are asked for."""
    surface: list[Tensor] = []

    def views() -> Iterator[AnnotatedView]:
        for place, behind in enumerate(drawn.backgrounds):
            camera = drawn.cameras[place : place + 1].to(run.model.device)
            rays = camera.generate_rays(camera_indices=0, keep_shape=True)
            outputs = run.render(drawn.code, camera, probabilities=True)
            if behind is not drawn.code:
                outputs["rgb"] = over_background(run.model, outputs, rays, behind)
            if config.points:
                surface.append(surface_of(rays, outputs))
            yield annotate(outputs, camera, rays, config.min_confidence, legend, drawn.landmarks)

    def points() -> PointCloud | None:
        values = torch.cat(surface) if surface else torch.empty(0, 0)
        assert config.size is not None
        return fused_cloud(values, config, drawn.number, legend) if len(values) else None

    return AnnotatedObject(drawn.number, views(), drawn.landmarks, points)


@torch.no_grad()
def over_background(
    model: NerfgenModel, outputs: dict[str, Tensor], rays: RayBundle, code: Float[Tensor, "1 latent"]
) -> Float[Tensor, "height width 3"]:
    """Return the colors of a render with what is behind the object of another code."""
    field = model.background_field
    if field is None:
        return outputs["rgb"]
    own = code.to(model.device)
    chunks = rays.directions.reshape(-1, 3).split(model.config.eval_num_rays_per_chunk)
    behind = torch.cat([field(directions, own) for directions in chunks]).view_as(outputs["rgb"])
    return outputs["foreground"] + (1.0 - outputs["accumulation"]) * behind


def surface_of(rays: RayBundle, outputs: dict[str, Tensor]) -> Float[Tensor, "pixels channels"]:
    """Return what pixels on the object see: place, normal, color and the probability of each label."""
    alpha = outputs["accumulation"]
    parts = [
        rays.origins + rays.directions * outputs["depth"],
        outputs["normals"] * 2.0 - 1.0,
        outputs["foreground"] / alpha.clamp(min=1e-6),
        outputs["label_probabilities"],
    ]
    return torch.cat(parts, dim=-1)[alpha[..., 0] > VISIBLE].cpu()


def fused_cloud(
    values: Float[Tensor, "n channels"], config: FactoryConfig, number: int, legend: Legend
) -> PointCloud:
    """Fuse what the views of an object see to a labeled point cloud, as `meshing.labels.fused_points` does.

    Values within one cell, about as wide as a pixel sees, become one point. Of too many points some are
    chosen at random.
    """
    from trimesh import PointCloud

    assert config.size is not None
    fused = means_in_cells(values, 2.0 / config.size)
    chosen = np.random.default_rng([config.seed, number, 1]).permutation(len(fused))[: config.points]
    fused = fused[torch.from_numpy(np.sort(chosen))]
    labels, confidence = labels_of_object(fused[:, 9:], legend)
    labels[confidence < config.min_confidence] = UNLABELED
    points: Any = PointCloud(fused[:, :3].numpy(), to_bytes(fused[:, 6:9]))
    points.vertex_normals = torch.nn.functional.normalize(fused[:, 3:6], dim=-1).numpy()
    points.vertex_attributes = {LABEL: labels, CONFIDENCE: confidence}
    return points


def annotate(
    outputs: dict[str, Tensor],
    camera: Cameras,
    rays: RayBundle,
    min_confidence: float,
    legend: Legend,
    landmarks: Float[np.ndarray, "m 3"] | None,
) -> AnnotatedView:
    """Return an image with its annotations from the outputs of its render along the rays of its camera."""
    along_axis = rays.directions @ -camera.camera_to_worlds[0, :, 2]
    outputs = {**outputs, "depth": outputs["depth"][..., 0] * along_axis}
    camera = camera.to("cpu")
    outputs = {name: value.cpu() for name, value in outputs.items()}
    on_object = outputs["accumulation"][..., 0] > VISIBLE
    confidence, number = outputs["label_probabilities"].max(dim=-1)
    number[confidence < min_confidence] = UNLABELED
    labels = number.numpy().astype(np.uint8)
    depth = torch.where(on_object, outputs["depth"], torch.inf)
    normals = torch.where(on_object[..., None], outputs["normals"] * 2.0 - 1.0, 0.0)
    parts = {name: box_of(labels == place) for place, name in enumerate(legend.names)}
    pixels, visible = (None, None) if landmarks is None else seen_landmarks(landmarks, camera, depth)
    return AnnotatedView(
        camera=camera,
        image=to_bytes(outputs["rgb"]),
        labels=labels,
        matte=to_bytes(outputs["accumulation"])[..., 0],
        depth=depth.numpy(),
        normals=normals.numpy(),
        box=box_of(on_object.numpy()),
        boxes={
            name: box
            for place, (name, box) in enumerate(parts.items())
            if box is not None and place != legend.background
        },
        landmarks=pixels,
        landmarks_visible=visible,
    )


def box_of(inside: Bool[np.ndarray, "height width"]) -> Box | None:
    """Return the smallest box around the pixels of a region; None where there are none."""
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    if len(rows) == 0:
        return None
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


def seen_landmarks(
    landmarks: Float[np.ndarray, "m 3"], camera: Cameras, depth: Float[Tensor, "height width"]
) -> tuple[Float[np.ndarray, "m 2"], Bool[np.ndarray, " m"]]:
    """Project landmarks to pixels, and tell which are in the image with no surface before them."""
    pixels, own = project_tensors(camera, torch.from_numpy(landmarks).float())
    height, width = depth.shape
    place = pixels.floor().long()
    inside = (place >= 0).all(dim=-1) & (place[:, 0] < width) & (place[:, 1] < height) & (own > 0)
    shown = depth[place[:, 1].clamp(0, height - 1), place[:, 0].clamp(0, width - 1)]
    return pixels.double().numpy(), (inside & (own < shown + BEHIND)).numpy()
