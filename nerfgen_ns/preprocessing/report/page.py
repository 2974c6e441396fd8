"""`report.html`: a prepared folder to look at before training, in one file that needs no network."""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from nerfgen_ns.cameras.projection import Cameras, project
from nerfgen_ns.dataset_format.columns import Overview, frames_of, open_landmarks, read_overview
from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.report.crop_statistics import crop_statistics, open_image, same_photograph
from nerfgen_ns.preprocessing.report.preflight import Concern, preflight
from nerfgen_ns.utils.files import read_json, write_text
from nerfgen_ns.utils.html_pages import Histogram, histogram, page_template
from nerfgen_ns.utils.images import data_url

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
    """What a matte leaves out, as an image of one color whose opacity tells how much it does."""
    matte = open_image(path).convert("L")
    matte.thumbnail((MATTE_SIDE, MATTE_SIDE), Image.Resampling.BOX)
    tint = Image.new("RGBA", matte.size, TINT)
    tint.putalpha(matte.point(lambda value: int((255 - value) * TINT_STRENGTH)))
    return _data_uri(tint, MATTE_QUALITY)


def _data_uri(image: Image.Image, quality: int) -> str:
    return data_url(image, "WEBP", quality=quality, alpha_quality=quality, method=4)


PAGE = "report.html"
MOST_PICTURED = 240
"""More photographs than this make the page slow and large."""
MOST_REASONS, MOST_NAMES = 40, 60
"""So many kinds of rejection are listed, and so many names under each; report.json has them all."""


