"""`nerfgen prepare` on very many photographs: `python -m benchmarks.prepare_scale [--help]`.

The photographs are made up, and so is what is found in each: landmarks of a random face in a random pose, and
images of a few pixels. The benchmark measures everything else: the time of each stage, over all processes,
and the memory.
"""

import hashlib
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import tyro
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from nerfgen_ns.cameras.projection import Cameras, observe
from nerfgen_ns.preprocessing import prepare as stages
from nerfgen_ns.preprocessing.landmarks.models import (
    LANDMARK_CENTER,
    LANDMARK_COUNT,
    LANDMARK_RADIUS,
    mirror_partners,
)
from nerfgen_ns.preprocessing.plan import Plan
from nerfgen_ns.preprocessing.prepare import PrepareConfig, prepare
from nerfgen_ns.preprocessing.prepared_folder import PreparedFolder
from nerfgen_ns.preprocessing.store import CaptureFiles
from nerfgen_ns.utils.files import write_json

SIZE, FOCAL, DISTANCE = 64, 2.1, 2.7


@dataclass(frozen=True)
class MadeUpCapture:
    """Takes the place of landmark and matte models: the photograph's name decides what is found in it."""

    def __call__(self, photograph: Path, files: CaptureFiles) -> dict[str, Any]:
        """Make up what is found in one photograph; see `capture_pool.CaptureOne`."""
        digest = hashlib.sha256(photograph.name.encode()).digest()
        random = np.random.default_rng(list(digest[:8]))
        camera = Cameras(
            Rotation.from_rotvec(random.uniform(-1, 1, (1, 3)) * [0.2, 0.6, 0.1]).as_matrix(),
            np.array([[0.0, 0.0, -DISTANCE]]),
            np.array([FOCAL * SIZE]),
            np.full((1, 2), SIZE / 2),
        )
        face = _shape(0) + 0.05 * (_shape(int(digest[8]) + 1) - _shape(0))
        landmarks = observe(camera, face)[0] + random.normal(0, 0.3, (LANDMARK_COUNT, 3))
        pixels = np.full((4, 4), digest[9], np.uint8)
        Image.fromarray(pixels).convert("RGB").save(files.image)
        Image.fromarray(pixels).save(files.matte)
        return {
            "landmarks": landmarks,
            "principal_point": [SIZE / 2, SIZE / 2],
            "photograph_to_crop": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
            "notes": [],
        }


def _shape(seed: int) -> np.ndarray:
    """Make up landmarks of a face, symmetric, on the front half of an ellipsoid."""
    random = np.random.default_rng(seed)
    points = random.normal(size=(LANDMARK_COUNT, 3)) * [0.8, 1.0, 0.8]
    points[:, 2] = np.abs(points[:, 2])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    partners = mirror_partners()
    points = (points + points[partners] * [-1, 1, 1]) / 2
    points -= points.mean(axis=0)
    return points * (LANDMARK_RADIUS / np.sqrt((points**2).sum(axis=1).mean())) + LANDMARK_CENTER


@dataclass
class PrepareScaleBenchmark:
    """Measure the stages of `nerfgen prepare` on made-up photographs."""

    photographs: tuple[int, ...] = (1000, 100_000)
    """Numbers of photographs, smallest first: the memory is the largest so far."""
    workers: int = 2
    """Worker processes."""
    output_path: Path | None = None
    """Where to write the figures as JSON."""

    def run(self) -> None:
        """Measure, print a table and write the figures."""
        figures = {str(count): self._measure(count) for count in self.photographs}
        table = Table("measured", *figures)
        for name in next(iter(figures.values())):
            table.add_row(name, *(f"{values[name]:.4g}" for values in figures.values()))
        Console().print(table)
        if self.output_path is not None:
            write_json(self.output_path, figures)

    def _measure(self, count: int) -> dict[str, float]:
        seconds: dict[str, float] = {}

        def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                start = sum(os.times()[:4])
                result = function(*args, **options)
                seconds[f"{name}, processor ms a photograph"] = 1000 * (sum(os.times()[:4]) - start) / count
                return result

            return call

        def made_up(config: PrepareConfig) -> Plan:
            return replace(plan_of(config), capture=MadeUpCapture())

        plan_of = Plan.of
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "photographs"
            data.mkdir()
            for number in range(count):
                (data / f"{number:07d}.png").touch()
            output = Path(folder) / "prepared"
            config = PrepareConfig(data=data, output_dir=output, size=SIZE, workers=self.workers)
            with (
                patch.object(Plan, "of", timed("list", made_up)),
                patch.object(stages, "_capture", timed("capture", stages._capture)),
                patch.object(
                    PreparedFolder, "gather_landmarks", timed("gather", PreparedFolder.gather_landmarks)
                ),
                patch.object(stages, "_fit", timed("fit", stages._fit)),
                patch.object(PreparedFolder, "write", timed("write", PreparedFolder.write)),
            ):
                report = prepare(config)
                again = time.perf_counter()
                prepare(config)
            assert report.accepted == count
            return {
                **seconds,
                "finished before, seconds": time.perf_counter() - again,
                "transforms.json, MB": (output / "transforms.json").stat().st_size / 1e6,
                "peak memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
                "peak memory of a worker, MB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3,
            }


if __name__ == "__main__":
    tyro.cli(PrepareScaleBenchmark).run()
