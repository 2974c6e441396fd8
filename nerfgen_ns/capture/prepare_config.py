"""What `nerfgen prepare` is asked for: its options, checked against each other before any work."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from nerfgen_ns.capture.known_camera_files import Axis
from nerfgen_ns.capture.listing import list_photographs
from nerfgen_ns.capture.matte_sources import MatteOptions
from nerfgen_ns.errors import UsageError

OF_PHOTOGRAPHS = (
    "recursive", "size", "landmarks", "landmark_model", "landmark_model_file", "aligned", "focal",
    "focal_mode", "canonical_landmarks",
)  # fmt: skip
"""Options that mean nothing where the cameras are known."""
OF_KNOWN_CAMERAS = ("views", "up", "forward", "world_scale")
"""Options that mean nothing where they are not."""
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
    """Prepared folder to make. What an interrupted run has done there is taken up again."""
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
    """Whether --focal is kept, or is where the estimate of one for all photographs, or of one for each,
    starts."""
    canonical_landmarks: OptionalFile = None
    """canonical_landmarks.json of another prepared folder: cameras are then fitted into its class frame, and
    nothing about the class is estimated. One photograph is enough."""
    views: OptionalCount = None
    """With known cameras: so many photographs of each object, evenly spread; by default all."""
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
        """Where the mattes come from, known cameras aside."""
        kind = self.mattes or MatteOptions.kind
        return MatteOptions(kind, self.matte_folder, self.background_color, self.matte_model_file)

    @property
    def asks_for_mattes(self) -> bool:
        """Whether any option says something of mattes."""
        return bool(self._given("mattes", "matte_folder", "matte_model_file", "background_color"))

    def flag(self, name: str) -> str:
        """An option as it is given on the command line."""
        value = getattr(self, name)
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
        return f"--{name.replace('_', '-')}" + ("" if value is True else f" {shown}")

    def check(self, known_cameras: bool) -> None:
        """Look at the values, and at whether they make sense together.

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
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, Path) or field.name in ("data", "output_dir"):
                continue
            if field.name in FOLDERS and not value.is_dir():
                raise UsageError(f"{self.flag(field.name)}: there is no such folder")
            if field.name not in FOLDERS and not value.is_file():
                raise UsageError(f"{self.flag(field.name)}: there is no such file")

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
        """Those of the options that do not have their default values."""
        defaults: dict[str, Any] = {field.name: field.default for field in fields(self)}
        return [name for name in names if getattr(self, name) != defaults[name]]
