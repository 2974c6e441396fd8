"""Renders of codes as a prepared folder."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nerfgen_ns.datamanagers.dataset import open_dataset
from nerfgen_ns.runs.code_runs import usual_camera, write_rendered_photographs
from nerfgen_ns.runs.loading import load_run


def test_each_code_is_photographed_from_the_front_with_its_matte(
    trained_config: Path, tmp_path: Path
) -> None:
    run = load_run(trained_config)
    done: list[tuple[int, int]] = []
    write_rendered_photographs(run, run.codes, tmp_path / "data", lambda *counts: done.append(counts))
    assert done == [(1, 3), (2, 3), (3, 3)]
    dataset = open_dataset(tmp_path / "data")
    assert len(dataset) == 3
    for row in range(3):
        outputs = run.render(run.code(row), dataset.cameras[row : row + 1])
        image, matte = dataset.get_numpy_image(row), dataset.get_numpy_matte(row)
        assert matte is not None
        assert np.abs(image / 255.0 - outputs["rgb"].numpy()).max() <= 0.51 / 255.0
        assert np.abs(matte / 255.0 - outputs["accumulation"][..., 0].numpy()).max() <= 0.51 / 255.0
    place = dataset.cameras.camera_to_worlds[0, :, 3]
    assert place[2] > 1.0 and torch.allclose(place[:2], torch.zeros(2))


def test_the_photographs_are_as_large_as_those_that_trained(trained_config: Path) -> None:
    run = load_run(trained_config)
    assert int(usual_camera(run).width) == 32
    smaller = usual_camera(replace(run, downscale_factor=2.0))
    assert int(smaller.width) == 16
    assert float(smaller.fx) / 16 == float(run.cameras.fx[0]) / 32


def test_the_canonical_landmarks_of_the_class_come_along(trained_config: Path, tmp_path: Path) -> None:
    run = load_run(trained_config)
    landmarks = run.data / "canonical_landmarks.json"
    write_rendered_photographs(run, run.codes[:1], tmp_path / "data")
    copied = tmp_path / "data" / "canonical_landmarks.json"
    assert copied.exists() == landmarks.exists()
    assert json.loads((tmp_path / "data" / "transforms.json").read_text())["frames"][0]["identity"] == 0
    assert Image.open(tmp_path / "data" / "mattes" / "0000.png").mode == "L"
