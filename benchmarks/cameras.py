"""How near fitted cameras come to the true ones: `python -m benchmarks.cameras [--help]`.

Runs the joint fit on renderings with known cameras, from several kinds of landmarks: all of the data set's
own, five of them (eyes, nose, corners of the mouth), and MediaPipe's. Landmarks do not determine one
similarity for the whole collection: it is removed from the errors. Then measures the time for each photograph
and the memory, for collections of made-up landmarks.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from jaxtyping import Float
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from benchmarks.machine import RECORD, record_of_run
from nerfgen_ns.cameras.alignment import camera_errors
from nerfgen_ns.cameras.projection import Cameras, project
from nerfgen_ns.dataset_format.transforms import read_transforms
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.preprocessing.camera_fitting.fit import Collection, CollectionFit, fit_collection
from nerfgen_ns.preprocessing.landmarks.models import (
    FACE_MESH,
    LandmarkScheme,
    MediaPipeLandmarks,
    partners_of_pairs,
)
from nerfgen_ns.preprocessing.photographs import RejectedError
from nerfgen_ns.utils.files import write_json

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
PAIRS = [
    *((i, 16 - i) for i in range(8)),
    *((17 + i, 26 - i) for i in range(5)),
    *((31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)),
]
"""Left and right of the 68 landmarks of a face in the order that many data sets have."""
SCHEME_68 = LandmarkScheme(68, partners_of_pairs(PAIRS, 68), np.array([0.0, -0.13, 0.25]), 0.19)
SCHEME_5 = LandmarkScheme(5, partners_of_pairs([(0, 1), (3, 4)], 5), np.array([0.0, -0.1, 0.3]), 0.11)


@dataclass
class CamerasBenchmark:
    """Measure the joint fit of cameras."""

    heads: Path = SHARED / "heads" / "train"
    """nerfstudio data set of renderings with `landmarks2d`, 68 for each frame, and true cameras."""
    sizes: tuple[int, ...] = (1_000, 100_000)
    """Photographs in the made-up collections."""
    output_path: Path | None = None
    """Where to write the figures as JSON."""
    scale_only: int | None = None
    """Measure a made-up collection of this size in this process, and nothing else."""

    def run(self) -> None:
        """Measure what is there, print tables and write the figures."""
        if self.scale_only is not None:
            print(*_scale(self.scale_only))
            return
        begin = time.perf_counter()
        accuracy = self._accuracy() if self.heads.is_dir() else {}
        scale = {}
        for size in self.sizes:
            command = [sys.executable, "-m", "benchmarks.cameras", "--scale-only", str(size)]
            seconds, megabytes = map(float, subprocess.check_output(command, text=True).split())
            scale[f"{size} photographs"] = {
                "milliseconds each": 1000 * seconds / size,
                "peak resident, MB": megabytes,
            }
        for figures in (accuracy, scale):
            _print(figures)
        if self.output_path is not None:
            write_json(self.output_path, {"accuracy": accuracy, "scale": scale, RECORD: record_of_run(begin)})

    def _accuracy(self) -> dict[str, dict[str, float]]:
        known = read_transforms(self.heads)
        frames = known.frames
        true = np.array([frame.true_camera for frame in frames])
        focal = np.array([frame.fl_x for frame in frames])
        center = np.array([[frame.cx, frame.cy] for frame in frames])
        exact = np.array([frame.landmarks2d for frame in frames])
        eyes = [exact[:, 36:42].mean(axis=1), exact[:, 42:48].mean(axis=1)]
        five = np.stack([*eyes, exact[:, 30], exact[:, 48], exact[:, 54]], axis=1)
        found = mediapipe_landmarks(known.files)
        figures = {}
        for name, landmarks, scheme in (
            ("68 exact landmarks", exact, SCHEME_68),
            ("five exact landmarks", five, SCHEME_5),
            ("MediaPipe's landmarks", found, FACE_MESH),
        ):
            start = time.perf_counter()
            fit = fit_collection(landmark_collection(landmarks, focal, center), scheme)
            figures[name] = {**_errors(fit, true), "seconds": time.perf_counter() - start}
        return figures


def mediapipe_landmarks(photographs: Sequence[Path]) -> Float[np.ndarray, "n m 3"]:
    """Find MediaPipe's landmarks of photographs that show a face each, in pixels with relative depth.

    Raises:
        NerfgenError: a photograph shows none.
    """
    model = MediaPipeLandmarks()
    found = []
    for photograph in photographs:
        try:
            found.append(model(np.asarray(Image.open(photograph).convert("RGB"))).points)
        except RejectedError as error:
            raise NerfgenError(f"{photograph}: {error.reason}; leave the photograph out") from error
    return np.array(found)


def landmark_collection(
    landmarks: Float[np.ndarray, "n m d"], focal: Float[np.ndarray, " n"], center: Float[np.ndarray, "n 2"]
) -> Collection:
    """Make a collection of landmarks with full confidence, in pixels and perhaps with relative depth."""
    known = np.full((*landmarks.shape[:2], 3), np.nan)
    known[..., : landmarks.shape[2]] = landmarks
    return Collection(known, np.ones(landmarks.shape[:2]), focal, center)


def _errors(fit: CollectionFit, true: Float[np.ndarray, "n 4 4"]) -> dict[str, float]:
    return {
        "modes of the basis": len(fit.basis),
        **camera_errors(fit.cameras.camera_to_world(), true),
        "reprojection error, pixels, median": float(np.median(fit.error)),
    }


def _scale(count: int) -> tuple[float, float]:
    """Measure the seconds of the joint fit of made-up landmarks, and the peak of resident memory in MB."""
    generator = np.random.default_rng(0)
    half = generator.normal(size=(34, 3)) * [0.05, 0.1, 0.03] + [0.1, 0.0, 0.0]
    shape = np.concatenate([half, half * [-1, 1, 1]]) + SCHEME_68.center
    partners = np.concatenate([np.arange(34, 68), np.arange(34)])
    scheme = LandmarkScheme(68, partners, SCHEME_68.center, SCHEME_68.radius)
    cameras = Cameras(
        Rotation.from_euler("y", generator.normal(size=count) * 20, degrees=True).as_matrix(),
        np.tile([0.0, 0.0, -2.7], (count, 1)),
        np.full(count, 268.8),
        np.full((count, 2), 64.0),
    )
    landmarks = np.full((count, 68, 3), np.nan, np.float32)
    for first in range(0, count, 1000):
        part = slice(first, first + 1000)
        varied = shape + generator.normal(size=(len(cameras[part]), 68, 3)) * 0.003
        landmarks[part, :, :2] = project(cameras[part], varied)
    collection = Collection(landmarks, np.ones((count, 68), np.float32), cameras.focal, cameras.center)
    start = time.perf_counter()
    fit_collection(collection, scheme)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _print(figures: dict[str, dict[str, float]]) -> None:
    if not figures:
        return
    table = Table("measured", *figures)
    for name in next(iter(figures.values())):
        table.add_row(name, *(f"{values[name]:.3g}" for values in figures.values()))
    Console().print(table)


if __name__ == "__main__":
    tyro.cli(CamerasBenchmark).run()
