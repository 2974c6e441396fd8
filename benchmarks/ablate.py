"""What each part of the method is worth: trainings that differ in one thing, over several seeds.

    python -m benchmarks.ablate --minutes 1 --seeds 3
    python -m benchmarks.ablate --only losses images --output-dir outputs/ablate

Trains with `ns-train` and the method's defaults: without the hard-surface loss, the mask loss, the background
field; with few and many photographs; with smaller and larger latent codes; with cameras fitted to landmarks.
Judges the training photographs and new views of the same identities, and, for comparison, baselines that need
no model (benchmarks/baselines.py).

Every finished training is kept in the output folder under its settings and used again. A call that was
interrupted continues, and further seeds or ablations join those that are there. Trainings run one after the
other. After each ablation `ablate.json`, `ablate.md` and its plot and renders are written again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import tyro
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.ablation import reference
from benchmarks.ablation.data import first_photographs
from benchmarks.ablation.pictures import variants_sheet
from benchmarks.ablation.plots import plot_ablation
from benchmarks.ablation.report import ablation_report, ablation_section
from benchmarks.ablation.runs import Judging, Training, judged, method_config, trained, training_record
from benchmarks.ablation.variants import Ablation, AblationName, ablations
from benchmarks.baselines import measure_baselines
from benchmarks.machine import RECORD, record_of_run
from nerfgen_ns.dataset_format.transforms import identities_of, read_transforms
from nerfgen_ns.errors import UsageError, exit_with_one_line
from nerfgen_ns.evaluation.comparisons import Figures, read_views
from nerfgen_ns.utils.console import progress_bar
from nerfgen_ns.utils.files import read_json, write_json, write_text
from nerfgen_ns.utils.images import write_image

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
SHOWN_IDENTITIES = 2
SHOWN_SIZE = 96


@dataclass
class Ablate:
    """Train variants of a method and compare the results."""

    data: Path = SHARED / "heads" / "train_1024"
    """Folder to train on, with true cameras; its first photographs are the smaller collections."""
    test: Path = SHARED / "heads" / "test_seen"
    """Folder of new views of identities among the first photographs, with the truth."""
    output_dir: Path = Path("outputs/ablate")
    """Where the runs, the tables and the plots go; what is there already is used again."""
    only: tuple[AblationName, ...] = get_args(AblationName)
    """Which ablations, in this order."""
    seeds: int = 3
    """How many times each variant is trained, with the seeds 0, 1, …"""
    minutes: float = 4.0
    """Minutes of each training."""
    method: str = "nerfgen-tiny"
    """Method of `ns-train`."""
    downscale_factor: int = 2
    """How many times smaller than the files the images are, in training and in judging."""
    images: int = 256
    """How many photographs to train on, unless an ablation varies their number."""
    numbers_of_images: tuple[int, ...] = (32, 64, 128, 512, 1024)
    """Numbers of photographs in the ablation images."""
    latent_sizes: tuple[int, ...] = (8, 32, 256)
    """Sizes of a latent code in the ablation latent."""
    views: int = 48
    """Largest number of new views to judge, evenly spread."""
    throughput: Path | None = None
    """The throughput.json of `benchmarks.throughput`, whose reference implementation joins the baselines."""

    def run(self) -> None:
        """Train what is missing, judge, and write tables and plots.

        Raises:
            UsageError: the folders do not belong together, or are too small.
            NerfgenError: a training failed.
        """
        begin = time.perf_counter()
        training = Training(self.data, self.method, self.minutes, self.downscale_factor, self.images)
        everything = ablations(
            self.images, self.numbers_of_images, method_config(self.method).latent_dim, self.latent_sizes
        )
        chosen = [everything[name] for name in self.only]
        judging = self._judging()
        report = self._begin_report(judging)
        if self.throughput is not None:
            others = [row for row in report["baselines"] if row["name"] != reference.NAME]
            report["baselines"] = [*others, reference.reference_row(self.throughput)]
        for ablation in chosen:
            result = self._measure(ablation, training, judging)
            report["ablations"] = [
                *(former for former in report["ablations"] if former["name"] != ablation.name),
                result,
            ]
            report[RECORD] = record_of_run(begin)
            write_json(self.output_dir / "ablate.json", report)
            write_text(self.output_dir / "ablate.md", ablation_report(report))
            Console().print(Markdown(ablation_section(result, report["baselines"])))
        print(self.output_dir / "ablate.md")

    def _judging(self) -> Judging:
        """Return how to judge every run: the same for all ablations, whichever are chosen."""
        fewest = min((self.images, *self.numbers_of_images))
        photographs = read_transforms(self.data, allow_outside=True).frames[:fewest]
        views = read_transforms(self.test, allow_outside=True).frames
        known = set(identities_of(photographs))
        shown = known & {frame.identity for frame in views if frame.identity is not None}
        if not shown:
            raise UsageError(
                f"{self.test}: shows none of the identities of the first {fewest} photographs of {self.data}"
            )
        return Judging(self.test, tuple(sorted(shown)), self.views)

    def _begin_report(self, judging: Judging) -> dict[str, Any]:
        """Return the settings, the baselines, and earlier ablations that were made with the same settings."""
        new_views = read_views(self.test, self.downscale_factor, judging.identities, self.views)
        settings = {
            **{name: getattr(self, name) for name in ("method", "minutes", "seeds", "images", "views")},
            "data": self.data.name,
            "test": self.test.name,
            "pixels": new_views[0].image.shape[0],
            "judged_identities": len(judging.identities),
            "judged_views": len(new_views),
        }
        path = self.output_dir / "ablate.json"
        if path.exists():
            former = read_json(path)
            if former["settings"] == settings:
                return former
        data = first_photographs(self.data, self.images, self.output_dir / "data")
        with progress_bar("baselines") as progress:
            baselines = measure_baselines(data, read_views(data, self.downscale_factor), new_views, progress)
        rows = [
            {
                "name": baseline.name,
                "note": baseline.note,
                "figures": {f"new_views_{key}": [value] for key, value in baseline.figures.items()},
            }
            for baseline in baselines
        ]
        return {"settings": settings, "baselines": rows, "ablations": []}

    def _measure(self, ablation: Ablation, training: Training, judging: Judging) -> dict[str, Any]:
        """Train and judge one ablation, write its plot and renders, and return its entry of the JSON."""
        configs: dict[str, list[Path]] = {variant.name: [] for variant in ablation.variants}
        figures: dict[str, list[Figures]] = {variant.name: [] for variant in ablation.variants}
        done, total = 0, self.seeds * len(ablation.variants)
        with progress_bar(ablation.title) as progress:
            progress(done, total)
            # All variants with one seed before the next seed: an interruption leaves them comparable.
            for seed in range(self.seeds):
                for variant in ablation.variants:
                    load_config = trained(self.output_dir, training, variant, seed)
                    configs[variant.name].append(load_config)
                    figures[variant.name].append(judged(load_config, training, judging))
                    done += 1
                    progress(done, total)
        rows = [
            {
                "name": variant.name,
                "place": variant.place,
                "options": list(variant.options),
                "figures": _by_key(figures[variant.name]),
                "trainings": [training_record(load_config) for load_config in configs[variant.name]],
            }
            for variant in ablation.variants
        ]
        plot_ablation(self.output_dir / f"{ablation.name}.png", rows, ablation.reference, ablation.axis)
        first = {name: load_configs[0] for name, load_configs in configs.items()}
        sheet = variants_sheet(first, judging.identities[:SHOWN_IDENTITIES], SHOWN_SIZE)
        write_image(self.output_dir / f"{ablation.name}_renders.png", sheet)
        named = {key: getattr(ablation, key) for key in ("name", "title", "question", "axis", "reference")}
        return {**named, "rows": rows}


def _by_key(figures: Sequence[Figures]) -> dict[str, list[float]]:
    keys = dict.fromkeys(key for values in figures for key in values)
    return {key: [values[key] for values in figures if key in values] for key in keys}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    with exit_with_one_line():
        tyro.cli(Ablate, args=arguments).run()


if __name__ == "__main__":
    main()
