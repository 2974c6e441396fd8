"""The embedded classes and their folders with the truth; a seed and a number define an object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image
from rich.progress import track

from nerfgen_ns.cameras.projection import project
from nerfgen_ns.dataset_format.frame import Frame
from nerfgen_ns.dataset_format.transforms import read_head, transforms_path, write_transforms
from nerfgen_ns.errors import UsageError
from nerfgen_ns.synthetic import ClassName
from nerfgen_ns.synthetic.car_parameters import CarParameters, sample_car_parameters
from nerfgen_ns.synthetic.car_surface import (
    GROUND,
    PAINT,
    TRIM,
    CarShape,
    paint_body,
    paint_plain,
    paint_wheels,
    place_car_landmarks,
)
from nerfgen_ns.synthetic.car_surface import LABELS as CAR_LABELS
from nerfgen_ns.synthetic.car_surface import NAMES as CAR_NAMES
from nerfgen_ns.synthetic.car_surface import PAIRS as CAR_PAIRS
from nerfgen_ns.synthetic.head_parameters import HeadParameters, sample_head_parameters
from nerfgen_ns.synthetic.head_surface import LABELS as HEAD_LABELS
from nerfgen_ns.synthetic.head_surface import NAMES as HEAD_NAMES
from nerfgen_ns.synthetic.head_surface import PAIRS as HEAD_PAIRS
from nerfgen_ns.synthetic.head_surface import (
    BareHead,
    Outfit,
    paint_clothes,
    paint_hair,
    paint_hat,
    paint_skin,
    place_head_landmarks,
)
from nerfgen_ns.synthetic.render import Camera, render, sample_camera, sample_camera_around, visible
from nerfgen_ns.synthetic.solids import (
    Background,
    Distances,
    Light,
    Points,
    Solid,
    join,
    mirrored,
    plain_background,
    sample_background,
    sample_light,
)
from nerfgen_ns.utils.files import replace_folder, write_json

PARTS = ("skin", "hair", "brows", "beard", "clothes", "hat")
"""What a head is made of; the parts meet without blending."""
ABSENT = np.float32(10.0)
"""Distance to a part that a head does not have."""


class Head:
    """One head: a `Solid`."""

    steps = 24

    def __init__(self, parameters: HeadParameters, light: Light, background: Background) -> None:
        self.parameters, self.light, self.background = parameters, light, background
        self.bare = BareHead(parameters)
        self.outfit = Outfit(self.bare)
        self.low = np.array([-0.85, -0.98, -0.62])
        self.high = np.array([0.85, 0.8, 0.55])

    def parts(self, points: Points) -> Float[np.ndarray, "parts n"]:
        """Return the distance to each of PARTS."""
        folded = mirrored(points)
        head, neck, torso = self.bare.distance(points), self.bare.neck(points), self.outfit.torso(folded)
        absent = np.full(points.shape[1], ABSENT)
        hair, beard = self.outfit.hair(points, folded), self.outfit.beard(points, folded)
        return np.stack(
            [
                np.minimum(join(head, neck, 0.05), torso + np.float32(0.012)),
                absent if hair is None else hair,
                self.outfit.brows(folded),
                absent if beard is None else beard,
                self.outfit.clothes(points, torso, neck),
                self.outfit.hat(points) if self.parameters.hair.style == "hat" else absent,
            ]
        )

    def distance(self, points: Points) -> Distances:
        """Return the signed distance to the whole head, negative inside."""
        return self.parts(points).min(axis=0)

    def appearance(self, points: Points) -> tuple[Float[np.ndarray, "3 n"], Int[np.ndarray, " n"]]:
        """Return albedo and label at points of the surface."""
        nearest = self.parts(points).argmin(axis=0)
        albedo = np.empty(points.shape)
        labels = np.empty(points.shape[1], int)
        colors = self.parameters.colors
        for part, name in enumerate(PARTS):
            here = nearest == part
            if not here.any():
                continue
            inside = points.compress(here, axis=1)
            if name == "skin":
                painted = paint_skin(self.bare, inside, self.bare.chin_level - 0.03)
            elif name == "clothes":
                painted = paint_clothes(self.bare, inside)
            elif name == "hat":
                painted = paint_hat(self.bare, inside)
            else:
                painted = paint_hair(inside, colors.hair if name == "hair" else colors.brows)
            albedo[:, here], labels[here] = painted
        return albedo, labels

    @cached_property
    def landmarks(self) -> Float[np.ndarray, "m 3"]:
        """Points on the skin, in the order of `head_surface.NAMES`."""
        return place_head_landmarks(self.bare, self.outfit.brow_points)


def make_head(seed: int, identity: int) -> Head:
    """Return the head of this number among all heads of this seed.

    It is the same in every folder and at every size.
    """
    random = np.random.default_rng([seed, identity])
    return Head(sample_head_parameters(random), sample_light(random), sample_background(random))


WHITE = (1.0, 1.0, 1.0)
"""The background of every car."""


class Car:
    """One car: a `Solid`."""

    background = plain_background(WHITE)
    steps = 48

    def __init__(self, parameters: CarParameters, light: Light) -> None:
        self.parameters, self.light = parameters, light
        self.shape = CarShape(parameters)
        body, fittings = parameters.body, parameters.fittings
        wide = self.shape.mirror_place[0] + 1.4 * fittings.mirror
        top = max(self.shape.roof + 0.02 + fittings.roof_load, self.shape.deck + fittings.spoiler + 0.02)
        long = body.half_length + fittings.bumper_depth + 0.01
        self.low, self.high = np.array([-wide, GROUND - 0.01, -long]), np.array([wide, top, long])

    def distance(self, points: Points) -> Distances:
        """Return the signed distance to the whole car, negative inside."""
        return np.minimum.reduce(list(self.shape.parts(points).values()))

    def appearance(self, points: Points) -> tuple[Float[np.ndarray, "3 n"], Int[np.ndarray, " n"]]:
        """Return albedo and label at points of the surface."""
        parts = self.shape.parts(points)
        nearest = np.stack(list(parts.values())).argmin(axis=0)
        albedo = np.empty(points.shape)
        labels = np.empty(points.shape[1], int)
        colors = self.parameters.colors
        plain = {
            "bumpers": (colors.bumpers, TRIM), "sills": (colors.trim, TRIM),
            "extras": (colors.paint, PAINT), "load": (colors.load, TRIM),
        }  # fmt: skip
        for number, name in enumerate(parts):
            here = nearest == number
            if not here.any():
                continue
            inside = points.compress(here, axis=1)
            if name == "body":
                painted = paint_body(self.shape, inside)
            elif name == "wheels":
                painted = paint_wheels(self.shape, inside)
            else:
                painted = paint_plain(inside, *plain[name])
            albedo[:, here], labels[here] = painted
        return albedo, labels

    @cached_property
    def landmarks(self) -> Float[np.ndarray, "m 3"]:
        """Points on the surface, in the order of `car_surface.NAMES`."""
        return place_car_landmarks(self.shape, self.distance)


def make_car(seed: int, identity: int) -> Car:
    """Return the car of this number among all cars of this seed.

    It is the same in every folder and at every size.
    """
    random = np.random.default_rng([seed, identity])
    parameters = sample_car_parameters(random)
    # From high up, as under an open sky: a car is seen from all sides, and none should be dark.
    return Car(parameters, sample_light(random, np.pi, heights=(0.6, 1.3), strengths=(0.35, 0.55)))


@dataclass(frozen=True)
class EmbeddedClass:
    """One procedural class."""

    make: Callable[[int, int], Solid]
    """The object of a seed and a number."""
    sample_camera: Callable[[np.random.Generator, int], Camera]
    """A camera as photographs of the class have it, for images of a size in pixels."""
    landmark_names: tuple[str, ...]
    landmark_pairs: tuple[tuple[int, int], ...]
    """Indices (left, right) of the landmarks that mirror one another."""
    labels: tuple[str, ...]
    """Label i means labels[i]."""
    solid_background: tuple[float, float, float] | None = None
    """The color behind every object, in [0, 1]. With one, a class seen from all around is trained without
    mattes, so its training folders hold none; its test folders do. Without one, None."""


CLASSES: dict[ClassName, EmbeddedClass] = {
    "heads": EmbeddedClass(
        make_head, sample_camera, HEAD_NAMES, HEAD_PAIRS, HEAD_LABELS
    ),
    "cars": EmbeddedClass(
        make_car, sample_camera_around, CAR_NAMES, CAR_PAIRS, CAR_LABELS, WHITE
    ),
}  # fmt: skip


VERSION = 1
"""Increased when the same options give other pictures: older folders are then not reused."""


def write_dataset(
    output_dir: Path,
    identities: int,
    views: int = 1,
    size: int = 128,
    seed: int = 0,
    first_identity: int = 0,
    progress: bool = False,
    class_name: ClassName = "heads",
) -> Path:
    """Write a prepared folder of `identities` objects with `views` images each, `size` pixels wide and high.

    One view makes a folder to train on (role `train`). Several make a test folder: of each object the first
    view is the `query`, the others are `target`. An object depends on `seed` and its number alone, counted
    from `first_identity`; its test views are never its training view. Mattes, depth and labels are written
    except in training folders of a class with a solid background: there images and cameras are enough.

    The folder appears when it is whole. One that was written with the same options is left as it is.

    Returns:
        `output_dir`.

    Raises:
        UsageError: a number is out of range, or `output_dir` holds something else.
        NerfgenError: the folder cannot be written.
    """
    output_dir = Path(output_dir)
    options: dict[str, Any] = {
        "version": VERSION, "identities": identities, "views": views, "size": size, "seed": seed,
        "first_identity": first_identity,
    }  # fmt: skip
    if min(identities, views) < 1 or size < 16 or min(seed, first_identity) < 0:
        raise UsageError(
            f"{output_dir}: cannot make {identities} identities with {views} views of {size} pixels, seed "
            f"{seed} and first identity {first_identity}; give at least 1 identity, 1 view, 16 pixels, and "
            "no negative seed or first identity"
        )
    if _is_whole(output_dir, class_name, options):
        return output_dir
    with replace_folder(output_dir, is_own=lambda folder: False) as making:
        _write_folder(making, class_name, options, progress)
    return output_dir


def _is_whole(folder: Path, class_name: ClassName, options: dict[str, Any]) -> bool:
    """Return whether the folder holds this class and these options; False if it is missing or empty."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if transforms_path(folder).is_file():
        found = read_head(folder)
        if found.get("synthetic") == options and found.get("class_name") == class_name:
            return True
    raise UsageError(f"{folder}: already holds something else; choose another --output-dir or remove it")


