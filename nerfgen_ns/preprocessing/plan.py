"""What `nerfgen prepare` is asked for, checked before any work, and the plan of work that follows."""

import os
import shutil
import tempfile
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from jaxtyping import Int

from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.camera_fitting.canonical_model import CanonicalModel
from nerfgen_ns.preprocessing.camera_fitting.fit import crops_of_file_landmarks
from nerfgen_ns.preprocessing.crops import Crop
from nerfgen_ns.preprocessing.landmarks.files import FileLandmarks, read_landmark_file
from nerfgen_ns.preprocessing.landmarks.models import LandmarkScheme
from nerfgen_ns.preprocessing.listing import (
    list_folder,
    list_photographs,
    name_in,
    names_in,
    read_identity_file,
)
from nerfgen_ns.preprocessing.mattes import MatteOptions
from nerfgen_ns.preprocessing.photographs import stamp_of, stamps_of
from nerfgen_ns.preprocessing.posed_images import Axis
from nerfgen_ns.preprocessing.report.prepare_report import Rejection, printable
from nerfgen_ns.preprocessing.single_photograph import FORMAT, CapturePhotograph, write_given_landmarks
from nerfgen_ns.preprocessing.workers import CaptureOne
from nerfgen_ns.utils.files import hash_of, hash_of_value, read_json

OF_PHOTOGRAPHS = (
    "recursive", "size", "landmarks", "landmark_model", "landmark_model_file", "aligned", "focal",
    "focal_mode", "canonical_landmarks",
)  # fmt: skip
"""Options that mean nothing where the cameras are known."""
OF_KNOWN_CAMERAS = ("views", "up", "forward", "world_scale")
"""Options that mean nothing where the cameras are not known."""
FOLDERS = ("matte_folder",)
OptionalFile = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]
OptionalFolder = Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")]
OptionalName = Annotated[str | None, tyro.conf.arg(metavar="NAME")]
OptionalCount = Annotated[int | None, tyro.conf.arg(metavar="N")]
OptionalNumber = Annotated[float | None, tyro.conf.arg(metavar="NUMBER")]
OptionalColor = Annotated[tuple[int, int, int] | None, tyro.conf.arg(metavar="R G B")]


