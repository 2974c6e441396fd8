"""Collections of posed images, in the forms of other projects, brought into the class frame."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from nerfgen_ns.cameras.alignment import Similarity
from nerfgen_ns.cameras.projection import Cameras, project, z_depths
from nerfgen_ns.dataset_format.cameras_of_files import check_focal_length, check_intrinsics, check_poses
from nerfgen_ns.dataset_format.posed_frames import has_posed_frames, read_posed_frames
from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.photographs import SUFFIXES, upright_size
from nerfgen_ns.utils.spacing import evenly_spaced

Axis = Literal["+x", "-x", "+y", "-y", "+z", "-z"]
OPENCV_TO_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class WorldConvention:
    """Axes and scale of a collection's world relative to the class frame."""

    up: Axis
    forward: Axis
    """Where the objects look to."""
    scale: float | None
    """Units of the class frame for one of the world; None: so that what the cameras see fits in [−1, 1]³."""

    def to_class(self) -> Float[np.ndarray, "3 3"]:
        """Return the rotation from the world to the class frame: y up, objects look to +z.

        Raises:
            UsageError: up and forward are the same axis.
        """
        up, forward = _direction(self.up), _direction(self.forward)
        if abs(up @ forward) > 0.5:
            raise UsageError(f"up {self.up} and forward {self.forward} are the same axis; choose two")
        return np.stack([np.cross(up, forward), up, forward])


SRN = WorldConvention("+z", "+y", None)
BLENDER = WorldConvention("+z", "-y", None)
NERFSTUDIO = WorldConvention("+y", "+z", 1.0)


