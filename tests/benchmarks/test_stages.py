"""How `benchmarks.stages` compares samples with photographs."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.stages import Pictures, Stages, distances, halves, pictures_of, sliced_wasserstein, table_rows
from nerfgen_ns.runs.launch import Training
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.utils.files import read_json


def test_the_distance_of_patches_is_small_for_the_same_pictures_and_grows_where_detail_is_lost():
    photographs, others = torch.rand(2, 24, 3, 64, 64)
    blurred = F.avg_pool2d(others, 3, stride=1, padding=1, count_include_pad=False)
    # Other patches of them: the standard deviation of a value is 1000.
    assert sliced_wasserstein(photographs, photographs) == pytest.approx([0.0] * 3, abs=60.0)
    same_kind, softer = (sliced_wasserstein(photographs, images) for images in (others, blurred))
    assert len(same_kind) == 3, "64, 32 and 16 pixels"
    assert softer[0] > 5 * same_kind[0]
    assert sliced_wasserstein(photographs, others) == same_kind


def test_samples_and_photographs_are_as_many_of_one_size(begun_run: Path):
    photographs, samples = pictures_of(load_run(begun_run), 3, 1)
    shapes = {picture.shape for pictures in (photographs, samples) for part in pictures for picture in part}
    assert shapes == {(32, 32, 3)}
    assert [len(part) for pictures in (photographs, samples) for part in pictures] == [3] * 4
    far = distances(photographs, samples)
    near = distances(*halves(Pictures(photographs.whole[:2], [])))
    assert far.keys() == {"whole", "objects"} and near.keys() == {"whole"}
    assert all(value > 0 for values in far.values() for value in values)


def test_a_table_has_a_row_for_each_training_and_one_for_photographs():
    training = {
        "steps": 1200,
        "figures": {"held-out": {"PSNR inside the matte": 20.0}},
        "distances": {"whole": [30.0, 10.0]},
        "of_photographs": {"whole": [3.0, 1.0]},
        "kid": None,
    }
    head, *rows = table_rows({"plain": training, "adversarial": {**training, "kid": None}})
    assert [row[0] for row in rows] == ["plain", "adversarial", "photographs"]
    assert {len(row) for row in rows} == {len(head)}
    assert rows[0] == ["plain", "1,200", "–", "–", "20", "–", "20.0", "30.0", "–", "–"]
    assert rows[2][-4:] == ["2.0", "3.0", "–", "–"]
    assert table_rows({"plain": {**training, "kid": 0.0123}})[1][-1] == "0.0123"


def test_three_trainings_become_figures_a_sheet_and_a_section(begun_run, small_heads, tmp_path, monkeypatch):
    commands = []

    def copied(training: Training) -> None:
        commands.append(training.command())
        shutil.copytree(begun_run.parent, training.run_dir)

    monkeypatch.setattr(Training, "run", copied)
    monkeypatch.setattr(Training, "figures", lambda _: {"steps": 2, "seconds": 1.0, "rays_per_second": 1.0})
    stages = Stages(
        small_heads / "train", tmp_path / "out", 1.0, "nerfgen-tiny", judged_factor=1, photographs=2,
        samples=2, results_path=tmp_path / "RESULTS.md",
    )  # fmt: skip
    stages.run()
    stages.run()
    assert len(commands) == 3, "a training that is done is not repeated"
    options = [" ".join(command) for command in commands]
    assert ["perceptual-loss-mult 0.03" in said for said in options] == [False, True, False]
    assert ["adversarial.loss-mult 0.001" in said for said in options] == [False, False, True]
    trainings = read_json(tmp_path / "out/stages.json")["trainings"]
    assert list(trainings) == ["plain", "perceptual", "adversarial"]
    assert trainings["plain"]["figures"]["training-reconstruction"]["PSNR inside the matte"] > 0
    rows = [
        np.asarray(Image.open(tmp_path / f"out/samples_{name}.png")) for name in (*trainings, "photographs")
    ]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/samples.png")), np.concatenate(rows))
    assert "| adversarial | 2 |" in (tmp_path / "RESULTS.md").read_text()