@dataclass(frozen=True)
class Card:
    """One pictured photograph."""

    place: int
    source: str
    identity: int
    width: int
    height: int
    error: float | None
    yaw: float
    pitch: float
    roll: float
    focal: float
    picture: str
    tint: str | None
    overlay: Overlay | None
    tags: list[str] = field(default_factory=list)
    """Names of the concerns that it is part of."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Chart:
    """A histogram and what it is of."""

    key: str
    title: str
    unit: str
    histogram: Histogram


@dataclass(frozen=True)
class RejectedGroup:
    """The photographs that were rejected, or files that were left out, for one reason."""

    reason: str
    mend: str
    names: list[str]


@dataclass(frozen=True)
class Inspection:
    """What a look at all crops of a prepared folder tells."""

    overview: Overview
    same: Int[np.ndarray, "n"]
    """For each photograph its near-duplicate; −1: none."""
    mirrored: Int[np.ndarray, "n"]
    """For each photograph one that is nearly its mirror image; −1: none."""
    concerns: list[Concern]


def inspect_folder(
    folder: Path, reasons: Sequence[str] = (), median_error: float | None = None
) -> Inspection:
    """Look at a prepared folder before training.

    Args:
        reasons: why each of the rejected photographs was.
        median_error: median reprojection error, as a part of the object's extent.

    Raises:
        UsageError: the folder is not a prepared one, or a file of it is missing or damaged.
    """
    overview = read_overview(folder)
    if len(overview) == 0:
        raise UsageError(f"{folder / 'transforms.json'}: has no frames; prepare the folder again")
    statistics = crop_statistics(folder, overview)
    same = same_photograph(statistics.thumbnails)
    mirrored = same_photograph(statistics.thumbnails, mirrored=True)
    concerns = preflight(overview, statistics, same, mirrored, reasons, median_error)
    return Inspection(overview, same, mirrored, concerns)


def write_report_page(folder: Path, inspection: Inspection | None = None) -> Path:
    """Write `report.html` into a prepared folder, from what is in the folder.

    A folder that `nerfgen prepare` did not make will do: without landmarks, mattes or a report, the page has
    nothing of them.

    Args:
        inspection: where it has been made already.

    Raises:
        UsageError: the folder is not a prepared one, or a file of it is missing or damaged.
        NerfgenError: the page cannot be written.
    """
    folder = Path(folder)
    report = _read_optional(folder / "report.json")
    rejected, left_out = report.get("rejected", []), report.get("left_out", [])
    reasons = [entry["reason"] for entry in rejected]
    inspection = inspection or inspect_folder(folder, reasons, report.get("median_error"))
    overview = inspection.overview
    write_text(
        folder / PAGE,
        page_template("nerfgen_ns.preprocessing.report", "report.html.j2").render(
            title=overview.class_name,
            overview=overview,
            rejected=len(rejected),
            rejected_groups=_rejected_groups(rejected),
            left_out=len(left_out),
            left_out_groups=_rejected_groups(left_out),
            reasons=len(set(reasons)),
            most_names=MOST_NAMES,
            identities=len(np.unique(overview.identity)),
            median_error=_number(np.nanmedian(overview.error)) if np.isfinite(overview.error).any() else None,
            median_of_extent=report.get("median_error"),
            yaw_range=np.quantile(overview.angles[:, 0], [0.05, 0.95]),
            concerns=inspection.concerns,
            charts=_charts(overview),
            cards=_cards(folder, inspection, report.get("notes", {})),
        ),
    )
    return folder / PAGE


def _read_optional(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.exists() else {}


def _charts(overview: Overview) -> list[Chart]:
    yaw, pitch, _ = overview.angles.T
    charts = [
        ("yaw", "Yaw", "°", yaw),
        ("pitch", "Pitch", "°", pitch),
        ("focal", "Focal length", " sides", overview.focal),
        ("error", "Reprojection error", " px", overview.error),
    ]
    drawn = [(key, title, unit, histogram(values)) for key, title, unit, values in charts]
    return [Chart(key, title, unit, bars) for key, title, unit, bars in drawn if bars is not None]


def _rejected_groups(rejected: list[dict[str, str]]) -> list[RejectedGroup]:
    """The rejected, or what was left out, by reason, the most common first."""
    common = Counter((entry["reason"], entry["mend"]) for entry in rejected).most_common(MOST_REASONS)
    names: dict[tuple[str, str], list[str]] = {kind: [] for kind, _ in common}
    for entry in rejected:
        names.get((entry["reason"], entry["mend"]), []).append(entry["source"])
    return [RejectedGroup(*kind, sources) for kind, sources in names.items()]


def _cards(folder: Path, inspection: Inspection, notes: dict[str, list[str]]) -> list[Card]:
    """The pictured photographs, the worst first."""
    overview, concerns = inspection.overview, inspection.concerns
    concerned = [place for concern in concerns for place in concern.photographs]
    concerned += [place for place, source in enumerate(overview.source) if source in notes]
    pictured = set(select_pictured(overview.error, concerned, MOST_PICTURED).tolist())
    tags: dict[int, list[str]] = {place: [] for place in pictured}
    for concern in concerns:
        for place in pictured.intersection(concern.photographs):
            tags[place].append(concern.name)
    canonical = _read_optional(folder / "canonical_landmarks.json")
    shape = ClassShape.of(canonical) if canonical else None
    landmarks = open_landmarks(folder)

    def card(place: int, frame: dict[str, Any]) -> Card:
        if landmarks is not None:
            frame["landmarks"] = landmarks[place].tolist()
        source, matte = overview.source[place], overview.matte[place]
        remarks = list(notes.get(source, []))
        for tag, others in (
            ("near-duplicates", inspection.same),
            ("mirrored duplicates", inspection.mirrored),
        ):
            if tag in tags[place]:
                remarks.append(f"like {overview.source[others[place]]}")
        yaw, pitch, roll = overview.angles[place].tolist()
        return Card(
            place=place,
            source=source,
            identity=int(overview.identity[place]),
            width=frame["w"],
            height=frame["h"],
            error=_number(overview.error[place]),
            yaw=yaw,
            pitch=pitch,
            roll=roll,
            focal=float(overview.focal[place]),
            picture=picture(folder / overview.image[place]),
            tint=matte_tint(folder / matte) if matte else None,
            overlay=overlay(frame, shape),
            tags=tags[place],
            notes=remarks,
        )

    # Most of a card's time goes into reading and writing images, which threads do side by side.
    places, frames = zip(*frames_of(folder / "transforms.json", pictured), strict=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        cards = list(threads.map(card, places, frames))
    return sorted(cards, key=lambda card: -1.0 if card.error is None else card.error, reverse=True)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
