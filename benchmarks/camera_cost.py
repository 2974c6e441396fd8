"""What fitted cameras cost: novel views after training on true, fitted, refined and refitted cameras.

    python -m benchmarks.camera_cost --data FITTED --truth HEADS/train --test HEADS/test_seen \
        --output-dir outputs/cost

FITTED is a prepared folder of the photographs in HEADS/train (`nerfgen prepare --data HEADS/train/images`).
Trains the same method for the same time on the true cameras, on the fitted ones, on the fitted ones with
`--pipeline.model.camera-optimizer.mode SO3xR3`, and on those that `nerfgen prepare --from-run` finds with
the run of the fitted ones; `--runs` leaves some of them out. The test cameras are brought into the fitted
class frame in two ways (see `nerfgen_ns.cameras.alignment`): by each identity's own training camera, and by
one similarity for all. Views keep their own intrinsics.

The true cameras' figures also show how well networks that were trained on the truth find cameras again,
starting from the fitted ones. Networks that were trained on fitted cameras will hardly do better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
import tyro
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from rich.console import Console
from rich.table import Table
from torch import Tensor

from nerfgen_ns.cameras.alignment import (
    Similarity,
    align_collection,
    align_identity,
    rotation_errors,
    with_focal_length,
)
from nerfgen_ns.cameras.projection import homogeneous
from nerfgen_ns.datamanagers.dataset import open_dataset
from nerfgen_ns.dataset_format.frame import Frame
from nerfgen_ns.dataset_format.transforms import read_transforms
from nerfgen_ns.errors import UsageError, exit_with_one_line
from nerfgen_ns.evaluation.comparisons import Figures, ViewWithTruth, mean_scores, model_renderer, read_views
from nerfgen_ns.inversion.refit import prepare_from_run, refit_cameras
from nerfgen_ns.runs.launch import Training
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.utils.console import progress_bar
from nerfgen_ns.utils.files import write_json

TRUE: Final = "true"
FITTED: Final = "fitted"
REFINED: Final = "refined"
REFITTED: Final = "refitted"
OWN, WHOLE = "own camera", "one similarity"


@dataclass
class CameraCost:
    """Train on true and on fitted cameras for the same time, and compare novel views."""

    data: Path
    """Prepared folder with fitted cameras."""
    truth: Path
    """Folder of the same photographs with `true_transform_matrix` or, without it, true cameras."""
    test: Path
    """Folder of new views of the same identities, with the truth."""
    output_dir: Path
    """Where the runs and the figures go; a run that is there already is not trained again."""
    runs: tuple[Literal["true", "fitted", "refined", "refitted"], ...] = (TRUE, FITTED, REFINED, REFITTED)
    """What to train on. Refitted cameras need the run of the fitted ones: it is trained if missing."""
    method: str = "nerfgen-tiny"
    """Method of `ns-train`."""
    minutes: float = 4.0
    """Minutes of each training."""
    size: int = 64
    """Approximate side in pixels of the photographs in training and of the views in judging."""
    options: tuple[str, ...] = ()
    """Further options of `ns-train` for the refined run."""

    def run(self) -> None:
        """Train what is missing, judge, print a table and write `camera_cost.json`."""
        figures = {name: self._measure(name) for name in self.runs}
        for values in figures.values():
            for alignment in (OWN, WHOLE):
                if TRUE in figures:
                    values[f"{alignment}: loss, dB"] = (
                        figures[TRUE][f"{alignment}: foreground PSNR, dB"]
                        - values[f"{alignment}: foreground PSNR, dB"]
                    )
        table = Table("measured", *figures)
        for name in dict.fromkeys(name for values in figures.values() for name in values):
            table.add_row(
                name, *(f"{values[name]:.4g}" if name in values else "" for values in figures.values())
            )
        Console().print(table)
        write_json(self.output_dir / "camera_cost.json", figures)

    def _measure(self, name: str) -> dict[str, float]:
        data = self._data_of(name)
        run = load_run(self._trained(name, data))
        pairs = paired_cameras(run, data, self.truth)
        figures = {"training steps": float(run.step + 1)}
        figures |= error_figures("rotation error", pairs.fitted, pairs.true)
        if name == TRUE:
            figures |= self._found_by_the_truth(run, pairs)
        views = read_views(self.test, self._factor(self.test), pairs.row_of_identity)
        figures["views"] = len(views)
        for alignment, scores in new_view_figures(run, pairs, views, pairs.row_of_identity).items():
            if "foreground_psnr" not in scores:
                raise UsageError(f'{self.test}: its views need mattes; give each frame a "mask_path"')
            figures[f"{alignment}: foreground PSNR, dB"] = scores["foreground_psnr"]
            if "depth_correlation" in scores:
                figures[f"{alignment}: depth correlation"] = scores["depth_correlation"]
        return figures

    def _factor(self, data: Path) -> int:
        """Return how many times smaller than stored a folder's photographs are in training and judging."""
        return max(1, round(read_transforms(data, allow_outside=True).frames[0].w / self.size))

    def _data_of(self, name: str) -> Path:
        if name == TRUE:
            return self.truth
        if name != REFITTED:
            return self.data
        refitted = self.output_dir / "refitted_data"
        if not refitted.exists():
            prepare_from_run(self._trained(FITTED, self.data), refitted, progress_bar)
        return refitted

    def _found_by_the_truth(self, run: Run, truth: PairedCameras) -> dict[str, float]:
        """Measure how near a run that was trained on the true cameras brings the fitted ones to them."""
        matrices = open_dataset(self.data).cameras.camera_to_worlds
        pairs = pair_cameras(matrices, self.data, self.truth)
        rows = [truth.row_of_identity[identity] for identity in pairs.row_of_identity]
        start = truth.true.copy()
        start[rows] = align_collection(pairs.fitted, pairs.true).move_cameras(pairs.fitted)
        _, found = refit_cameras(run, start=torch.from_numpy(start[:, :3]))
        start[:, :3] = found.numpy()
        return error_figures("rotation error of the fitted, found anew", start[rows], pairs.true)

    def _trained(self, name: str, data: Path) -> Path:
        """Return the config.yml of a run; train it first unless it is there."""
        mode = ("--pipeline.model.camera-optimizer.mode", "SO3xR3", *self.options)
        refine = mode if name == REFINED else ()
        training = Training(
            data, self.output_dir, self.method, "cost", name, self.minutes, self._factor(data), refine
        )
        if not training.has_checkpoints:
            training.run()
        return training.load_config


