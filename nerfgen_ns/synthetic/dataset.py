"""Writing an embedded class as a prepared folder, with the truth: camera, matte, depth and labels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import track

from nerfgen_ns.cameras.projection import project
from nerfgen_ns.dataset_format.frame import Frame
from nerfgen_ns.dataset_format.transforms import read_head, transforms_path, write_transforms
from nerfgen_ns.errors import UsageError
from nerfgen_ns.synthetic import ClassName
from nerfgen_ns.synthetic.classes import CLASSES
from nerfgen_ns.synthetic.render import Camera, render, visible
from nerfgen_ns.synthetic.solids import Solid
from nerfgen_ns.utils.files import replace_folder, write_json

VERSION = 1
"""Raised when the same options would give other pictures: folders made before are then not taken for new."""


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
    except where they would spoil the point: to train a class with a solid background, images and cameras are
    enough.

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
            f"{output_dir}: cannot make {identities} identities with {views} views of {size} pixels; "
            "give at least 1 identity, 1 view, 16 pixels, and no negative seed or first identity"
        )
    if _is_whole(output_dir, class_name, options):
        return output_dir
    with replace_folder(output_dir, is_own=lambda folder: False) as making:
        _write_folder(making, class_name, options, progress)
    return output_dir


def _is_whole(folder: Path, class_name: ClassName, options: dict[str, Any]) -> bool:
    """Whether the folder holds this class and these options; False where there is none, or an empty one."""
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
        # Streams of their own: training and test views of one object differ, and it depends on neither.
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
    """Render and write one view, with its truth if asked for; its frame."""
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
    """Pixels from the landmarks to the canonical ones as the true camera sees them: how it differs."""
    offsets = project(frame.camera, canonical)[0] - frame.landmarks
    return round(float(np.sqrt((offsets**2).sum(axis=1).mean())), 4)
