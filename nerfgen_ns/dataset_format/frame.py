"""One frame of a transforms.json: a photograph, its camera, and what else is known about it."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from nerfgen_ns.cameras import projection
from nerfgen_ns.dataset_format.cameras_of_files import as_pose, check_intrinsics
from nerfgen_ns.errors import UsageError

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras

INTRINSICS = ("fl_x", "fl_y", "cx", "cy", "w", "h")
DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
PATHS = ("file_path", "mask_path", "depth_path", "semantic_path")
"""Keys of the files of a frame."""
NUMBERS = ("reprojection_rmse", "yaw", "pitch", "roll", "pose_change")
SHAPES: dict[str, tuple[int | None, ...]] = {
    "photograph_to_crop": (2, 3), "coefficients": (None,), "true_transform_matrix": (4, 4),
    "landmarks": (None, None), "landmarks2d": (None, None), "landmarks3d": (None, 3),
    "landmarks_visible": (None,),
}  # fmt: skip
"""Shapes of the arrays that a frame may have; None: any size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """A photograph with its camera. None means that the file does not give the value.

    Fields have the names and the order that they have in the file.
    """

    file_path: str
    """The photograph, from the folder of the file."""
    mask_path: str | None = None
    """Its matte."""
    transform_matrix: Float[np.ndarray, "4 4"]
    """Camera-to-world, nerfstudio/OpenGL."""
    fl_x: float
    fl_y: float
    cx: float
    cy: float
    w: int
    h: int
    distortion: Mapping[str, float] = field(default_factory=dict)
    """Those of `DISTORTION` that the file has; in the file they are keys like the others."""
    identity: int | str | None = None
    """Its object; if not given, it is an object of its own, see `rows_of_frames`."""
    source: str | None = None
    """Its name before it was prepared."""
    reprojection_rmse: float | None = None
    """Pixels from its landmarks to the canonical ones, root mean square."""
    photograph_to_crop: Float[np.ndarray, "2 3"] | None = None
    """From pixels of the photograph as it was to its own."""
    coefficients: Float[np.ndarray, " k"] | None = None
    """Its shape in the basis of the class's landmarks."""
    role: str | None = None
    """`train`; or `query`, to be fitted, and `target`, to be judged."""
    depth_path: str | None = None
    """Its z-depth, in the camera's frame, infinite for the background: an .npz."""
    semantic_path: str | None = None
    """Its semantic labels, an image."""
    true_transform_matrix: Float[np.ndarray, "4 4"] | None = None
    """The true camera, where `transform_matrix` may be another."""
    yaw: float | None = None
    """Degrees, as `columns.camera_angles` has them."""
    pitch: float | None = None
    roll: float | None = None
    landmarks: Float[np.ndarray, "m d"] | None = None
    """Pixels; NaN where one is missing."""
    landmarks2d: Float[np.ndarray, "m d"] | None = None
    """The same in data sets from elsewhere: exact landmarks in pixels."""
    landmarks_visible: Int[np.ndarray, " m"] | None = None
    """1 or 0 for each."""
    landmarks3d: Float[np.ndarray, "m 3"] | None = None
    """In the class frame."""
    pose_change: float | None = None
    """Degrees by which its camera was turned when a run refined it."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """Other keys of the file; they are written again, and nothing reads them."""

    @classmethod
    def from_json(
        cls, entry: Any, shared: Mapping[str, Any], path: Path, place: int, allow_outside: bool
    ) -> Frame:
        """Read an entry of the list of frames.

        Args:
            entry: what the list has.
            shared: what the file has for all frames, see `shared_by_frames`.
            path: the file, for messages.
            place: the frame's place in the list, for messages.
            allow_outside: whether it may name files outside the folder.

        Raises:
            UsageError: it lacks something, or has something that cannot be used.
        """
        if not isinstance(entry, dict):
            raise UsageError(
                f'{path}: frame {place} is {entry!r}; "frames" holds an object for each photograph'
            )
        where = f"{path}: frame {entry.get('file_path', place)}"
        known: dict[str, Any] = {}
        distortion: dict[str, float] = {}
        others: dict[str, Any] = {}
        for key, value in {**shared, **entry}.items():
            kind = KINDS.get(key)
            if kind is None:
                others[key] = value
            elif kind == "path":
                check_path(value, path, f"frame {place}: ", key, allow_outside)
                known[key] = value
            elif kind == "pose":
                known[key] = as_pose(value, where)
            elif kind == "intrinsic":
                known[key] = _number(value, where, key)
            elif kind == "distortion":
                distortion[key] = _number(value, where, key)
            elif kind == "identity":
                if type(value) not in (int, str):
                    raise UsageError(
                        f'{where}: let "identity" be a whole number in every frame, or a name in every frame'
                    )
                known[key] = value
            elif kind == "text":
                known[key] = str(value or "") or None
            elif kind == "number":
                known[key] = None if value is None else _number(value, where, key)
            else:
                known[key] = _array(value, where, key)
        for key in ("file_path", "transform_matrix", *INTRINSICS):
            if key not in known:
                raise UsageError(f'{where} has no "{key}"')
        check_intrinsics(where, *(known[key] for key in INTRINSICS))
        known["w"], known["h"] = int(known["w"]), int(known["h"])
        return cls(**known, distortion=distortion, others=others)

    @classmethod
    def of_camera(cls, file_path: str, camera: Cameras, **known: Any) -> Frame:
        """Make a frame of nerfstudio's camera, of shape (1,).

        Args:
            file_path: the photograph.
            camera: its camera.
            known: further fields.
        """
        matrix = camera.camera_to_worlds[0].cpu().double().numpy()
        return cls(
            file_path=file_path,
            transform_matrix=np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]]),
            fl_x=float(camera.fx),
            fl_y=float(camera.fy),
            cx=float(camera.cx),
            cy=float(camera.cy),
            w=int(camera.width),
            h=int(camera.height),
            **known,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the frame as an entry of the list of frames."""
        entry: dict[str, Any] = {}
        for key in KEYS:
            value = getattr(self, key)
            if key in ("distortion", "others"):
                entry |= value
            elif isinstance(value, np.ndarray):
                entry[key] = (value if key != "landmarks" else _without_nan(value)).tolist()
            elif value is not None:
                entry[key] = value
        return entry

    def same_camera(self, file_path: str, **known: Any) -> Frame:
        """Return a frame of another photograph with this camera and nothing else.

        Args:
            file_path: the photograph.
            known: further fields.
        """
        camera = {key: getattr(self, key) for key in ("transform_matrix", *INTRINSICS, "distortion")}
        return Frame(file_path=file_path, **{**camera, **known})

    @property
    def files(self) -> list[str]:
        """Return its files, from the folder of the file, each path in its shortest form."""
        names = (getattr(self, key) for key in PATHS)
        return [str(PurePosixPath(name)) for name in names if name is not None]

    def with_files_of(self, folder: Path) -> Frame:
        """Return the frame for a file of another folder: its own files are named by absolute paths.

        Args:
            folder: the folder that its files are named from.
        """
        root = folder.resolve()
        known = {key: name for key in PATHS if (name := getattr(self, key)) is not None}
        named: dict[str, Any] = {key: str(root / name) for key, name in known.items()}
        return replace(self, **named)

    @property
    def camera(self) -> projection.Cameras:
        """Return its camera as a collection of one; `fl_x` is the focal length."""
        return projection.Cameras.from_camera_to_world(
            self.transform_matrix[None], np.array([self.fl_x]), np.array([[self.cx, self.cy]])
        )

    @property
    def true_camera(self) -> Float[np.ndarray, "4 4"]:
        """Return the true camera-to-world matrix; `transform_matrix` if no other is given."""
        return self.transform_matrix if self.true_transform_matrix is None else self.true_transform_matrix

    def photograph_camera(self) -> tuple[Float[np.ndarray, "4 4"], float]:
        """Return camera-to-world and focal length, in its own pixels, of the photograph before cropping.

        Cropping turns and scales the image; this inverts both. A frame without a crop is its photograph.
        """
        if self.photograph_to_crop is None:
            return self.transform_matrix, self.fl_x
        linear = self.photograph_to_crop[:, :2]
        scale = float(np.hypot(*linear[:, 0]))
        # Pixels count downwards and the camera's y upwards: the same turn has the opposite sign.
        roll = np.eye(4)
        roll[:2, :2] = linear / scale * [[1, -1], [-1, 1]]
        return self.transform_matrix @ roll, self.fl_x / scale


