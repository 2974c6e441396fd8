"""Cameras found anew from photographs that codes made: the truth is known."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nerfgen_ns.cameras.se3 import move_cameras
from nerfgen_ns.datamanagers.dataset import open_dataset
from nerfgen_ns.dataset_format.transforms import transforms_path
from nerfgen_ns.errors import UsageError
from nerfgen_ns.inversion.config import FitConfig
from nerfgen_ns.inversion.latent_fit import PoseStd
from nerfgen_ns.inversion.refit import refit_cameras
from nerfgen_ns.runs.code_runs import write_rendered_photographs
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.utils.files import read_json, write_json
from tests.helpers.prepared_contents import record_of

CONFIG = FitConfig(steps=100, rays=64, prior_weight=0.0, background_weight=1.0, code_noise=0.0)


@pytest.fixture
def run(trained_config: Path, tmp_path: Path) -> Run:
    """A class of very different objects, and its own renders for the photographs it was trained on."""
    run = load_run(trained_config)
    torch.manual_seed(0)
    run.model.latent_table.codes.weight.data.normal_(std=1.0)
    write_rendered_photographs(run, run.codes[:2], tmp_path / "data")
    return replace(run, record=record_of(tmp_path / "data"))


def displaced(run: Run) -> torch.Tensor:
    """The cameras of the photographs moved, each in its own way; the files are left as they are."""
    whitened = torch.tensor([[0.0, 1.5, 0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, -1.0, 0.0]])
    true = open_dataset(run.data).cameras.camera_to_worlds
    return move_cameras(true, PoseStd().motion_matrices(whitened))


def distances(run: Run, cameras: torch.Tensor) -> torch.Tensor:
    true = open_dataset(run.data).cameras.camera_to_worlds.double()
    return (cameras - true).flatten(1).norm(dim=1)


def test_cameras_that_are_off_come_nearer(run: Run) -> None:
    off = displaced(run)
    names, found = refit_cameras(run, CONFIG, off)
    assert names == [str(path) for path in open_dataset(run.data).image_filenames]
    assert (distances(run, found) < 0.7 * distances(run, off)).all()


def test_the_search_begins_at_the_cameras_of_the_data(run: Run) -> None:
    off = displaced(run)
    _, expected = refit_cameras(run, CONFIG, off)
    path = transforms_path(run.data)
    transforms = read_json(path)
    for frame, camera in zip(transforms["frames"], off.tolist(), strict=True):
        frame["transform_matrix"] = [*camera, [0.0, 0.0, 0.0, 1.0]]
    write_json(path, transforms)
    told: list[tuple[int, int]] = []
    _, found = refit_cameras(run, CONFIG, progress=lambda done, total: told.append((done, total)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0.0)
    assert told[-1][0] == told[-1][1] > 0


def test_a_class_of_one_object_has_nothing_to_tell_cameras_by(run: Run) -> None:
    run.model.latent_table.codes.weight.data.fill_(0.5)
    with pytest.raises(UsageError):
        refit_cameras(run)
