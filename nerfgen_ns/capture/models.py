"""Landmark and matte models: what nerfgen asks of one, and how those of other packages are found.

A package offers a model as an entry point of the group `nerfgen.landmark_models` or `nerfgen.matte_models`: a
class, or anything that makes a model when called. See docs/plugins.md.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from nerfgen_ns.capture.face_mesh import FACE_MESH
from nerfgen_ns.capture.landmark_scheme import LandmarkScheme
from nerfgen_ns.capture.photographs import RejectedError
from nerfgen_ns.errors import NerfgenError, UsageError

LANDMARK_MODELS = "nerfgen.landmark_models"
MATTE_MODELS = "nerfgen.matte_models"

Photograph = UInt8[np.ndarray, "height width 3"]


class Landmarks(NamedTuple):
    """What a landmark model finds in a photograph."""

    points: Float[np.ndarray, "m dimensions"]
    """Pixels, (0, 0) being the upper left corner; where the model's scheme has depth, a third coordinate is
    the relative depth in pixels, smaller being nearer. NaN where a landmark was not found."""
    confidence: Float[np.ndarray, "m"] | None = None
    """In [0, 1]; None: 1 for each that was found."""
    notes: Sequence[str] = ()
    """Remarks on the photograph for a person to read."""


@runtime_checkable
class LandmarkModel(Protocol):
    """Finds the landmarks of the one object that a photograph shows."""

    scheme: LandmarkScheme
    """The landmarks it finds. An attribute of the class, so that it is known before a model is made."""

    def __call__(self, photograph: Photograph) -> Landmarks:
        """Landmarks of an upright photograph; a RejectedError where it does not show the object."""
        ...


@runtime_checkable
class MatteModel(Protocol):
    """Tells the object of a photograph from its background."""

    def __call__(self, photograph: Photograph) -> Float[np.ndarray, "height width"]:
        """Matte in [0, 1] of a photograph, or of a part of one."""
        ...


class MediaPipeLandmarks:
    """MediaPipe's face mesh as a landmark model."""

    scheme = FACE_MESH

    def __init__(self, model: Path | None = None) -> None:
        from nerfgen_ns.capture.mediapipe_models import LandmarkModel as FaceMesh

        self._face_mesh = FaceMesh(model)

    def __call__(self, photograph: Photograph) -> Landmarks:
        """Landmarks of the largest and most central face.

        Raises:
            RejectedError: no face was found.
        """
        points, notes = self._face_mesh(photograph)
        return Landmarks(points, notes=notes)


def model_names(group: str) -> list[str]:
    """Names of the models that the installed packages offer in an entry point group."""
    return sorted({entry.name for entry in entry_points(group=group)})


def landmark_scheme(name: str) -> LandmarkScheme:
    """The landmarks that the landmark model `name` finds; the model is not made.

    Raises:
        UsageError: there is no such model.
        NerfgenError: it cannot be loaded, or has no scheme.
    """
    scheme = getattr(_load(LANDMARK_MODELS, name), "scheme", None)
    if not isinstance(scheme, LandmarkScheme):
        raise NerfgenError(f"landmark model {name!r}: has no attribute `scheme` with a LandmarkScheme")
    return scheme


def open_landmark_model(name: str, file: Path | None = None) -> LandmarkModel:
    """Make the landmark model `name`, from a model file where one is given.

    What the model returns is checked.

    Raises:
        UsageError: there is no such model.
        NerfgenError: it cannot be loaded or made, or finds something that landmarks cannot be.
    """
    return _CheckedLandmarkModel(name, landmark_scheme(name), _make(LANDMARK_MODELS, name, file))


class _CheckedLandmarkModel:
    """A landmark model whose answers keep what its scheme promises; their confidence is always an array."""

    def __init__(self, name: str, scheme: LandmarkScheme, model: Callable[[Photograph], Any]) -> None:
        self.scheme = scheme
        self._what = f"landmark model {name!r}"
        self._model = model

    def __call__(self, photograph: Photograph) -> Landmarks:
        found = _call(self._what, self._model, photograph)
        if not isinstance(found, Landmarks):
            raise NerfgenError(f"{self._what}: returned a {type(found).__name__} and no Landmarks")
        points = np.asarray(found.points, dtype=np.float64)
        shape = (self.scheme.count, 3 if self.scheme.has_depth else 2)
        if points.shape != shape:
            raise NerfgenError(
                f"{self._what}: found {points.shape} numbers where its scheme promises {shape}"
            )
        known = np.isfinite(points).all(axis=1)
        confidence = known if found.confidence is None else np.where(known, found.confidence, 0.0)
        if not ((confidence >= 0) & (confidence <= 1)).all():
            raise NerfgenError(f"{self._what}: its confidence does not lie in [0, 1]")
        return Landmarks(np.where(known[:, None], points, np.nan), confidence.astype(np.float64), found.notes)


def open_matte_model(name: str, file: Path | None = None) -> MatteModel:
    """Make the matte model `name`, from a model file where one is given.

    What the model returns is checked.

    Raises:
        UsageError: there is no such model.
        NerfgenError: it cannot be loaded or made, or returns something that a matte cannot be.
    """
    model = _make(MATTE_MODELS, name, file)

    def checked(photograph: Photograph) -> Float[np.ndarray, "height width"]:
        matte = np.asarray(_call(f"matte model {name!r}", model, photograph))
        if matte.shape != photograph.shape[:2] or not np.isfinite(matte).all():
            raise NerfgenError(
                f"matte model {name!r}: its matte of shape {matte.shape} is not one number for each pixel of "
                f"{photograph.shape[:2]}"
            )
        return np.clip(matte, 0.0, 1.0)

    return checked


def _load(group: str, name: str) -> Callable[..., Any]:
    found = [entry for entry in entry_points(group=group) if entry.name == name]
    if not found:
        raise UsageError(
            f"{name!r}: no installed package offers a model of this name in {group!r}; "
            f"there are: {', '.join(model_names(group)) or 'none, install nerfgen-ns again'}"
        )
    try:
        loaded = found[0].load()
    except Exception as error:
        raise NerfgenError(f"{found[0].value}: the model {name!r} cannot be loaded ({error})") from error
    if not callable(loaded):
        raise NerfgenError(f"{found[0].value}: the model {name!r} is nothing that can be called")
    return loaded  # type: ignore[no-any-return]


def _make(group: str, name: str, file: Path | None) -> Callable[[Photograph], Any]:
    make = _load(group, name)
    try:
        model = make() if file is None else make(file)
    except NerfgenError:
        raise
    except Exception as error:
        raise NerfgenError(f"the model {name!r} of {group!r} cannot be made ({error})") from error
    return model  # type: ignore[no-any-return]


def _call(what: str, model: Callable[[Photograph], Any], photograph: Photograph) -> Any:
    try:
        return model(photograph)
    except (NerfgenError, RejectedError):
        raise
    except Exception as error:
        raise NerfgenError(f"{what}: failed with {type(error).__name__}: {error}") from error
