"""What the data factory is worth: networks trained on its data against the same trained on few label maps.

    python -m benchmarks.factory_use --heads HEADS --output-dir OUT

HEADS has `train`, and `test_new` with depth and label maps. A run on `train` is labeled with few label maps
and makes images and point clouds. A 2D network and a point-cloud network learn from them, the same networks
from the label maps themselves, and all are judged on real photographs and on clouds of their true depth.
Prints a table, and writes it as JSON and, with `--results-path`, as Markdown.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.ablation.tables import markdown_table
from benchmarks.labels import write_masks
from benchmarks.machine import RECORD, record_of_run, record_sentence
from benchmarks.point_network import LabeledPoints, PointConfig, label_points, train_point_network
from benchmarks.results_file import write_section
from nerfgen_ns.dataset_format.label_maps import UNLABELED, Legend, shrink_label_map
from nerfgen_ns.errors import NerfgenError, exit_with_one_line
from nerfgen_ns.evaluation.folders import TestFolder, open_test_folder
from nerfgen_ns.metrics.labels import confusion, label_ious, mean_iou
from nerfgen_ns.rendering.volume_rendering import VISIBLE
from nerfgen_ns.runs.launch import Training
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.config import FactoryConfig, LabelConfig
from nerfgen_ns.semantics.factory import factory
from nerfgen_ns.semantics.labeling import label, labeled_photographs, read_label_maps
from nerfgen_ns.semantics.segmentation import SegmentationConfig, segment, train_segmentation
from nerfgen_ns.utils.console import progress_bar
from nerfgen_ns.utils.files import write_json
from nerfgen_ns.utils.images import contact_sheet, from_bytes, write_image
from nerfgen_ns.utils.spacing import evenly_spaced

Source = Literal["masks", "factory", "both"]
SHOWN = 8
MOST_POINTS = 4096
"""Points of a cloud that is judged, at most."""


@dataclass(frozen=True)
class LabeledImages:
    """Images of one size with label maps."""

    images: Float[Tensor, "n 3 height width"]
    labels: Int[Tensor, "n height width"]


@dataclass(kw_only=True)
class FactoryUse:
    """Train networks on data of the factory and on the masks that it learned from, and judge both."""

    heads: Path
    """A folder with the prepared folder `train` and the test folder `test_new`."""
    output_dir: Path
    """Where runs, data and figures go. What is there is not made again."""
    load_config: Path | None = None
    """The config.yml of a run on `train`; if not given, one is trained."""
    minutes: float = 4.0
    """How long that training takes."""
    masks: int = 30
    """How many label maps there are."""
    images: int = 5000
    """Images of the factory."""
    seeds: int = 3
    """How many times each network is trained."""
    sources: tuple[Source, ...] = ("masks", "factory", "both")
    """What networks are trained on; both: the factory's, and the masks repeated until they are as many."""
    downscale_factor: int = 2
    """How many times smaller than stored photographs are seen."""
    head: LabelConfig = field(default_factory=LabelConfig)
    """How the label head is trained."""
    factory: FactoryConfig = field(default_factory=FactoryConfig)
    """What the factory draws; --images and --downscale-factor decide how many and how large."""
    pictures: SegmentationConfig = field(default_factory=lambda: SegmentationConfig(steps=2000))
    """How the 2D network is trained, on whatever."""
    clouds: PointConfig = field(default_factory=PointConfig)
    """How the point-cloud network is trained, on whatever."""
    threads: int | None = None
    """Threads of the processor; if not set, torch decides."""
    results_path: Path | None = None
    """The file of results, in Markdown, to put the figures into."""

    def run(self) -> None:
        """Label, make data, train, judge, print."""
        begin = time.perf_counter()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        run = self._labeled()
        made, rate = self._made(run)
        test = open_test_folder(self.heads / "test_new", "test_new", self.downscale_factor)
        numbers = numbers_of(test.labels, run.legend)
        report: dict[str, Any] = {
            "masks": self.masks,
            "images": self.images,
            "images a second": rate,
            "pictures": self._pictures(run, made, test, numbers),
            "clouds": self._clouds(run, made, test, numbers),
        }
        report[RECORD] = record_of_run(begin)
        write_json(self.output_dir / "factory_use.json", report)
        rows = rows_of(report)
        table = Table(*rows[0], title=f"{self.masks} label maps, {self.images} images of the factory")
        for row in rows[1:]:
            table.add_row(*row)
        Console().print(table)
        if rate is not None:
            print(f"the factory made {rate:.1f} images a second")
        if self.results_path is not None:
            body = f"{markdown_table(rows[0], rows[1:])}\n\n{record_sentence(report[RECORD])}"
            kind = "cuda" if torch.cuda.is_available() else "cpu"
            write_section(self.results_path, "What the data factory is worth", kind, body)

    def _labeled(self) -> Run:
        folder = self.output_dir / f"labeled_{self.masks}"
        if not (folder / "config.yml").is_file():
            config = self.load_config
            if config is None:
                training = Training(
                    self.heads / "train",
                    self.output_dir,
                    experiment="factory",
                    minutes=self.minutes,
                    downscale_factor=self.downscale_factor,
                )
                if not training.has_checkpoints:
                    training.run(show_progress=True)
                config = training.load_config
            run = load_run(config)
            chosen = evenly_spaced(len(run.record.images), self.masks, "middles").tolist()
            with tempfile.TemporaryDirectory() as temporary:
                masks = Path(temporary) / "masks"
                write_masks(run, masks, chosen)
                label(config, masks, folder, self.head, stages=progress_bar)
        return load_run(folder / "config.yml")

    def _made(self, run: Run) -> tuple[Path, float | None]:
        """Make the factory's data; return its folder, and images a second if any are made."""
        width = float(run.cameras.width.float().median())
        size = round(width / self.downscale_factor)
        config = replace(self.factory, count=self.images, format="webdataset", size=size)
        folder = self.output_dir / f"factory_{self.images}"
        with progress_bar("images") as progress:
            report = factory(run, folder, config, progress=progress)
        return folder, report.images / report.seconds if report.images else None

    def _pictures(
        self, run: Run, made: Path, test: TestFolder, numbers: Int[Tensor, "256"]
    ) -> dict[str, dict[str, Any]]:
        sets = {"masks": images_of_masks(run, self.downscale_factor), "factory": images_of_factory(made)}
        truth = [(test_image(test, number), numbers[test.semantics(number)]) for number in test.chosen]
        names = run.legend.names
        shown = evenly_spaced(len(truth), SHOWN).tolist()
        sheet: dict[str, list[Any]] = {
            "photograph": [test.dataset.get_numpy_image(test.chosen[place]) for place in shown],
            "truth": [run.legend.picture(truth[place][1].numpy().astype(np.uint8)) for place in shown],
        }

        def judged(source: Source, seed: int) -> Int[Tensor, "labels labels"]:
            data = joined_images(sets, source)
            config = replace(self.pictures, seed=seed)
            with progress_bar(f"2D network, {source}, seed {seed}") as progress:
                network = train_segmentation(data.images, data.labels, len(names), config, progress)
            confused = torch.zeros(len(names), len(names), dtype=torch.long)
            labels = [segment(network, image) for image, _ in truth]
            for own, (_, expected) in zip(labels, truth, strict=True):
                confused += confusion(own, expected, len(names))
            if seed == 0:
                drawn = [run.legend.picture(labels[place].numpy().astype(np.uint8)) for place in shown]
                sheet[f"from {source}"] = drawn
            return confused

        figures = self._judge_all(names, judged)
        write_image(self.output_dir / "factory_use.png", contact_sheet(sheet))
        return figures

    def _clouds(
        self, run: Run, made: Path, test: TestFolder, numbers: Int[Tensor, "256"]
    ) -> dict[str, dict[str, Any]]:
        sets = {"masks": clouds_of_masks(run, self.downscale_factor), "factory": clouds_of_factory(made)}
        for source, clouds in sets.items():
            if not clouds:
                raise NerfgenError(
                    f"--load-config: no object of {source} shows a surface; train the run longer"
                )
        truth = [cloud_of_truth(test, number, numbers, run.legend.background) for number in test.chosen]
        names = run.legend.names

        def judged(source: Source, seed: int) -> Int[Tensor, "labels labels"]:
            clouds = joined_clouds(sets, source)
            config = replace(self.clouds, seed=seed)
            with progress_bar(f"point network, {source}, seed {seed}") as progress:
                network = train_point_network(clouds, len(names), config, progress)
            confused = torch.zeros(len(names), len(names), dtype=torch.long)
            for cloud in truth:
                confused += confusion(label_points(network, cloud.values), cloud.labels, len(names))
            return confused

        return self._judge_all(names, judged)

    def _judge_all(
        self, names: Sequence[str], judged: Callable[[Source, int], Int[Tensor, "labels labels"]]
    ) -> dict[str, dict[str, Any]]:
        """Return mean IoU of each seed, and the IoU of each label in their mean, by what was trained on."""
        figures: dict[str, dict[str, Any]] = {}
        for source in self.sources:
            confused = [judged(source, seed) for seed in range(self.seeds)]
            ious = torch.stack([label_ious(one) for one in confused]).mean(dim=0).tolist()
            there = confused[0].sum(dim=1) > 0
            figures[source] = {
                "mIoU": [mean_iou(one) for one in confused],
                "IoU": {
                    name: iou for name, iou, known in zip(names, ious, there.tolist(), strict=True) if known
                },
            }
        return figures


