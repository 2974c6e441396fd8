"""The result of `nerfgen prepare` for a person: lines of text, `report.json` and `report.html`.

The page shows a prepared folder before training, in one file that needs no network.
"""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from nerfgen_ns.cameras.projection import project
from nerfgen_ns.dataset_format.columns import Overview, open_landmarks, read_overview
from nerfgen_ns.dataset_format.frame import Frame
from nerfgen_ns.dataset_format.transforms import stream_frames, transforms_path
from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.report.preflight import (
    Concern,
    crop_statistics,
    open_image,
    preflight,
    same_photograph,
)
from nerfgen_ns.utils.files import read_json, write_json, write_text
from nerfgen_ns.utils.html_pages import Histogram, histogram, page_template
from nerfgen_ns.utils.images import data_url
from nerfgen_ns.utils.spacing import evenly_spaced

PICTURE_SIDE, MATTE_SIDE = 192, 96
PICTURE_QUALITY, MATTE_QUALITY = 65, 40
MOST_POINTS = 120
"""If there are more landmarks, an even selection is drawn."""
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
        """Read the shape from the contents of canonical_landmarks.json."""
        mean = np.array(value["landmarks"], dtype=np.float64).reshape(-1, 3)
        return cls(mean, np.array(value.get("basis") or [], dtype=np.float64).reshape(-1, *mean.shape))

    def points_of(self, frame: Frame) -> Float[np.ndarray, "m 3"]:
        """Return the landmarks of a photograph's own shape."""
        coefficients = frame.coefficients
        if coefficients is None or len(coefficients) == 0:
            return self.mean
        return self.mean + np.tensordot(coefficients, self.basis, axes=1)


@dataclass(frozen=True)
class Overlay:
    """Paths in SVG's notation, in pixels of the crop."""

    landmarks: str
    reprojections: str
    differences: str


def select_pictured(
    error: Float[np.ndarray, " n"], concerned: Sequence[int], most: int
) -> Int[np.ndarray, " pictured"]:
    """Select places of at most `most` photographs: the worst, some with concerns, and an even selection.

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
    return [places[at] for at in evenly_spaced(len(places), most)]


def overlay(
    frame: Frame, landmarks: Float[np.ndarray, "m d"] | None, shape: ClassShape | None
) -> Overlay | None:
    """Draw landmarks and the frame's projections of the canonical ones; return None without landmarks.

    Args:
        landmarks: in pixels, x and y first; NaN where one is missing.
    """
    if landmarks is None or landmarks.size == 0:
        return None
    landmarks = landmarks[:, :2]
    shown = evenly_spaced(len(landmarks), MOST_POINTS)
    reprojections = np.full_like(landmarks, np.nan)
    if shape is not None and len(shape.mean) == len(landmarks):
        reprojections = project(frame.camera, shape.points_of(frame))[0]
    ends = np.stack([landmarks, reprojections], axis=1)[shown]
    return Overlay(landmarks=_path(ends[:, :1]), reprojections=_path(ends[:, 1:]), differences=_path(ends))


def _path(strokes: Float[np.ndarray, "strokes points 2"]) -> str:
    """Draw strokes from point to point; a stroke of one point is a dot, as wide as the pen."""
    parts = []
    for stroke in strokes[np.isfinite(strokes).all(axis=(1, 2))]:
        x, y = stroke[0]
        line = "".join(f"L{u:.4g} {v:.4g}" for u, v in stroke[1:])
        parts.append(f"M{x:.4g} {y:.4g}{line or 'h0'}")
    return "".join(parts)


def picture(path: Path) -> str:
    """Return a small copy of an image as a data URI."""
    image = open_image(path).convert("RGB")
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    return _data_uri(image, PICTURE_QUALITY)


def matte_tint(path: Path) -> str:
    """Return what a matte leaves out, as an image of one color whose opacity shows how much."""
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
"""How many kinds of rejection are listed, and how many names for each; report.json has them all."""


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
    """A histogram and what it shows."""

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
    """What all crops of a prepared folder show."""

    overview: Overview
    same: Int[np.ndarray, " n"]
    """For each photograph its near-duplicate; −1: none."""
    mirrored: Int[np.ndarray, " n"]
    """For each photograph one that is nearly its mirror image; −1: none."""
    concerns: list[Concern]


def inspect_folder(
    folder: Path, reasons: Sequence[str] = (), median_error: float | None = None
) -> Inspection:
    """Inspect a prepared folder before training.

    Args:
        reasons: why each of the rejected photographs was rejected.
        median_error: median reprojection error, as a part of the object's extent.

    Raises:
        UsageError: the folder is not a prepared one, or a file of it is missing or damaged.
    """
    overview = read_overview(folder)
    if len(overview) == 0:
        raise UsageError(f"{transforms_path(folder)}: has no frames; prepare the folder again")
    statistics = crop_statistics(folder, overview)
    same = same_photograph(statistics.thumbnails)
    mirrored = same_photograph(statistics.thumbnails, mirrored=True)
    concerns = preflight(overview, statistics, same, mirrored, reasons, median_error)
    return Inspection(overview, same, mirrored, concerns)


def write_report_page(folder: Path, inspection: Inspection | None = None) -> Path:
    """Write `report.html` into a prepared folder, from what is in the folder.

    The folder may come from another program than `nerfgen prepare`. Landmarks, mattes or a report that it
    lacks are left out of the page.

    Args:
        inspection: of the folder, if it has been made already.

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
    """Group the rejected, or what was left out, by reason, the most common first."""
    common = Counter((entry["reason"], entry["mend"]) for entry in rejected).most_common(MOST_REASONS)
    names: dict[tuple[str, str], list[str]] = {kind: [] for kind, _ in common}
    for entry in rejected:
        names.get((entry["reason"], entry["mend"]), []).append(entry["source"])
    return [RejectedGroup(*kind, sources) for kind, sources in names.items()]


