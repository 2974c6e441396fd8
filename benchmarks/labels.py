"""Labels from 1 to 100 label maps: mean IoU on new views, 3D agreement, time, and a sheet of turned heads.

    python -m benchmarks.labels --heads HEADS --output-dir OUT

HEADS has `train`, `test_seen` and `test_new`, whose frames name label maps as `semantic_path`. Prints a table
and writes it as JSON.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from jaxtyping import UInt8
from rich.console import Console
from rich.table import Table

from nerfgen_ns.cameras.trajectories import turned_cameras
from nerfgen_ns.dataset_format.label_maps import Legend
from nerfgen_ns.dataset_format.transforms import read_transforms
from nerfgen_ns.errors import exit_with_one_line
from nerfgen_ns.evaluation.evaluate import evaluate
from nerfgen_ns.evaluation.protocol import EvaluationConfig, FittingConfig
from nerfgen_ns.runs.launch import Training
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.config import LabelConfig
from nerfgen_ns.semantics.labeling import label, photographs_of
from nerfgen_ns.semantics.suggestions import suggest_photographs
from nerfgen_ns.utils.console import progress_bar
from nerfgen_ns.utils.files import write_json
from nerfgen_ns.utils.images import contact_sheet, to_bytes, write_image
from nerfgen_ns.utils.spacing import evenly_spaced

PLAIN = {1: 0.607, 5: 0.732, 30: 0.785, 100: 0.799}
"""Mean IoU of a plain head of two layers of 64 units on rendered hidden features, by the number of maps."""
NEW = "new identities"
FIGURES = (
    "mIoU, seen identities",
    "mIoU of the label map with the nearest camera, seen identities",
    "mIoU of a 2D network on the renders, seen identities",
    f"mIoU, {NEW}",
    f"mIoU, {NEW} from label maps alone",
    f"depth correlation, {NEW} from label maps alone",
    "agreement of two views",
    "agreement of two views, of a 2D network on the renders",
)
TURNS = (-60.0, -30.0, 0.0, 30.0, 60.0)
SHOWN, SIDE = 8, 96


@dataclass(kw_only=True)
class Labels:
    """Label a run of heads with few label maps, and judge the labels on other views and other heads."""

    heads: Path
    """A folder with the prepared folder `train` and the test folders `test_seen` and `test_new`."""
    output_dir: Path
    """Where runs, figures and the sheet go."""
    load_config: Path | None = None
    """The config.yml of a run on `train`; if not given, one is trained."""
    minutes: float = 4.0
    """How long the training takes."""
    counts: tuple[int, ...] = (1, 5, 30, 100)
    """Numbers of label maps."""
    new_at: tuple[int, ...] = (30,)
    """Numbers of label maps at which new identities are judged too."""
    choice: Literal["even", "suggested"] = "even"
    """Which photographs have label maps: evenly spread ones, or those that `nerfgen label` suggests."""
    downscale_factor: int = 2
    """How many times smaller than stored photographs are trained on and judged."""
    head: LabelConfig = field(default_factory=LabelConfig)
    """How heads are trained."""
    fit: FittingConfig = field(default_factory=FittingConfig)
    """How new identities are fitted."""
    threads: int | None = None
    """Threads of the processor; if not set, torch decides."""

    def run(self) -> None:
        """Train, label, judge, print."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        config = self.load_config or self._train()
        run = load_run(config)
        report: dict[str, Any] = {"run": str(config), "label maps": {}}
        for count in self.counts:
            report["label maps"][count] = self._judge(config, run, count)
            write_json(self.output_dir / "labels.json", report)
        labeled = load_run(self._labeled(max(self.counts)) / "config.yml")
        report["render"] = render_seconds(labeled)
        shown = load_run(self._labeled(30 if 30 in self.counts else max(self.counts)) / "config.yml")
        write_image(self.output_dir / "turned_labels.png", turned_labels(shown))
        write_json(self.output_dir / "labels.json", report)
        self._print(report)

    def _train(self) -> Path:
        training = Training(
            self.heads / "train",
            self.output_dir,
            experiment="labels",
            minutes=self.minutes,
            downscale_factor=self.downscale_factor,
        )
        if not training.has_checkpoints:
            training.run(show_progress=True)
        return training.load_config

    def _labeled(self, count: int) -> Path:
        return self.output_dir / f"labeled_{count}"

    def _judge(self, config: Path, run: Run, count: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as temporary:
            masks = Path(temporary) / "masks"
            write_masks(run, masks, self._chosen(run, count))
            made = label(config, masks, self._labeled(count), self.head, stages=progress_bar)
            tests = [self.heads / "test_seen", *([self.heads / "test_new"] if count in self.new_at else [])]
            options = EvaluationConfig(
                protocol=("labels",), downscale_factor=self.downscale_factor, max_views=10**6, fit=self.fit
            )
            outcome = evaluate(load_run(made.config), tests, options, Path(temporary), stages=progress_bar)
        for one in outcome.not_run:
            print(f"{one.protocol} {one.data}: {one.reason}")
        figures = {figure.name: figure.value for _, result in outcome.results for figure in result.figures}
        return {"seconds": made.seconds, "figures": figures}

    def _chosen(self, run: Run, count: int) -> list[int]:
        if self.choice == "suggested":
            return suggest_photographs(run, count)
        return evenly_spaced(len(run.record.images), count, "middles").tolist()

    def _print(self, report: dict[str, Any]) -> None:
        by_count = report["label maps"]
        table = Table("figure", *(f"{count} label maps" for count in by_count))
        table.add_row(
            "mIoU of a plain head", *(f"{PLAIN.get(count, float('nan')):.3f}" for count in by_count)
        )
        names = dict.fromkeys(name for own in by_count.values() for name in own["figures"])
        for name in [*FIGURES, *(name for name in names if name.startswith("IoU of"))]:
            values = [own["figures"].get(name) for own in by_count.values()]
            if any(value is not None for value in values):
                table.add_row(name, *("–" if value is None else f"{value:.3f}" for value in values))
        table.add_row("seconds of the head", *(f"{own['seconds']:.1f}" for own in by_count.values()))
        Console().print(table)
        own, plain = (1e3 * report["render"][name] for name in ("with", "without"))
        print(f"a render: {plain:.1f} ms, with labels {own:.1f} ms, {100 * (own / plain - 1):+.1f} %")
        print(self.output_dir / "turned_labels.png")


def write_masks(run: Run, folder: Path, photographs: list[int]) -> None:
    """Write a folder of label maps of photographs, from the `semantic_path` of their frames."""
    data = read_transforms(run.data, allow_outside=True)
    frame_of = dict(zip(data.files, data.frames, strict=True))
    names = photographs_of(run)
    folder.mkdir(parents=True)
    Legend.of_names(data.semantic_labels).write(folder)
    for number in photographs:
        frame = frame_of[run.record.images[number]]
        assert frame.semantic_path is not None
        shutil.copyfile(data.path.parent / frame.semantic_path, folder / f"{names[number].crop_name}.png")


def render_seconds(run: Run, repeats: int = 15) -> dict[str, float]:
    """Measure a render from the front at the run's size, with and without labels, in turns; medians."""
    size = max(round(float(run.cameras.width.float().median()) / run.downscale_factor), 2)
    camera = turned_cameras(run.cameras, np.array([[10.0, 0.0]]), size)
    head, code = run.model.label_head, run.code(0)
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(repeats):
        for name, own in (("without", None), ("with", head)):
            run.model.label_head = own
            begin = time.perf_counter()
            run.render(code, camera)
            seconds[name].append(time.perf_counter() - begin)
    run.model.label_head = head
    return {name: statistics.median(values) for name, values in seconds.items()}


def turned_labels(run: Run) -> UInt8[np.ndarray, "height width 3"]:
    """Draw some heads of a labeled run, turned, in colors and in the colors of their labels."""
    cameras = turned_cameras(run.cameras, np.array([[yaw, 0.0] for yaw in TURNS]), SIDE)
    rows: dict[str, list[UInt8[np.ndarray, "size size 3"]]] = {}
    for row in evenly_spaced(len(run.codes), SHOWN).tolist():
        for turn, yaw in enumerate(TURNS):
            outputs = run.render(run.code(row), cameras[turn : turn + 1])
            for name, output in ((f"{yaw:+.0f}", "rgb"), (f"{yaw:+.0f} labels", "labels")):
                rows.setdefault(name, []).append(to_bytes(outputs[output]))
    return contact_sheet(rows)


if __name__ == "__main__":
    with exit_with_one_line():
        tyro.cli(Labels).run()