def _write_folder(folder: Path, class_name: ClassName, options: dict[str, Any], progress: bool) -> None:
    embedded = CLASSES[class_name]
    first, views, seed = options["first_identity"], options["views"], options["seed"]
    with_truth = views > 1 or embedded.solid_background is None
    for name in ("images", *(("mattes", "depth", "semantics") if with_truth else ())):
        (folder / name).mkdir()
    frames: list[Frame] = []
    shapes = []
    numbers = range(first, first + options["identities"])
    for identity in track(numbers, description=f"Rendering {class_name}", disable=not progress):
        solid = embedded.make(seed, identity)
        shapes.append(solid.landmarks)
        # Separate random streams: training and test views differ, and the object depends on neither.
        random = np.random.default_rng([seed, identity, 1 if views == 1 else 2])
        for view in range(views):
            name = f"{identity:05d}" if views == 1 else f"{identity:05d}_{view}"
            role = "train" if views == 1 else "query" if view == 0 else "target"
            camera = embedded.sample_camera(random, options["size"])
            frame = _write_frame(folder, name, solid, camera, with_truth)
            frames.append(replace(frame, identity=identity, role=role))
    canonical = np.mean(shapes, axis=0)
    frames = [
        replace(
            frame,
            reprojection_rmse=_reprojection_rmse(frame, canonical),
            landmarks3d=np.round(shape, 6),
        )
        for frame, shape in zip(frames, np.repeat(shapes, views, axis=0), strict=True)
    ]
    write_json(
        folder / "canonical_landmarks.json",
        {
            "names": list(embedded.landmark_names),
            "landmarks": np.round(canonical, 6).tolist(),
            "pairs": [list(pair) for pair in embedded.landmark_pairs],
        },
    )
    head = {"class_name": class_name, "synthetic": options, "semantic_labels": list(embedded.labels)}
    write_transforms(folder, frames, head)