KEYS = tuple(part.name for part in fields(Frame))
KINDS = {
    **dict.fromkeys(PATHS, "path"), "transform_matrix": "pose", **dict.fromkeys(INTRINSICS, "intrinsic"),
    **dict.fromkeys(DISTORTION, "distortion"), "identity": "identity", "source": "text", "role": "text",
    **dict.fromkeys(NUMBERS, "number"), **dict.fromkeys(SHAPES, "array"),
}  # fmt: skip
"""How each key of a file is read."""


def shared_by_frames(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a camera in the head of a file, for frames that do not have them."""
    return {key: head[key] for key in ("transform_matrix", *INTRINSICS, *DISTORTION) if key in head}


def check_path(value: object, path: Path, frame: str, key: str, allow_outside: bool) -> None:
    """Check that a name in a transforms.json is that of a file, and within the folder.

    A transforms.json may come from anywhere. As in nerfstudio, it may name files outside its folder for
    reading, but none for writing.

    Args:
        value: the name.
        path: the transforms.json, for messages.
        frame: which of its frames, for messages.
        key: the key of the name.
        allow_outside: whether it may lead out of the folder.

    Raises:
        UsageError: it is not a name, or leads out of the folder.
    """
    if not isinstance(value, str) or "\0" in value:
        raise UsageError(f'{path}: {frame}"{key}" is {reprlib.repr(value)} and no file name')
    if allow_outside:
        return
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or value.startswith("/"):
        raise UsageError(
            f'{path}: {frame}"{key}" is {value!r}, which is no path within the folder; put the file '
            "there, and let the path begin at the folder"
        )


def _number(value: Any, where: str, key: str) -> float:
    try:
        if isinstance(value, (int, float)):
            return float(value)
    except OverflowError:
        pass
    raise UsageError(f'{where}: "{key}" is {reprlib.repr(value)} and no number')


def _array(value: Any, where: str, key: str) -> np.ndarray | None:
    shape = SHAPES[key]
    if value is None or (value == [] and len(shape) > 1):
        return None
    try:
        array = np.array(value, dtype=np.int64 if key == "landmarks_visible" else np.float64)
    except (OverflowError, TypeError, ValueError):
        array = np.empty((0,) * (len(shape) + 1))
    if array.ndim != len(shape) or any(
        wanted not in (None, size) for wanted, size in zip(shape, array.shape, strict=True)
    ):
        size = " × ".join("n" if wanted is None else str(wanted) for wanted in shape)
        raise UsageError(f'{where}: "{key}" is not {size} numbers; correct it, or leave it out')
    return array


def _without_nan(array: np.ndarray) -> np.ndarray:
    """Return the array with None for NaN, which JSON does not have."""
    missing = np.isnan(array)
    if not missing.any():
        return array
    values = array.astype(object)
    values[missing] = None
    return values
