"""The plan of work that follows from what `nerfgen prepare` is asked for."""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from nerfgen_ns.capture.capture_pool import CaptureOne
from nerfgen_ns.capture.crops import Crop
from nerfgen_ns.capture.given_landmarks import write_given_landmarks
from nerfgen_ns.capture.identity_file import read_identity_file
from nerfgen_ns.capture.landmark_crops import crops_of_file_landmarks
from nerfgen_ns.capture.landmark_files import FileLandmarks, read_landmark_file
from nerfgen_ns.capture.landmark_scheme import LandmarkScheme
from nerfgen_ns.capture.listing import list_folder, name_in, names_in
from nerfgen_ns.capture.photograph_capture import FORMAT, CapturePhotograph
from nerfgen_ns.capture.photographs import stamp_of, stamps_of
from nerfgen_ns.capture.prepare_config import PrepareConfig
from nerfgen_ns.capture.prepare_report import Rejection, printable
from nerfgen_ns.capture.shape_basis import CanonicalModel
from nerfgen_ns.errors import UsageError
from nerfgen_ns.files import read_json

NO_PART = ("data", "recursive", "output_dir", "workers", "shard")
"""Options that the result does not depend on; the photographs themselves are looked at instead of `data`."""
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
    identity: Int[np.ndarray, "n"] | None = None
    """Whose photograph each is, where several may show one object."""
    left_out: list[Rejection] = field(default_factory=list)
    """What beside the photographs is in their folder."""
    found: FileLandmarks | None = None
    """The landmarks of a file, until `with_given_landmarks` has put them where captures find them."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever a photograph or an option that the result depends on does."""
        return _digest([FORMAT, self.options])

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
            f"--{field.name.replace('_', '-')}": _content(getattr(config, field.name))
            for field in fields(config)
            if field.name not in NO_PART
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
            "photographs": f"({len(photographs)}, content {_digest(stamps)[:16]})",
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
        """The plan with the landmarks of a file and the crops that follow from them in a folder on disk.

        The crops depend on all photographs together. Whoever comes first makes them, for all shards: numbers
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
    """The model, and the focal length that goes with it as a multiple of the crop's side."""
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
    kind = _digest([FORMAT, _described(capture)])
    return [_digest([kind, stamp])[:24] for stamp in stamps]


def _named(name: str, stamp: str) -> str:
    return f"{os.fsencode(name).hex()}|{stamp}"


def _content(value: Any) -> Any:
    """An option's value; of a file or a folder, what tells whether it is the same one on another machine."""
    if not isinstance(value, Path):
        return value
    if value.is_dir():
        stamps = [_named(path.name, stamp_of(path)) for path in sorted(value.iterdir()) if path.is_file()]
        return f"(content {_digest(stamps)[:16]})"
    return f"(content {hashlib.sha256(value.read_bytes()).hexdigest()[:16]})"


def _described(value: Any) -> Any:
    """What all captures depend on. A folder's files count one by one, each for its photograph's capture."""
    if is_dataclass(value):
        return {field.name: _described(getattr(value, field.name)) for field in fields(value)}
    return "(folder)" if isinstance(value, Path) and value.is_dir() else _content(value)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