@dataclass
class PrepareConfig:
    """Landmarks, mattes, cameras and crops of a folder of photographs."""

    data: Path
    """Folder of photographs, or of a collection whose cameras are known: SRN's rgb/ and pose/, or a
    transforms.json of nerfstudio or Blender, or a folder of one of these for each object. Nothing is written
    into it."""
    output_dir: Path
    """Prepared folder to make. An interrupted run continues from what it has done there."""
    recursive: bool = False
    """Take the photographs in the folders below --data too, such as a folder for each person. Each photograph
    still shows an object of its own, unless --identity says otherwise; files name them as FOLDER/NAME."""
    class_name: OptionalName = None
    """Name of the class, noted in the prepared folder; by default faces with MediaPipe's landmarks, and
    otherwise objects."""
    identity: OptionalFile = None
    """CSV file with the columns image,identity, where there are several photographs of one object: those of
    one identity share one latent code and one shape."""
    size: int = 256
    """Side of the square crops in pixels."""
    landmarks: OptionalFile = None
    """CSV file with the columns image,landmark,x,y and perhaps confidence, or a JSON file, with the landmarks
    of each photograph in its pixels: for any class, from four landmarks on. See docs/landmarks.md."""
    landmark_model: str = "mediapipe"
    """Without a file, the model that finds the landmarks: mediapipe, for faces, or one of another package."""
    landmark_model_file: OptionalFile = None
    """File that the landmark model is made from, such as MediaPipe's face_landmarker.task."""
    aligned: bool = False
    """Take the photographs whole, padded to a square, and do not crop to the object."""
    mattes: OptionalName = None
    """Where the mattes come from: mediapipe, which knows people; folder; alpha, the photographs' own channel;
    background, whatever differs from a solid background; none; or a matte model of another package. By
    default mediapipe, and with known cameras what the collection has."""
    matte_folder: OptionalFolder = None
    """With --mattes folder: where the mattes are, named like the photographs and of their size."""
    matte_model_file: OptionalFile = None
    """File that the matte model is made from, such as MediaPipe's selfie_segmenter.tflite."""
    background_color: OptionalColor = None
    """With --mattes background: its red, green and blue, 0 to 255; by default that of each
    photograph's edge."""
    focal: OptionalNumber = None
    """Focal length as a multiple of the crop's side: 2.1 suits portraits, 1.5 close snapshots, 3 and more a
    telephoto lens. By default 2.1, or that of --canonical-landmarks."""
    focal_mode: Literal["fixed", "shared", "per-image"] = "fixed"
    """fixed keeps --focal. shared and per-image start from it and estimate one focal length for all
    photographs, or one for each."""
    canonical_landmarks: OptionalFile = None
    """canonical_landmarks.json of another prepared folder: cameras are then fitted into its class frame, and
    nothing about the class is estimated. One photograph is enough."""
    views: OptionalCount = None
    """With known cameras: at most this many photographs of each object, evenly spread; by default all."""
    up: Axis | None = None
    """With known cameras: which way is up in their world; by default as usual for the form of the files."""
    forward: Axis | None = None
    """With known cameras: which way the objects look; by default as usual for the form of the files."""
    world_scale: OptionalNumber = None
    """With known cameras: units of the class frame for one of their world; by default so that what the
    cameras see fits in [−1, 1]³, and 1 for nerfstudio's."""
    workers: OptionalCount = None
    """Worker processes, of one thread each; by default one for each processor. With 1 there are none."""

    @property
    def matte_options(self) -> MatteOptions:
        """Return where the mattes come from; with known cameras, the default differs."""
        kind = self.mattes or MatteOptions.kind
        return MatteOptions(kind, self.matte_folder, self.background_color, self.matte_model_file)

    @property
    def asks_for_mattes(self) -> bool:
        """Return whether any option is about mattes."""
        return bool(self._given("mattes", "matte_folder", "matte_model_file", "background_color"))

    def flag(self, name: str) -> str:
        """Return an option as it is given on the command line."""
        value = getattr(self, name)
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
        return f"--{name.replace('_', '-')}" + ("" if value is True else f" {shown}")

    def check(self, known_cameras: bool) -> None:
        """Check the values, and whether they make sense together.

        Args:
            known_cameras: whether the cameras of `data` are known.

        Raises:
            UsageError: they do not, or a file that one of them names does not exist.
        """
        data, output = Path(self.data).resolve(), Path(self.output_dir).resolve()
        if data == output or data in output.parents or output in data.parents:
            raise UsageError(
                f"{self.output_dir}: overlaps with the photographs in {self.data}; choose one beside them"
            )
        self._check_numbers()
        self._check_files()
        self._check_belonging(known_cameras)
        if self.landmarks is not None and self._given("landmark_model", "landmark_model_file"):
            raise UsageError(f"{self.flag('landmarks')} and --landmark-model: leave one of them out")
        kind = self.matte_options.kind
        if self.matte_model_file is not None and kind in ("folder", "alpha", "background", "none"):
            raise UsageError(
                f"{self.flag('matte_model_file')}: --mattes {kind} uses no model; leave one of them out"
            )
        if self.canonical_landmarks is not None and self.focal_mode == "shared":
            raise UsageError(
                "--focal-mode shared: with --canonical-landmarks nothing is estimated that photographs have "
                "in common; choose fixed or per-image"
            )

    def _check_numbers(self) -> None:
        if self.size < 32 or self.size > 4096:
            raise UsageError(f"{self.flag('size')}: take from 32 to 4096 pixels")
        if self.focal is not None and not 0.2 <= self.focal <= 100:
            raise UsageError(f"{self.flag('focal')}: take from 0.2 to 100 crop sides; 2.1 suits portraits")
        if self.world_scale is not None and not 0 < self.world_scale < float("inf"):
            raise UsageError(f"{self.flag('world_scale')}: take a number above 0")
        for name in ("workers", "views"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UsageError(f"{self.flag(name)}: take at least 1")

    def _check_files(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if not isinstance(value, Path) or option.name in ("data", "output_dir"):
                continue
            if option.name in FOLDERS and not value.is_dir():
                raise UsageError(f"{self.flag(option.name)}: there is no such folder")
            if option.name not in FOLDERS and not value.is_file():
                raise UsageError(f"{self.flag(option.name)}: there is no such file")

    def _check_belonging(self, known_cameras: bool) -> None:
        strange = self._given(*(OF_PHOTOGRAPHS if known_cameras else OF_KNOWN_CAMERAS))
        if not strange:
            return
        flag = self.flag(strange[0])
        if known_cameras:
            raise UsageError(
                f"{flag}: the cameras of {self.data} are known and nothing is cropped; leave it out"
            )
        list_photographs(self.data, self.recursive)  # says so where there is no such folder at all
        raise UsageError(
            f"{flag}: goes with known cameras, and {self.data} holds photographs only; leave it out"
        )

    def _given(self, *names: str) -> list[str]:
        """Return those of the options that do not have their default values."""
        defaults: dict[str, Any] = {field.name: field.default for field in fields(self)}
        return [name for name in names if getattr(self, name) != defaults[name]]


NO_PART = ("data", "recursive", "output_dir", "workers", "shard")
"""Options that the result does not depend on; the photographs themselves count instead of `data`."""
USUAL_FOCAL = 2.1


@dataclass(frozen=True)
class Plan:
    """All that is known before the work begins."""

    photographs: list[Path]
    names: list[str]
    """What each photograph is called, see `listing.name_in`."""
    keys: list[str]
    """For each photograph: changes with its file and with whatever else its capture depends on."""
    capture: CaptureOne
    scheme: LandmarkScheme
    class_name: str
    focal: float
    """Focal length as a multiple of the crop's side."""
    options: dict[str, Any]
    """What the result depends on, by the option's name."""
    given: CanonicalModel | None = None
    """The class, where it exists already."""
    identity: Int[np.ndarray, " n"] | None = None
    """Whose photograph each is, where several may show one object."""
    left_out: list[Rejection] = field(default_factory=list)
    """What beside the photographs is in their folder."""
    found: FileLandmarks | None = None
    """The landmarks of a file, until `with_given_landmarks` has put them where captures find them."""

    @property
    def fingerprint(self) -> str:
        """Return a hash that changes whenever a photograph or an option that the result depends on does."""
        return hash_of_value([FORMAT, self.options])

    @classmethod
    def of(cls, config: PrepareConfig) -> "Plan":
        """List the photographs, and read what the options name.

        Raises:
            UsageError: an option's value makes no sense, or a file that it names cannot be used.
        """
        config.check(known_cameras=False)
        listing = list_folder(config.data, config.recursive, mattes=config.matte_folder)
        photographs, data = listing.photographs, Path(config.data)
        mattes = replace(config.matte_options, data=data)
        mattes.check(photographs)
        capture = CapturePhotograph(
            config.size,
            config.landmark_model,
            config.landmark_model_file,
            mattes,
            aligned=config.aligned,
            data=data,
        )
        found = None if config.landmarks is None else read_landmark_file(config.landmarks, photographs, data)
        scheme = capture.scheme if found is None else found.scheme
        given, focal = _read_canonical_landmarks(config.canonical_landmarks, scheme)
        identity = None if config.identity is None else read_identity_file(config.identity, photographs, data)
        options = {
            f"--{option.name.replace('_', '-')}": _content(getattr(config, option.name))
            for option in fields(config)
            if option.name not in NO_PART
        }
        faces = found is None and config.landmark_model == "mediapipe"
        class_name = config.class_name or ("faces" if faces else "objects")
        focal = focal if config.focal is None else config.focal
        names = names_in(data, photographs)
        stamps = _stamps(photographs, names, capture)
        options |= {
            "--class-name": class_name,
            "--focal": focal,
            "--mattes": config.matte_options.kind,
            "photographs": f"({len(photographs)}, content {hash_of_value(stamps)[:16]})",
        }
        keys = _keys(stamps, capture)
        left_out = [
            Rejection(printable(name_in(data, item.path)), item.reason, item.mend)
            for item in listing.left_out
        ]
        return cls(
            photographs, names, keys, capture, scheme, class_name, focal, options, given, identity, left_out,
            found,
        )  # fmt: skip

    def with_given_landmarks(self, parent: Path) -> "Plan":
        """Return the plan with a file's landmarks, and the crops that follow from them, in a folder on disk.

        The crops depend on all photographs together. The first process makes them for all shards: numbers
        that another machine would compute might differ in the last digit.

        Args:
            parent: where the folder belongs.
        """
        if self.found is None:
            return self
        assert isinstance(self.capture, CapturePhotograph)
        folder = parent / f"given-{self.fingerprint[:16]}"
        if not folder.exists():
            making = Path(tempfile.mkdtemp(prefix=".given-", dir=parent))
            crops: list[Crop | None] = [None] * len(self.photographs)
            if not self.capture.aligned:
                crops = crops_of_file_landmarks(
                    self.found, self.capture.size, self.focal, self.identity, self.given
                )
            write_given_landmarks(making, self.names, self.found.landmarks, self.found.confidence, crops)
            try:
                making.rename(folder)
            except OSError:
                shutil.rmtree(making)
                if not folder.exists():
                    raise
        capture = replace(self.capture, given=folder)
        keys = _keys(_stamps(self.photographs, self.names, capture), capture)
        return replace(self, keys=keys, capture=capture, found=None)


def _read_canonical_landmarks(
    path: Path | None, scheme: LandmarkScheme
) -> tuple[CanonicalModel | None, float]:
    """Read the model, and the focal length that belongs to it as a multiple of the crop's side."""
    if path is None:
        return None, USUAL_FOCAL
    value = read_json(path)
    try:
        model, focal = CanonicalModel.from_dict(value), float(value["focal"])
        names = value.get("names")
        if not 0.2 <= focal <= 100:
            raise ValueError(f"focal length {focal}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path}: not canonical landmarks ({error!r}); give canonical_landmarks.json of a prepared folder"
        ) from error
    own = None if scheme.names is None else list(scheme.names)
    if len(model.canonical) != scheme.count or (names and own and names != own):
        theirs, ours = (f" ({', '.join(map(str, some))})" if some else "" for some in (names, own))
        raise UsageError(
            f"{path}: has {len(model.canonical)} canonical landmarks{theirs} where the photographs have "
            f"{scheme.count} landmarks{ours}; give those of the same landmarks in the same order"
        )
    return model, focal


def _stamps(photographs: list[Path], names: list[str], capture: CapturePhotograph) -> list[str]:
    return [
        f"{_named(name, stamp)}|{capture.stamp(path)}"
        for path, name, stamp in zip(photographs, names, stamps_of(photographs), strict=True)
    ]


def _keys(stamps: list[str], capture: CapturePhotograph) -> list[str]:
    kind = hash_of_value([FORMAT, _described(capture)])
    return [hash_of_value([kind, stamp])[:24] for stamp in stamps]


def _named(name: str, stamp: str) -> str:
    return f"{os.fsencode(name).hex()}|{stamp}"


def _content(value: Any) -> Any:
    """Return an option's value; for a path, text that shows whether another machine has the same one."""
    if not isinstance(value, Path):
        return value
    if value.is_dir():
        stamps = [_named(path.name, stamp_of(path)) for path in sorted(value.iterdir()) if path.is_file()]
        return f"(content {hash_of_value(stamps)[:16]})"
    return f"(content {hash_of([value.read_bytes()])[:16]})"


def _described(value: Any) -> Any:
    """Return what all captures depend on. A folder's files count one by one, in the captures' own stamps."""
    if is_dataclass(value):
        return {part.name: _described(getattr(value, part.name)) for part in fields(value)}
    return "(folder)" if isinstance(value, Path) and value.is_dir() else _content(value)
