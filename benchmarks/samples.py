"""How many samples a ray needs: pictures of a trained class with few samples against those with many.

    python -m benchmarks.samples --output-path outputs/samples.json

Without options the class is that of the heads that ship, whose truth can be rendered. A class whose surfaces
are sharper, because it was trained at more pixels or with more octaves, needs more samples: name its run and
a folder of views with `--load-config RUN/config.yml --data FOLDER`.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.machine import RECORD, record_of_run
from nerfgen_ns.errors import exit_with_one_line
from nerfgen_ns.evaluation.comparisons import ViewWithTruth, model_renderer, read_views
from nerfgen_ns.metrics.images import psnr
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.pack import HEADS
from nerfgen_ns.runs.run import Run
from nerfgen_ns.synthetic.dataset import write_dataset
from nerfgen_ns.utils.files import write_json


@dataclass
class Samples:
    """Render views with several numbers of samples a ray, and compare them."""

    load_config: Path = HEADS
    """The config.yml of a run, or a packed run."""
    data: Path | None = None
    """A folder of views of the run's identities; if not set, views of the heads that ship are made."""
    counts: tuple[int, ...] = (128, 64, 48, 32, 24, 16)
    """Samples a ray; the pictures with the first are what the others are compared with."""
    views: int = 16
    """How many views, evenly spread."""
    size: int = 64
    """Width and height of the views that are made, in pixels."""
    downscale_factor: int = 1
    """How many times smaller than stored the views of the folder are rendered."""
    output_path: Path | None = None
    """Where the figures go as JSON, if anywhere."""

    def run(self) -> None:
        """Render, compare, print a table."""
        begin, run = time.perf_counter(), load_run(self.load_config)
        views = self._views()
        truth = [view.image for view in views]
        best = render_all(run, views, self.counts[0], is_training=False)
        rows: list[dict[str, float | None]] = []
        for count in self.counts:
            rendered, trained = (render_all(run, views, count, is_training) for is_training in (False, True))
            rows.append(
                {
                    "samples": count,
                    "psnr": mean_psnr(rendered, truth),
                    "psnr_to_first": mean_psnr(rendered, best) if rows else None,
                    "psnr_to_first_as_in_training": mean_psnr(trained, best),
                }
            )
        if self.output_path is not None:
            write_json(self.output_path, {"rows": rows, RECORD: record_of_run(begin)})
        table = Table(*(column.replace("_", " ") for column in rows[0]), title=self.load_config.name)
        for row in rows:
            table.add_row(*("" if value is None else f"{value:.4g}" for value in row.values()))
        Console().print(table)

    def _views(self) -> list[ViewWithTruth]:
        if self.data is not None:
            return read_views(self.data, self.downscale_factor, most=self.views)
        with tempfile.TemporaryDirectory() as folder:
            # Of each head two views, none of them the one that was trained on.
            made = write_dataset(Path(folder) / "views", -(-self.views // 2), views=2, size=self.size)
            return read_views(made, most=self.views)


def render_all(
    run: Run, views: list[ViewWithTruth], samples: int, is_training: bool
) -> list[Float[Tensor, "height width 3"]]:
    """Render views with a number of samples a ray.

    Args:
        run: a trained run.
        views: what to render.
        samples: of each ray.
        is_training: whether samples are jittered and spread over the cells of the class, as in training,
            instead of even in the cells of the object.
    """
    renderer = run.model.ray_renderer
    renderer.num_training_samples = renderer.num_eval_samples = samples
    renderer.train(is_training)
    torch.manual_seed(0)
    try:
        return [model_renderer(run)(view).rgb for view in views]
    finally:
        renderer.eval()


def mean_psnr(pictures: list[Tensor], expected: list[Tensor]) -> float:
    """Return the mean PSNR in dB."""
    pairs = zip(pictures, expected, strict=True)
    return sum(float(psnr(picture, image)) for picture, image in pairs) / len(pictures)


if __name__ == "__main__":
    with exit_with_one_line():
        tyro.cli(Samples).run()