def _write_frame(folder: Path, name: str, solid: Solid, camera: Camera, with_truth: bool) -> Frame:
    """Render and write one view, with its truth if asked for; return its frame."""
    picture = render(solid, camera)
    image, matte, depth, labels = (
        f"images/{name}.png", f"mattes/{name}.png", f"depth/{name}.npz", f"semantics/{name}.png"
    )  # fmt: skip
    Image.fromarray(picture.image).save(folder / image)
    if with_truth:
        Image.fromarray(picture.matte).save(folder / matte)
        Image.fromarray(picture.labels).save(folder / labels)
        np.savez_compressed(folder / depth, depth=picture.depth.astype(np.float16))
    pixels, _ = camera.project(solid.landmarks)
    seen = visible(solid, camera, solid.landmarks)
    pose = camera.camera_to_world
    frame = Frame(
        file_path=image, transform_matrix=pose, true_transform_matrix=pose,
        fl_x=camera.focal, fl_y=camera.focal, cx=camera.size / 2, cy=camera.size / 2,
        w=camera.size, h=camera.size, yaw=camera.yaw, pitch=camera.pitch, roll=camera.roll,
        landmarks=np.round(pixels, 4), landmarks_visible=seen.astype(int),
    )  # fmt: skip
    return replace(frame, mask_path=matte, depth_path=depth, semantic_path=labels) if with_truth else frame


def _reprojection_rmse(frame: Frame, canonical: np.ndarray) -> float:
    """Compute the distance in pixels of the landmarks to the canonical ones, seen by the true camera.

    It is a root mean square, and says how far the object differs from the mean shape.
    """
    offsets = project(frame.camera, canonical)[0] - frame.landmarks
    return round(float(np.sqrt((offsets**2).sum(axis=1).mean())), 4)