@dataclass
class PairedCameras:
    """The cameras of n photographs, fitted and true, at the true focal length."""

    fitted: Float[np.ndarray, "n 4 4"]
    true: Float[np.ndarray, "n 4 4"]
    row_of_identity: dict[int | str | None, int]
    """The row of the latent table, which is the place among the photographs, by the truth's identity."""


def paired_cameras(run: Run, data: Path, truth: Path) -> PairedCameras:
    """Pair the cameras that a run ended with and the true ones; see `pair_cameras`."""
    matrices = run.cameras.camera_to_worlds.cpu()
    correction = run.model.camera_optimizer
    if correction is not None:
        matrices = correction.move_cameras(matrices.to(run.model.device)).cpu()
    return pair_cameras(matrices, data, truth)


def pair_cameras(matrices: Float[Tensor, "n 3 4"], data: Path, truth: Path) -> PairedCameras:
    """Pair the cameras of a folder's photographs with the true ones, by the photographs' names."""
    true_frames = {file.name: frame for file, frame in frames_by_file(truth).items()}
    frames = frames_by_file(data)
    names = open_dataset(data).image_filenames
    fitted, true, focal, true_focal = [], [], [], []
    row_of_identity: dict[int | str, int] = {}
    for row, (name, matrix) in enumerate(zip(names, matrices.double().numpy(), strict=True)):
        frame = frames[name]
        true_frame = true_frames[frame.source or name.name]
        moved_frame = replace(frame, transform_matrix=np.vstack([matrix, [0, 0, 0, 1]]))
        camera, own_focal = moved_frame.photograph_camera()
        fitted.append(camera)
        focal.append(own_focal)
        true.append(true_frame.true_camera)
        true_focal.append(true_frame.fl_x)
        row_of_identity[true_frame.identity] = row
    moved = with_focal_length(np.array(fitted), np.array(focal), np.array(true_focal))
    return PairedCameras(moved, np.array(true), row_of_identity)


def frames_by_file(data: Path) -> dict[Path, Frame]:
    """Return the frames of a folder by their photographs."""
    transforms = read_transforms(data, allow_outside=True)
    return dict(zip(transforms.files, transforms.frames, strict=True))


def error_figures(
    name: str, fitted: Float[np.ndarray, "n 4 4"], true: Float[np.ndarray, "n 4 4"]
) -> dict[str, float]:
    """Compute median and 90th percentile of the rotation errors, under their names in the table."""
    errors = rotation_errors(fitted, true)
    return {
        f"{name}, degrees, median": float(np.median(errors)),
        f"{name}, degrees, 90th percentile": float(np.percentile(errors, 90)),
    }


def new_view_figures(
    run: Run,
    pairs: PairedCameras,
    views: Sequence[ViewWithTruth],
    rows: Mapping[int | str, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Figures]:
    """Score new views under either alignment of their cameras; for `rows` see `model_renderer`."""
    collection = align_collection(pairs.true, pairs.fitted)

    def by_own_camera(view: ViewWithTruth) -> Cameras:
        row = pairs.row_of_identity[view.identity]
        return moved_camera(view.camera, align_identity(pairs.true[row], pairs.fitted[row], collection))

    def by_one_alignment(view: ViewWithTruth) -> Cameras:
        return moved_camera(view.camera, collection)

    return {
        name: mean_scores(model_renderer(run, camera_of, rows), views, progress)
        for name, camera_of in ((OWN, by_own_camera), (WHOLE, by_one_alignment))
    }


def moved_camera(camera: Cameras, similarity: Similarity) -> Cameras:
    """Move a camera of shape (1,) into the other frame; it keeps its intrinsics."""
    matrix = homogeneous(camera.camera_to_worlds[0].double().numpy())
    moved = camera[...]
    moved.camera_to_worlds = torch.from_numpy(similarity.move_cameras(matrix)[None, :3]).float()
    return moved


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    tyro.cli(CameraCost, args=arguments).run()


if __name__ == "__main__":
    with exit_with_one_line():
        main()
