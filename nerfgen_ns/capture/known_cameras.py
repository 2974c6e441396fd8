"""Collections whose cameras are known, in the forms of other projects, brought into the class frame.

- SRN (Sitzmann et al., "Scene Representation Networks", 2019): `rgb/`, `pose/` with a file of 16 numbers for
  each image, and `intrinsics.txt`. Camera-to-world, OpenCV cameras. World: z up, objects look to +y, as
  ShapeNet's do.
- Blender's synthetic scenes (Mildenhall et al., "NeRF", 2020): `transforms.json` or `transforms_train.json`
  with `camera_angle_x`. OpenGL cameras. World: z up, objects look to −y, Blender's front view.
- nerfstudio: `transforms.json` with `fl_x` and so on. OpenGL cameras. World: the class frame.

The folder is one of these, or holds a folder of one of these for each object.
"""

from pathlib import Path
from typing import Any

import numpy as np

from nerfgen_ns.camera_matrices import check_focal_lengths, check_poses
from nerfgen_ns.capture.known_camera_files import KnownCameras, WorldConvention, reader_of
from nerfgen_ns.capture.photographs import SUFFIXES
from nerfgen_ns.errors import UsageError


def has_known_cameras(data: Path) -> bool:
    """Whether a folder holds cameras in one of the forms, itself or in a folder for each object.

    Photographs that lie in it directly are not a collection's: folders beside them are something else.

    Raises:
        UsageError: the folder, or one in it, cannot be read.
    """
    data = Path(data)
    try:
        if not data.is_dir() or reader_of(data) is not None:
            return data.is_dir()
        if any(path.suffix.lower() in SUFFIXES for path in data.iterdir()):
            return False
        return any(map(reader_of, _folders(data)))
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be read ({error.strerror}); allow reading it") from error


def read_known_cameras(data: Path, views: int | None = None) -> KnownCameras:
    """Read a collection as it is; cameras are OpenGL, the world is still the collection's own.

    Args:
        views: of each object at most so many photographs, evenly spread; None: all.

    Raises:
        UsageError: there are no cameras, a file that belongs to them is missing or unreadable, or a camera
            cannot be one; the message names file and row.
    """
    data = Path(data)
    whole = reader_of(data) is not None
    folders = [data] if whole else _folders(data)
    parts = [read(folder, whole) for folder in folders if (read := reader_of(folder)) is not None]
    if not parts:
        raise UsageError(
            f"{data}: holds no cameras: neither rgb/ and pose/ with intrinsics.txt nor a transforms.json, "
            "itself or in a folder for each object"
        )
    known = KnownCameras(parts[0].convention)
    for part in parts:
        if part.convention != known.convention:
            raise UsageError(f"{part.where(0)}: is of another form than {known.where(0)}; give one form only")
        for name in ("images", "objects", "mattes", "poses", "intrinsics", "distortion", "places"):
            getattr(known, name).extend(getattr(part, name))
    known.poses = check_poses(known.poses, known.where)
    known.intrinsics = np.array(known.intrinsics, dtype=np.float64).reshape(-1, 6)
    check_focal_lengths(known.intrinsics[:, :2], known.where)
    finite = np.isfinite(known.intrinsics).all(axis=1) & (known.intrinsics[:, 4:] >= 1).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise UsageError(f"{known.where(row)}: the intrinsics {known.intrinsics[row].tolist()} are none")
    return known if views is None else _some_views(known, views)


def in_class_frame(known: KnownCameras, convention: WorldConvention | None = None) -> KnownCameras:
    """The collection with its cameras in the class frame, where the object has to be at the world's origin.

    Args:
        convention: of the world, where it is not the usual one of the collection's form.

    Raises:
        UsageError: most cameras do not see the origin.
    """
    convention = convention or known.convention
    rotation = convention.to_class()
    poses = known.poses.copy()
    centres = poses[:, :3, 3]
    # In the camera frame the origin lies at −Rᵀt; it looks along −z.
    origin = -np.einsum("nji,nj->ni", poses[:, :3, :3], centres)
    fl_x, fl_y, cx, cy, width, height = known.intrinsics.T
    distance = -origin[:, 2]
    u, v = cx + fl_x * origin[:, 0] / distance, cy - fl_y * origin[:, 1] / distance
    seen = (distance > 0) & (u >= 0) & (u <= width) & (v >= 0) & (v <= height)
    if seen.mean() < 0.5:
        raise UsageError(
            f"{known.where(int(np.argmin(seen)))} and {int((~seen).sum()) - 1} more cameras do not see the "
            "world's origin, where the object has to be; move the world"
        )
    # A sphere that touches the borders of the image has this radius: what is seen whole lies within.
    half = np.minimum(width / fl_x, height / fl_y) / 2
    visible = np.linalg.norm(centres, axis=1) * half / np.sqrt(1 + half**2)
    scale = convention.scale or 1 / float(np.median(visible[seen]))
    poses[:, :3, :3] = rotation @ poses[:, :3, :3]
    poses[:, :3, 3] = scale * centres @ rotation.T
    return KnownCameras(
        convention, known.images, known.objects, known.mattes, poses, known.intrinsics, known.distortion,
        known.places,
    )  # fmt: skip


def _some_views(known: KnownCameras, views: int) -> KnownCameras:
    if views < 1:
        raise UsageError(f"--views {views}: take at least 1")
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(known.objects):
        rows_of.setdefault(name, []).append(row)
    rows: list[int] = []
    for own in rows_of.values():
        chosen_views = np.arange(min(views, len(own))) * len(own) // min(views, len(own))
        rows.extend(own[view] for view in chosen_views)

    def chosen(values: list[Any]) -> list[Any]:
        return [values[row] for row in rows]

    return KnownCameras(
        known.convention, chosen(known.images), chosen(known.objects), chosen(known.mattes),
        known.poses[rows], known.intrinsics[rows], chosen(known.distortion), chosen(known.places),
    )  # fmt: skip


def _folders(data: Path) -> list[Path]:
    return sorted(path for path in data.iterdir() if path.is_dir()) if data.is_dir() else []
