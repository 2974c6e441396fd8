"""Writing heads as a prepared folder, with the truth a photograph does not have: camera, depth, labels."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import track

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.files import read_json, write_json
from nerfgen_ns.synthetic.cameras import Camera, sample_camera
from nerfgen_ns.synthetic.head_landmarks import NAMES, PAIRS
from nerfgen_ns.synthetic.head_paint import LABELS
from nerfgen_ns.synthetic.heads import make_head
from nerfgen_ns.synthetic.render import render, visible
from nerfgen_ns.synthetic.scene import Solid

CLASS_NAME = "heads"
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
) -> Path:
    """Write a prepared folder of `identities` heads with `views` images each, `size` pixels wide and high.

    One view makes a folder to train on (role `train`). Several make a test folder: of each head the first
    view is the `query`, the others are `target`. A head depends on `seed` and its number alone, counted from
    `first_identity`; its test views are never its training view.

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
    if _is_whole(output_dir, options):
        return output_dir
    try:
        output_dir.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}.", dir=output_dir.parent))
        try:
            _write_folder(temporary, options, progress)
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o777 & ~umask)
            temporary.replace(output_dir)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise NerfgenError(
            f"{output_dir}: cannot be written ({error.strerror or error}); "
            "choose another --output-dir or free some space"
        ) from error
    return output_dir


def _is_whole(folder: Path, options: dict[str, Any]) -> bool:
    """Whether the folder was written with these options; False where there is none, or an empty one."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    transforms = folder / "transforms.json"
    if transforms.is_file() and read_json(transforms).get("synthetic") == options:
        return True
    raise UsageError(f"{folder}: already holds something else; choose another --output-dir or remove it")


def _write_folder(folder: Path, options: dict[str, Any], progress: bool) -> None:
    for name in ("images", "mattes", "depth", "semantics"):
        (folder / name).mkdir()
    frames: list[dict[str, Any]] = []
    shapes = []
    first, views, seed = options["first_identity"], options["views"], options["seed"]
    numbers = range(first, first + options["identities"])
    for identity in track(numbers, description="Rendering heads", disable=not progress):
        head = make_head(seed, identity)
        shapes.append(head.landmarks)
        # Streams of their own: training and test views of one head differ, and the head depends on neither.
        random = np.random.default_rng([seed, identity, 1 if views == 1 else 2])
        for view in range(views):
            name = f"{identity:05d}" if views == 1 else f"{identity:05d}_{view}"
            role = "train" if views == 1 else "query" if view == 0 else "target"
            camera = sample_camera(random, options["size"])
            frames.append({"identity": identity, "role": role} | _write_frame(folder, name, head, camera))
    canonical = np.mean(shapes, axis=0)
    for frame, shape in zip(frames, np.repeat(shapes, views, axis=0), strict=True):
        frame["reprojection_rmse"] = _reprojection_rmse(frame, canonical)
        frame["landmarks3d"] = np.round(shape, 6).tolist()
    write_json(
        folder / "canonical_landmarks.json",
        {
            "names": list(NAMES),
            "landmarks": np.round(canonical, 6).tolist(),
            "pairs": [list(pair) for pair in PAIRS],
        },
    )
    write_json(
        folder / "transforms.json",
        {
            "camera_model": "OPENCV", "class_name": CLASS_NAME, "synthetic": options,
            "semantic_labels": list(LABELS), "frames": frames,
        },
    )  # fmt: skip


def _write_frame(folder: Path, name: str, solid: Solid, camera: Camera) -> dict[str, Any]:
    """Render and write one view; its entry in transforms.json."""
    picture = render(solid, camera)
    paths = {
        "file_path": f"images/{name}.png", "mask_path": f"mattes/{name}.png",
        "depth_path": f"depth/{name}.npz", "semantic_path": f"semantics/{name}.png",
    }  # fmt: skip
    Image.fromarray(picture.image).save(folder / paths["file_path"])
    Image.fromarray(picture.matte).save(folder / paths["mask_path"])
    Image.fromarray(picture.labels).save(folder / paths["semantic_path"])
    np.savez_compressed(folder / paths["depth_path"], depth=picture.depth.astype(np.float16))
    pixels, _ = camera.project(solid.landmarks)
    seen = visible(solid, camera, solid.landmarks)
    pose = camera.camera_to_world.tolist()
    return {
        **paths,
        "transform_matrix": pose, "true_transform_matrix": pose,
        "fl_x": camera.focal, "fl_y": camera.focal, "cx": camera.size / 2, "cy": camera.size / 2,
        "w": camera.size, "h": camera.size,
        "yaw": camera.yaw, "pitch": camera.pitch, "roll": camera.roll,
        "landmarks": np.round(pixels, 4).tolist(), "landmarks_visible": seen.astype(int).tolist(),
    }  # fmt: skip


def _reprojection_rmse(frame: dict[str, Any], canonical: np.ndarray) -> float:
    """Pixels between the landmarks and the canonical ones seen by the true camera: how this head differs."""
    camera = Camera(
        frame["yaw"], frame["pitch"], frame["roll"], np.array(frame["transform_matrix"]), frame["w"]
    )
    offsets = camera.project(canonical)[0] - np.array(frame["landmarks"])
    return round(float(np.sqrt((offsets**2).sum(axis=1).mean())), 4)