def rows_of(report: Mapping[str, Any]) -> list[list[str]]:
    """Return a table: its head, and a row for each network and each of its trainings' data."""
    labels = list(dict.fromkeys(name for one in report["pictures"].values() for name in one["IoU"]))
    rows = [["network", "trained on", "mIoU", "of each seed", *labels]]
    for kind, name in (("pictures", "2D"), ("clouds", "points")):
        for source, figures in report[kind].items():
            seeds = figures["mIoU"]
            spread = f" ± {statistics.stdev(seeds):.3f}" if len(seeds) > 1 else ""
            ious = [figures["IoU"].get(label) for label in labels]
            rows.append(
                [
                    name,
                    source,
                    f"{statistics.mean(seeds):.3f}{spread}",
                    " ".join(f"{value:.3f}" for value in seeds),
                    *("–" if iou is None else f"{iou:.3f}" for iou in ious),
                ]
            )
    return rows


def numbers_of(names: Sequence[str], legend: Legend) -> Int[Tensor, "256"]:
    """Return the run's number of each number of a test folder; unlabeled for labels that it does not know."""
    numbers = torch.full((256,), UNLABELED)
    for number, name in enumerate(names):
        if name in legend.names:
            numbers[number] = legend.names.index(name)
    return numbers


def test_image(test: TestFolder, number: int) -> Float[Tensor, "height width 3"]:
    """Return a photograph in [0, 1]."""
    return from_bytes(test.dataset.get_numpy_image(number))


