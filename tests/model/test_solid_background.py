"""Cars before white: training, figures and pictures without a single matte to train on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from nerfgen_ns.datamanagers.dataset import open_dataset
from nerfgen_ns.evaluation.comparisons import evaluate_views
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.synthetic.dataset import write_dataset
from nerfgen_ns.visualization.contact_sheets import identity_sheet, morph, turning, turning_sheet
from tests.helpers.short_trainings import short_config, train

CARS, SIZE, STEPS, RAYS = 12, 32, 250, 384
STEP = 16 + 4
"""From one picture of 16 pixels to the next on a contact sheet."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cars")
    write_dataset(folder / "train", CARS, size=SIZE, class_name="cars")
    write_dataset(folder / "test", 4, views=2, size=SIZE, class_name="cars")
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    torch.manual_seed(0)
    config = short_config(folder / "train", folder / "outputs", STEPS)
    config.pipeline.model.background.learned = False  # type: ignore[attr-defined]
    config.pipeline.datamanager.train_num_rays_per_batch = RAYS
    return load_run(train(config))


def test_density_forms_where_the_cars_are_and_nowhere_else(run: Run, folder: Path) -> None:
    """On views that were never trained on."""
    views = open_dataset(folder / "test")
    inside, outside = [], []
    for view in range(len(views)):
        matte = torch.from_numpy(views.get_numpy_matte(view) / 255.0)  # type: ignore[operator]
        accumulation = run.render(run.code(view // 2), views.cameras[view : view + 1])["accumulation"][..., 0]
        nearby = avg_pool2d(matte[None], 9, stride=1, padding=4)[0]
        inside.append(accumulation[matte == 1].mean())
        outside.append(accumulation[nearby == 0].mean())
    assert torch.stack(inside).mean() > 0.7
    assert torch.stack(outside).mean() < 0.1


def test_figures_hold_what_the_mattes_that_are_there_allow(run: Run, folder: Path) -> None:
    assert evaluate_views(run, folder / "train").keys() == {"views", "psnr"}
    judged = evaluate_views(run, folder / "test")
    assert judged.keys() == {
        "views",
        "psnr",
        "foreground_psnr",
        "depth_correlation",
        "normal_error",
        "silhouette_iou",
    }
    assert np.isfinite(list(judged.values())).all()
    assert judged["depth_correlation"] > 0.5


def test_the_background_is_white_and_opens_to_alpha(run: Run) -> None:
    outputs = run.render(run.code(0), run.cameras[:1])
    assert (outputs["background"] == 1).all()
    alpha = run.model.get_rgba_image(outputs)[..., 3]
    assert alpha[0].max() < 0.5 < alpha.max()


def test_pictures_show_the_class_from_all_around(run: Run) -> None:
    assert identity_sheet(run, run.open_photographs(), [0, 1], 16).shape[0] == 4 + 9 * STEP
    assert turning_sheet(run, run.codes[:1], 16).shape[0] == 4 + 7 * STEP
    ahead, behind = list(turning(run, run.codes[:1], 16, frames=2))
    assert ahead.shape == (64, 32, 3) and np.abs(ahead.astype(int) - behind).max() > 20
    assert len(list(morph(run, run.codes[:2], 16, frames=2))) == 2
