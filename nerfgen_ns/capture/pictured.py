"""The photographs that a report pictures: which of them, and each with its overlays, ready to be drawn."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from nerfgen_ns.capture.cameras import Cameras, project
from nerfgen_ns.capture.crop_statistics import open_image

PICTURE_SIDE, MATTE_SIDE = 192, 96
PICTURE_QUALITY, MATTE_QUALITY = 65, 40
MOST_POINTS = 120
"""Of more landmarks, an even selection is drawn."""
TINT = (62, 78, 190)
TINT_STRENGTH = 0.6


@dataclass(frozen=True)
class ClassShape:
    """The landmarks of a class in three dimensions."""

    mean: Float[np.ndarray, "m 3"]
    basis: Float[np.ndarray, "k m 3"]
    """What a photograph's `coefficients` multiply; without any, k is 0."""

    @classmethod
    def of(cls, value: dict[str, Any]) -> "ClassShape":
        """Read from the contents of canonical_landmarks.json."""
        mean = np.array(value["landmarks"], dtype=np.float64).reshape(-1, 3)
        return cls(mean, np.array(value.get("basis") or [], dtype=np.float64).reshape(-1, *mean.shape))


@dataclass(frozen=True)
class Overlay:
    """Paths in SVG's notation, in pixels of the crop."""

    landmarks: str
    reprojections: str
    differences: str


def select_pictured(
    error: Float[np.ndarray, "n"], concerned: Sequence[int], most: int
) -> Int[np.ndarray, "pictured"]:
    """Places of at most `most` photographs: the worst, some that raise concerns, and an even selection.

    Args:
        error: reprojection error; NaN, where there is none, is not among the worst.
    """
    if len(error) <= most:
        return np.arange(len(error))
    third = most // 3
    worst = np.argsort(-np.nan_to_num(error, nan=-1.0), kind="stable")[:third]
    chosen = set(worst[np.isfinite(error[worst])].tolist())
    chosen |= set(_evenly([place for place in dict.fromkeys(concerned) if place not in chosen], third))
    rest = [place for place in range(len(error)) if place not in chosen]
    return np.array(sorted(chosen | set(_evenly(rest, most - len(chosen)))))


def _evenly(places: Sequence[int], most: int) -> list[int]:
    if len(places) <= most:
        return list(places)
    return [places[at] for at in np.linspace(0, len(places) - 1, most).round().astype(int)]


def overlay(frame: dict[str, Any], shape: ClassShape | None) -> Overlay | None:
    """Landmarks of a frame and where its camera projects the canonical ones; None without landmarks."""
    landmarks = np.array(frame.get("landmarks") or [], dtype=np.float64)
    if landmarks.size == 0:
        return None
    # What is missing is null or NaN in the file, and NaN here.
    landmarks = landmarks.reshape(len(landmarks), -1)[:, :2]
    shown = np.unique(
        np.linspace(0, len(landmarks) - 1, min(len(landmarks), MOST_POINTS)).round().astype(int)
    )
    reprojections = np.full_like(landmarks, np.nan)
    if shape is not None and len(shape.mean) == len(landmarks):
        coefficients = np.array(frame.get("coefficients") or np.zeros(len(shape.basis)), dtype=np.float64)
        points = shape.mean + np.tensordot(coefficients, shape.basis, axes=1)
        reprojections = project(_camera(frame), points)[0]
    ends = np.stack([landmarks, reprojections], axis=1)[shown]
    return Overlay(landmarks=_path(ends[:, :1]), reprojections=_path(ends[:, 1:]), differences=_path(ends))


def _camera(frame: dict[str, Any]) -> Cameras:
    pose = np.array(frame["transform_matrix"], dtype=np.float64)
    rotation = pose[:3, :3].T
    return Cameras(
        rotation[None],
        -(rotation @ pose[:3, 3])[None],
        np.array([frame["fl_x"]]),
        np.array([[frame["cx"], frame["cy"]]]),
    )


def _path(strokes: Float[np.ndarray, "strokes points 2"]) -> str:
    """Strokes from point to point; one of a single point is a dot, as wide as the pen."""
    parts = []
    for stroke in strokes[np.isfinite(strokes).all(axis=(1, 2))]:
        x, y = stroke[0]
        line = "".join(f"L{u:.4g} {v:.4g}" for u, v in stroke[1:])
        parts.append(f"M{x:.4g} {y:.4g}{line or 'h0'}")
    return "".join(parts)


def picture(path: Path) -> str:
    """A small copy of an image as a data URI."""
    image = open_image(path).convert("RGB")
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    return _data_uri(image, PICTURE_QUALITY)


def matte_tint(path: Path) -> str:
    """What a matte leaves out, as an image of one colour whose opacity tells how much it does."""
    matte = open_image(path).convert("L")
    matte.thumbnail((MATTE_SIDE, MATTE_SIDE), Image.Resampling.BOX)
    tint = Image.new("RGBA", matte.size, TINT)
    tint.putalpha(matte.point(lambda value: int((255 - value) * TINT_STRENGTH)))
    return _data_uri(tint, MATTE_QUALITY)


def _data_uri(image: Image.Image, quality: int) -> str:
    written = io.BytesIO()
    image.save(written, "WEBP", quality=quality, alpha_quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(written.getvalue()).decode()}"