@dataclass
class KnownCameras:
    """The photographs of a collection and their cameras, one row each."""

    convention: WorldConvention
    images: list[Path] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    """Which object each shows: photographs with the same name here show the same object."""
    mattes: list[Path | None] = field(default_factory=list)
    poses: Any = field(default_factory=list)
    """n × 4 × 4, OpenGL camera-to-world; in the class frame after `in_class_frame`."""
    intrinsics: Any = field(default_factory=list)
    """n × 6: fl_x, fl_y, cx, cy, width, height in pixels of the image file."""
    distortion: list[dict[str, float]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    """File, and row or frame, of each camera, for messages."""

    def __len__(self) -> int:
        return len(self.images)

    def where(self, row: int) -> str:
        """Return the place of a camera, for messages."""
        return self.places[row]


Reader = Callable[[Path, bool], KnownCameras]
"""Reads a folder; the flag says whether it is the whole collection or one object of it."""


def reader_of(folder: Path) -> Reader | None:
    """Return the function that reads the folder; None if there are no cameras in it."""
    if (folder / "pose").is_dir() and (folder / "rgb").is_dir():
        return _read_srn
    return _read_transforms if has_posed_frames(folder) else None


def _direction(axis: Axis) -> Float[np.ndarray, "3"]:
    return np.eye(3)["xyz".index(axis[1])] * (1.0 if axis[0] == "+" else -1.0)


def _size(image: Path, where: str) -> tuple[int, int]:
    size = upright_size(image)
    if size is None:
        raise UsageError(f"{where}: {image} is no image; replace it")
    return size


def _read_srn(folder: Path, whole: bool) -> KnownCameras:
    known = KnownCameras(SRN)
    fl_x, fl_y, cx, cy, wide, high = _srn_intrinsics(folder / "intrinsics.txt")
    images = sorted(path for path in (folder / "rgb").iterdir() if path.suffix.lower() in SUFFIXES)
    if not images:
        raise UsageError(f"{folder / 'rgb'}: holds no images; put the photographs there")
    for image in images:
        path = folder / "pose" / f"{image.stem}.txt"
        pose = _numbers(path)
        if len(pose) != 16:
            raise UsageError(
                f"{path}: holds {len(pose)} numbers and not 16; write the 4 × 4 camera-to-world matrix"
            )
        width, height = _size(image, str(path))
        # Collections are scaled down without a change to this file.
        across, down = (width / wide, height / high) if wide else (1.0, 1.0)
        known.images.append(image)
        known.objects.append(folder.name)
        known.mattes.append(None)
        known.poses.append(np.array(pose).reshape(4, 4) @ OPENCV_TO_OPENGL)
        known.intrinsics.append([fl_x * across, fl_y * down, cx * across, cy * down, width, height])
        known.distortion.append({})
        known.places.append(str(path))
    return known


def _numbers(path: Path) -> list[float]:
    try:
        return [float(word) for word in path.read_text(encoding="utf-8").split()]
    except FileNotFoundError as error:
        raise UsageError(f"{path}: is missing; every image needs one") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: is not a list of numbers ({error}); write numbers alone") from error


def _srn_intrinsics(path: Path) -> list[float]:
    """Read fl_x, fl_y, cx, cy, width, height; the last two are 0 if the file holds nothing but a matrix."""
    numbers = _numbers(path)
    if len(numbers) in (9, 16):
        row = len(numbers) // (3 if len(numbers) == 9 else 4)
        intrinsics = [numbers[0], numbers[row + 1], numbers[2], numbers[row + 2], 0.0, 0.0]
    elif len(numbers) == 10:  # f cx cy 0 / barycenter / scale / height width
        focal, cx, cy = numbers[:3]
        intrinsics = [focal, focal, cx, cy, numbers[9], numbers[8]]
        if min(numbers[8:]) < 1:
            raise UsageError(
                f"{path}: row 4: {numbers[8]:g} {numbers[9]:g} is no height and width; give pixels"
            )
    else:
        raise UsageError(
            f"{path}: holds {len(numbers)} numbers, not 10, 9 or 16; write SRN's or a 3 × 3 or 4 × 4 matrix"
        )
    check_focal_length(f"{path}: row 1", *intrinsics[:2])
    return intrinsics


def _read_transforms(folder: Path, whole: bool) -> KnownCameras:
    frames = read_posed_frames(folder)
    known = KnownCameras(BLENDER if frames[0].blender else NERFSTUDIO)
    for number, frame in enumerate(frames):
        image = _image_file(folder, frame.file_path, frame.where)
        known.images.append(image)
        matte = None if frame.mask_path is None else folder / frame.mask_path
        if matte is not None and not matte.is_file():
            raise UsageError(
                f"{frame.where}: there is no matte {matte}; make it, or leave mask_path out of all frames"
            )
        known.mattes.append(matte)
        # As in the data parser, a frame without identity shows an object of its own. A scene of Blender's
        # and a folder among others show one object.
        nameless = number if whole and not frame.blender else ""
        known.objects.append(f"{folder.name}/{nameless if frame.identity is None else frame.identity}")
        known.poses.append(frame.pose)
        known.intrinsics.append(frame.intrinsics(*_size(image, frame.where)))
        known.distortion.append(frame.distortion)
        known.places.append(frame.where)
    return known


def _image_file(folder: Path, name: str, where: str) -> Path:
    """Find the file of an image; Blender-style files name their images without a suffix."""
    for candidate in (name, *(f"{name}{suffix}" for suffix in (".png", *SUFFIXES))):
        if (folder / candidate).is_file():
            return folder / candidate
    raise UsageError(f"{where}: there is no such file in {folder}; put it there, or remove the frame")


def has_known_cameras(data: Path) -> bool:
    """Return whether a folder holds cameras in one of the forms, itself or in a folder for each object.

    If the folder itself holds photographs, it is no such collection: folders beside them are something else.

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
        views: at most this many photographs of each object, evenly spread; None: all.

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
    known.poses = np.stack(known.poses)
    check_poses(known.poses, known.where)
    for row, intrinsics in enumerate(known.intrinsics):
        check_intrinsics(known.where(row), *intrinsics)
    known.intrinsics = np.array(known.intrinsics, dtype=np.float64)
    return known if views is None else _some_views(known, views)


def in_class_frame(known: KnownCameras, convention: WorldConvention | None = None) -> KnownCameras:
    """Return the collection with its cameras in the class frame; the object must be at the world's origin.

    Args:
        convention: of the world, where it is not the usual one of the collection's form.

    Raises:
        UsageError: most cameras do not see the origin.
    """
    convention = convention or known.convention
    rotation = convention.to_class()
    focal, size = known.intrinsics[:, :2], known.intrinsics[:, 4:]
    cameras = Cameras.from_camera_to_world(known.poses, focal, known.intrinsics[:, 2:4])
    origin = np.zeros((1, 3))
    pixels = project(cameras, origin)[:, 0]
    seen = (z_depths(cameras, origin)[:, 0] > 0) & ((pixels >= 0) & (pixels <= size)).all(axis=1)
    if seen.mean() < 0.5:
        raise UsageError(
            f"{known.where(int(np.argmin(seen)))} and {int((~seen).sum()) - 1} more cameras do not see the "
            "world's origin, where the object has to be; move the world"
        )
    # A sphere that touches the borders of the image has this radius: what is seen whole is inside it.
    half = (size / focal).min(axis=1) / 2
    visible = np.linalg.norm(known.poses[:, :3, 3], axis=1) * half / np.sqrt(1 + half**2)
    scale = convention.scale or 1 / float(np.median(visible[seen]))
    poses = Similarity(scale, rotation, np.zeros(3)).move_cameras(known.poses)
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
        rows.extend(own[view] for view in evenly_spaced(len(own), views, "starts"))

    def chosen(values: list[Any]) -> list[Any]:
        return [values[row] for row in rows]

    return KnownCameras(
        known.convention, chosen(known.images), chosen(known.objects), chosen(known.mattes),
        known.poses[rows], known.intrinsics[rows], chosen(known.distortion), chosen(known.places),
    )  # fmt: skip


def _folders(data: Path) -> list[Path]:
    return sorted(path for path in data.iterdir() if path.is_dir()) if data.is_dir() else []