def labeled_views(
    run: Run, factor: int
) -> list[tuple[int, Cameras, Float[Tensor, "height width 3"], Int[Tensor, "height width"]]]:
    """Return the photographs of a run that have label maps: numbers, cameras, colors, labels."""
    assert run.folder is not None
    _, maps = read_label_maps(run, run.folder / "label_maps")
    photographs = open_test_folder(run.photographs, "train", factor)
    views = []
    for number in labeled_photographs(run):
        camera = photographs.camera(number)
        labels = shrink_label_map(maps[number], int(camera.width), int(camera.height))
        truth = torch.from_numpy(labels.astype(np.int64))
        views.append((number, camera, test_image(photographs, number), truth))
    return views


def images_of_masks(run: Run, factor: int) -> LabeledImages:
    """Return the labeled photographs of a run."""
    views = labeled_views(run, factor)
    images = torch.stack([image.permute(2, 0, 1) for _, _, image, _ in views])
    return LabeledImages(images, torch.stack([labels for *_, labels in views]))


def samples_of(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Read all samples of one kind of tars."""
    from webdataset import WebDataset

    tars = [str(path) for path in sorted(folder.glob(f"{kind}-*.tar"))]
    return list(WebDataset(tars, shardshuffle=False).decode("rgb8", partial=True))


def images_of_factory(folder: Path) -> LabeledImages:
    """Read the images of a data set of the factory, with `webdataset`."""
    views = samples_of(folder, "views")
    images = from_bytes(np.stack([view["image.png"] for view in views])).permute(0, 3, 1, 2)
    labels = np.stack([view["maps.npz"]["labels"] for view in views]).astype(np.int64)
    return LabeledImages(images.contiguous(), torch.from_numpy(labels))


def joined_images(sets: Mapping[str, LabeledImages], source: Source) -> LabeledImages:
    """Return the images of a source; of both, the masks as often as the factory's."""
    if source != "both":
        return sets[source]
    few, many = sets["masks"], sets["factory"]
    again = torch.arange(len(many.images)) % len(few.images)
    return LabeledImages(
        torch.cat([many.images, few.images[again]]), torch.cat([many.labels, few.labels[again]])
    )


def joined_clouds(sets: Mapping[str, list[LabeledPoints]], source: Source) -> list[LabeledPoints]:
    """Return the clouds of a source; of both, those of the masks as often as the factory's."""
    if source != "both":
        return sets[source]
    few, many = sets["masks"], sets["factory"]
    return [*many, *(few[place % len(few)] for place in range(len(many)))]


def places_of(
    camera: Cameras, depth: Float[Tensor, "height width"], is_z: bool
) -> Float[Tensor, "height width 3"]:
    """Return the point of the class frame that each pixel shows, from z-depth or from depth along rays."""
    rays = camera.generate_rays(camera_indices=0, keep_shape=True)
    along = rays.directions @ -camera.camera_to_worlds[0, :, 2] if is_z else torch.ones_like(depth)
    return rays.origins + rays.directions * (depth / along)[..., None]


def clouds_of_masks(run: Run, factor: int) -> list[LabeledPoints]:
    """Return the points that labeled photographs show, at the run's depth, with their colors and labels."""
    clouds = []
    for number, camera, image, labels in labeled_views(run, factor):
        outputs = run.render(run.code(int(run.record.rows[number])), camera)
        inside = (outputs["accumulation"][..., 0] > VISIBLE).cpu() & (labels != run.legend.background)
        places = places_of(camera, outputs["depth"][..., 0].cpu(), is_z=False)
        if inside.any():
            clouds.append(LabeledPoints(torch.cat([places, image], dim=-1)[inside], labels[inside]))
    return clouds


def clouds_of_factory(folder: Path) -> list[LabeledPoints]:
    """Read the point clouds of a data set of the factory, with `webdataset` and `trimesh`."""
    from io import BytesIO

    from trimesh import load

    clouds = []
    for sample in samples_of(folder, "objects"):
        if "ply" not in sample:
            continue
        cloud: Any = load(BytesIO(sample["ply"]), file_type="ply")
        data = cloud.metadata["_ply_raw"]["vertex"]["data"]
        colors = np.stack([data[name] for name in ("red", "green", "blue")], axis=-1) / 255.0
        values = np.concatenate([np.asarray(cloud.vertices), colors], axis=-1).astype(np.float32)
        labels = torch.from_numpy(data["label"].astype(np.int64).reshape(-1))
        clouds.append(LabeledPoints(torch.from_numpy(values), labels))
    return clouds


def cloud_of_truth(
    test: TestFolder, number: int, numbers: Int[Tensor, "256"], background: int
) -> LabeledPoints:
    """Return the points that a photograph shows by its true depth, with their true labels."""
    depth, labels = test.depth(number), numbers[test.semantics(number)]
    inside = torch.isfinite(depth) & (labels != background)
    places = places_of(test.camera(number), torch.where(inside, depth, 0.0), is_z=True)
    values = torch.cat([places, test_image(test, number)], dim=-1)[inside]
    chosen = torch.from_numpy(evenly_spaced(len(values), MOST_POINTS))
    return LabeledPoints(values[chosen], labels[inside][chosen])


if __name__ == "__main__":
    with exit_with_one_line():
        tyro.cli(FactoryUse).run()
