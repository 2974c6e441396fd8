"""What `nerfgen prepare` makes of photographs that are not tidy.

`python -m benchmarks.photographs_as_they_come [--help]`

Tidy portraits are prepared first. Some of them are then placed into photographs of 12 megapixels, at random
size, position and rotation, on plain and textured backgrounds; others are covered, turned or shown beside
another face. All are prepared in the class of the tidy ones, and their cameras compared with the tidy ones'.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tyro
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from nerfgen_ns.dataset_format.transforms import read_transforms
from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.landmarks.mediapipe_models import FaceMesh
from nerfgen_ns.preprocessing.landmarks.models import CHIN, FOREHEAD, NOSE, face_width
from nerfgen_ns.preprocessing.listing import list_photographs
from nerfgen_ns.preprocessing.photographs import RejectedError, read_photograph
from nerfgen_ns.preprocessing.prepare import PrepareConfig, prepare
from nerfgen_ns.preprocessing.report.prepare_report import PrepareReport
from nerfgen_ns.utils.files import write_json
from nerfgen_ns.utils.spacing import evenly_spaced

WIDTH, HEIGHT = 4000, 3000
NARROWEST, WIDEST = 90, 2000
STEEPEST = 30.0
TURNED_FAR = 10.0

Picture = UInt8[np.ndarray, "height width 3"]
Landmarks = Float[np.ndarray, "468 3"]


@dataclass
class Hard:
    """A portrait and its landmarks, to be made hard to prepare."""

    picture: Picture
    landmarks: Landmarks
    other: Picture
    """Another portrait."""

    def cover(
        self, across: float, down: float, wide: float, high: float, color: Any, round_: bool
    ) -> Picture:
        """Cover the portrait with a patch in the head's own axes, in face widths from the nose."""
        flat = self.landmarks[:, :2]
        width = float(face_width(flat))
        downwards = flat[CHIN] - flat[FOREHEAD]
        downwards = downwards / np.linalg.norm(downwards)
        right = np.array([downwards[1], -downwards[0]])
        angles = np.linspace(0, 2 * np.pi, 5 if not round_ else 60) + (0 if round_ else np.pi / 4)
        corner = 1.0 if round_ else np.sqrt(2)
        outline = [
            flat[NOSE]
            + width * right * (across + corner * wide * np.cos(angle))
            + width * downwards * (down + corner * high * np.sin(angle))
            for angle in angles
        ]
        image = Image.fromarray(self.picture)
        ImageDraw.Draw(image).polygon([tuple(point) for point in outline], fill=tuple(color))
        return np.asarray(image)

    def skin(self) -> tuple[int, ...]:
        """Return the color of the cheeks."""
        at = self.landmarks[[50, 280], :2].astype(int)
        return tuple(int(v) for v in np.mean([self.picture[y, x] for x, y in at], axis=0))

    def hand(self, side: float) -> Picture:
        """Put a hand over half of the face: a palm and four fingers."""
        covered = Hard(self.cover(0.28 * side, 0.1, 0.28, 0.4, self.skin(), True), self.landmarks, self.other)
        for finger in range(4):
            across = 0.28 * side + 0.13 * (finger - 1.5)
            shade = [int(v * (0.88 + 0.03 * finger)) for v in self.skin()]
            covered.picture = covered.cover(across, -0.3, 0.06, 0.35, shade, True)
        return covered.picture

    def mask(self) -> Picture:
        """Put a surgical mask over the face, from the nose to the chin."""
        outline = [127, 118, 6, 347, 356, 361, 397, 379, 152, 150, 172, 132]
        image = Image.fromarray(self.picture)
        ImageDraw.Draw(image).polygon([tuple(p) for p in self.landmarks[outline, :2]], fill=(150, 195, 215))
        return np.asarray(image)

    def shadow(self, side: float) -> Picture:
        """Put one half of the photograph into deep shadow."""
        columns = np.arange(self.picture.shape[1]) - self.landmarks[NOSE, 0]
        light = np.clip(0.2 + side * columns / (0.3 * face_width(self.landmarks[:, :2])), 0.06, 1)
        return (self.picture * light[None, :, None]).astype(np.uint8)

    def profile(self, side: float) -> Picture:
        """Hide the far half of the face in the color of the background, as in a profile."""
        return self.cover(0.42 * side, 0.0, 0.40, 0.9, self.picture[2, 2].tolist(), False)

    def turned(self, degrees: float) -> Picture:
        """Turn the whole photograph, counterclockwise."""
        fill = tuple(self.picture[2, 2].tolist())
        return np.asarray(Image.fromarray(self.picture).rotate(degrees, expand=True, fillcolor=fill))

    def beside(self) -> Picture:
        """Put another, somewhat smaller portrait beside it."""
        height, width = self.picture.shape[:2]
        image = Image.new("RGB", (2 * width, height), (120, 120, 130))
        image.paste(
            Image.fromarray(self.other).resize((width * 4 // 5, height * 4 // 5)), (width, height // 6)
        )
        image.paste(Image.fromarray(self.picture), (width // 10, 0))
        return np.asarray(image)

    def framed(self) -> Picture:
        """Put a framed portrait into the background."""
        image = Image.fromarray(self.picture).resize(
            (360, 360 * self.picture.shape[0] // self.picture.shape[1])
        )
        image.paste(Image.fromarray(self.other).resize((90, 115)), (5, 5))
        return np.asarray(image)


KINDS: dict[str, Callable[[Hard], Picture]] = {
    "hand_left": lambda hard: hard.hand(1.0),
    "hand_right": lambda hard: hard.hand(-1.0),
    "surgical_mask": Hard.mask,
    "scarf": lambda hard: hard.cover(0.0, 0.75, 0.8, 0.7, (70, 40, 60), False),
    "sunglasses": lambda hard: hard.cover(0.0, -0.3, 0.45, 0.11, (12, 12, 14), True),
    "bar": lambda hard: hard.cover(0.0, -0.3, 0.75, 0.12, (0, 0, 0), False),
    "phone": lambda hard: hard.cover(0.3, 0.05, 0.3, 0.6, (30, 30, 34), False),
    "shadow_left": lambda hard: hard.shadow(-1.0),
    "shadow_right": lambda hard: hard.shadow(1.0),
    "tilt_35": lambda hard: hard.turned(35),
    "tilt_90": lambda hard: hard.turned(90),
    "tilt_180": lambda hard: hard.turned(180),
    "profile": lambda hard: hard.profile(1.0),
    "two_faces": Hard.beside,
    "framed_portrait": Hard.framed,
}
TILTS = {"tilt_35": 35.0, "tilt_90": 90.0, "tilt_180": 180.0}
SEVERAL = ("two_faces", "framed_portrait")


@dataclass
class PhotographsBenchmark:
    """Measure what `nerfgen prepare` makes of photographs that are not tidy."""

    portraits: Path
    """Folder of photographs of one face each, whole and near frontal."""
    output_dir: Path = Path("photographs_as_they_come")
    """Folder to write: the photographs, their prepared folders, and `figures.json`."""
    placed: int = 60
    """Photographs of 12 megapixels."""
    hard: int = 40
    """Covered, turned or doubled faces."""
    seed: int = 0
    """Seed of everything that is random."""

    def run(self) -> None:
        """Make the photographs, prepare them, print a table and write the figures."""
        generator = np.random.default_rng(self.seed)
        portraits = list_photographs(self.portraits)
        count = min(len(portraits), max(100, self.placed, self.hard))
        chosen = evenly_spaced(len(portraits), count, "ends_rounded_down")
        portraits = [portraits[place] for place in chosen]
        folders = [self.output_dir / name for name in ("tidy", "placed", "hard")]
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        pictures, clear, model = [], [], FaceMesh()
        for path in portraits:
            with suppress(RejectedError):
                picture = read_photograph(path)
                if not model(picture)[1]:
                    clear.append(len(pictures))
                pictures.append(picture)
        if not clear:
            raise UsageError(f"{self.portraits}: shows no face clearly; give portraits of one face each")
        for place, picture in enumerate(pictures):
            Image.fromarray(picture).save(folders[0] / f"{place:03d}.png")
        rolls: dict[str, float] = {}
        for number in range(self.placed):
            source = clear[number % len(clear)]
            image, roll = place_portrait(pictures[source], model(pictures[source])[0], generator)
            rolls[f"{source:03d}_placed_{number:02d}.jpg"] = roll
            Image.fromarray(image).save(folders[1] / f"{source:03d}_placed_{number:02d}.jpg", quality=92)
        for number in range(self.hard):
            source, kind = clear[-1 - number % len(clear)], list(KINDS)[number % len(KINDS)]
            other = pictures[clear[number % len(clear)]]
            made = KINDS[kind](Hard(pictures[source], model(pictures[source])[0], other))
            rolls[f"{source:03d}_{kind}_{number:02d}.png"] = TILTS.get(kind, 0.0)
            Image.fromarray(made).save(folders[2] / f"{source:03d}_{kind}_{number:02d}.png")
        reports = [self._prepare(folder) for folder in folders]
        tidy, *others = [cameras(report) for report in reports]
        figures: dict[str, Any] = {}
        for name, report, found in zip(("placed", "hard"), reports[1:], others, strict=True):
            figures[name] = {
                source: {
                    "turned, degrees": turned_by(tidy[f"{source[:3]}.png"], camera, rolls[source]),
                    "notes": report.notes.get(source, []),
                }
                for source, camera in sorted(found.items())
                if f"{source[:3]}.png" in tidy
            }
            figures[name] |= {entry.source: {"rejected": entry.reason} for entry in report.rejected}
        write_json(self.output_dir / "figures.json", figures)
        _print(figures)

    def _prepare(self, photographs: Path) -> PrepareReport:
        canonical = self.output_dir / "tidy_prepared" / "canonical_landmarks.json"
        output = photographs.with_name(f"{photographs.name}_prepared")
        given = None if photographs.name == "tidy" else canonical
        return prepare(
            PrepareConfig(data=photographs, output_dir=output, canonical_landmarks=given, workers=1)
        )


def place_portrait(
    portrait: Picture, landmarks: Landmarks, generator: np.random.Generator
) -> tuple[Picture, float]:
    """Place the portrait in a picture of 12 megapixels; return also its turn counterclockwise in degrees."""
    width = float(np.exp(generator.uniform(np.log(NARROWEST), np.log(WIDEST))))
    turn = float(generator.uniform(-STEEPEST, STEEPEST))
    matrix = cv2.getRotationMatrix2D((0.0, 0.0), turn, width / float(face_width(landmarks[:, :2])))
    face = landmarks[:, :2] @ matrix[:, :2].T
    low, high = face.min(axis=0) - 0.05 * width, face.max(axis=0) + 0.05 * width
    room = np.array([WIDTH, HEIGHT]) - (high - low)
    matrix[:, 2] = generator.uniform(0, 1, 2) * np.maximum(room, 0) + np.minimum(room, 0) / 2 - low
    canvas = np.full((HEIGHT, WIDTH, 3), generator.integers(30, 226, 3), np.uint8)
    if generator.random() < 0.5:
        canvas = _texture(canvas, generator)
    cv2.warpAffine(
        portrait, matrix, (WIDTH, HEIGHT), canvas, cv2.INTER_CUBIC, borderMode=cv2.BORDER_TRANSPARENT
    )
    return canvas, turn


def _texture(canvas: Picture, generator: np.random.Generator) -> Picture:
    """Add blotches of all sizes."""
    noise = np.zeros((HEIGHT // 4, WIDTH // 4, 3), np.float32)
    for cells in (4, 12, 40, 130):
        coarse = generator.normal(0, 22, (cells, cells, 3)).astype(np.float32)
        noise += cv2.resize(coarse, (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_CUBIC)
    return np.clip(canvas + cv2.resize(noise, (WIDTH, HEIGHT)), 0, 255).astype(np.uint8)


def cameras(report: PrepareReport) -> dict[str, Rotation]:
    """Return by file the rotation of its photograph's camera, camera-to-world."""
    frames = read_transforms(report.path.parent).frames
    return {str(frame.source): Rotation.from_matrix(frame.photograph_camera()[0][:3, :3]) for frame in frames}


def turned_by(tidy: Rotation, found: Rotation, roll: float) -> float:
    """Compute degrees between a camera and that of the tidy photograph turned counterclockwise by `roll`."""
    expected = tidy * Rotation.from_euler("z", -roll, degrees=True)
    return float(np.degrees((expected.inv() * found).magnitude()))


def _print(figures: dict[str, Any]) -> None:
    placed, hard = figures["placed"], figures["hard"]
    turned = [one["turned, degrees"] for one in placed.values() if "turned, degrees" in one]
    used = {name: one for name, one in hard.items() if "turned, degrees" in one}
    silent = [n for n, one in used.items() if one["turned, degrees"] > TURNED_FAR and not one["notes"]]
    unnoted = [
        name
        for name, one in used.items()
        if any(kind in name for kind in SEVERAL) and not any("faces" in note for note in one["notes"])
    ]
    table = Table("measured", "value")
    table.add_row("photographs of 12 megapixels found, %", f"{100 * len(turned) / max(len(placed), 1):.1f}")
    table.add_row("their cameras turned against the tidy ones, median", f"{np.median(turned or [0]):.2f}°")
    table.add_row("the same, 90th percentile", f"{np.quantile(turned or [0], 0.9):.2f}°")
    table.add_row("hard faces: used, rejected", f"{len(used)}, {len(hard) - len(used)}")
    table.add_row(
        f"used with a camera more than {TURNED_FAR:.0f}° off and no note", f"{len(silent)} {silent}"
    )
    table.add_row("several faces without a note of them", f"{len(unnoted)} {unnoted}")
    Console().print(table)


if __name__ == "__main__":
    tyro.cli(PhotographsBenchmark).run()