def _cards(folder: Path, inspection: Inspection, notes: dict[str, list[str]]) -> list[Card]:
    """Return the cards of the pictured photographs, the worst first."""
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

    def card(place: int, frame: Frame) -> Card:
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
            width=frame.w,
            height=frame.h,
            error=_number(overview.error[place]),
            yaw=yaw,
            pitch=pitch,
            roll=roll,
            focal=float(overview.focal[place]),
            picture=picture(folder / overview.image[place]),
            tint=matte_tint(folder / matte) if matte else None,
            overlay=overlay(frame, frame.landmarks if landmarks is None else landmarks[place], shape),
            tags=tags[place],
            notes=remarks,
        )

    # Most of a card's time goes into reading and writing images, which threads do in parallel.
    places, frames = zip(*stream_frames(folder, pictured), strict=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        cards = list(threads.map(card, places, frames))
    return sorted(cards, key=lambda card: -1.0 if card.error is None else card.error, reverse=True)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


MOST_REASONS_SHOWN, MOST_NAMES_SHOWN, MOST_NOTES_SHOWN = 12, 5, 5
"""How many of each are printed; report.json and report.html have more."""


@dataclass(frozen=True)
class Rejection:
    """A photograph that was not used."""

    source: str
    """Name of the file."""
    reason: str
    """Why it was not used."""
    mend: str
    """What to do about it."""


@dataclass
class PrepareReport:
    """The result for the photographs; `report.json` holds the same."""

    path: Path
    """The report file."""
    accepted: int
    """Number of frames."""
    identities: int
    """Number of objects that they show."""
    rejected: list[Rejection]
    """The photographs that were not used."""
    median_error: float | None = None
    """Median over the photographs of the root mean square reprojection error, as a part of the object's
    extent (see `LandmarkScheme.extent`); None where the cameras do not come from landmarks."""
    notes: dict[str, list[str]] = field(default_factory=dict)
    """Remarks on photographs that were used, by file name."""
    concerns: list[Concern] = field(default_factory=list)
    """What a person should know before training."""
    left_out: list[Rejection] = field(default_factory=list)
    """The files and folders beside the photographs that were not treated as photographs."""

    @property
    def page(self) -> Path:
        """Return the path of the report to look at."""
        return self.path.with_name(PAGE)

    def write(self, path: Path, fingerprint: str) -> None:
        """Write it to `path`, with the fingerprint of its photographs and options."""
        value = {**asdict(self), "fingerprint": fingerprint}
        value.pop("path")
        write_json(path, value)

    @classmethod
    def read(cls, path: Path, fingerprint: str) -> "PrepareReport | None":
        """Read the report at `path`; return None if it does not have this fingerprint."""
        try:
            value = read_json(path)
            if value.pop("fingerprint") != fingerprint:
                return None
            for name in ("rejected", "left_out"):
                value[name] = [Rejection(**entry) for entry in value.get(name, [])]
            value["concerns"] = [
                Concern(**entry | {"photographs": tuple(entry["photographs"])}) for entry in value["concerns"]
            ]
            return cls(path, **value)
        except (UsageError, AttributeError, KeyError, TypeError):
            return None


def summary(report: PrepareReport) -> list[str]:
    """Say in a few lines, with rich's markup, what happened to the photographs."""
    from rich.markup import escape

    objects = f" of {report.identities} objects" if report.identities < report.accepted else ""
    left_out = f", {len(report.left_out)} left out" if report.left_out else ""
    counts = f"[bold]{report.accepted}[/bold] photographs{objects} accepted, {len(report.rejected)} rejected"
    lines = [f"{counts}{left_out}"]
    lines += lines_of_unused(report.rejected, report.left_out)
    notes = [f"{source}: {note}" for source, several in report.notes.items() for note in several]
    lines += [f"  [yellow]note:[/yellow] {escape(note)}" for note in notes[:MOST_NOTES_SHOWN]]
    if len(notes) > MOST_NOTES_SHOWN:
        lines.append(f"  and {len(notes) - MOST_NOTES_SHOWN} more notes, see the report")
    if report.median_error is not None:
        lines.append(f"median reprojection error {100 * report.median_error:.2f} % of the object's extent")
    for concern in report.concerns:
        lines.append(f"[yellow]warning:[/yellow] {escape(f'{concern.text} {concern.mend}')}")
    return [*lines, escape(f"look at it: {report.page}")]


def lines_of_unused(rejected: Sequence[Rejection], left_out: Sequence[Rejection]) -> list[str]:
    """Say why files are not used, with rich's markup: first those rejected, then those left out."""
    from rich.markup import escape

    lines = [*by_reason(rejected), *(f"left out: {line}" for line in by_reason(left_out))]
    return [escape(f"  {line}") for line in lines]


def by_reason(entries: Sequence[Rejection]) -> list[str]:
    """Return a line with names for each reason, the most common first; not all if there are many."""
    named: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        named.setdefault((entry.reason, entry.mend), []).append(_on_one_line(entry.source))
    kinds = sorted(named.items(), key=lambda kind: -len(kind[1]))
    lines = []
    for (reason, mend), names in kinds[:MOST_REASONS_SHOWN]:
        more = f" and {len(names) - MOST_NAMES_SHOWN} more" if len(names) > MOST_NAMES_SHOWN else ""
        lines.append(f"{', '.join(names[:MOST_NAMES_SHOWN])}{more}: {reason}; {mend}")
    if len(kinds) > MOST_REASONS_SHOWN:
        further = sum(len(names) for _, names in kinds[MOST_REASONS_SHOWN:])
        lines.append(f"and {further} for other reasons, see the report")
    return lines


def _on_one_line(name: str) -> str:
    """Replace the characters of a name that a terminal would treat as commands."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)


def printable(name: str) -> str:
    """Return a file name, which may hold bytes that are not UTF-8, as text that can be written as UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
