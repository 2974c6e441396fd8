"""`nerfgen label`: a run like any other that tells labels too, and label maps that cannot be used."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup
from PIL import Image

import nerfgen_ns
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.runs.code_runs import unpack, write_code_run, write_rendered_photographs
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.pack import write_pack
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.labeling import label, labeled_photographs, read_label_maps
from tests.helpers.labeled_runs import FEW, write_masks

OWN = ("labels", "label_confidence")


def rendered(run: Run, identity: int = 0) -> dict[str, torch.Tensor]:
    return run.render(run.code(identity), run.cameras[:1])


def check_same_labels(made: Run, run: Run, tolerance: float = 0.0) -> None:
    own, expected = (one.render(one.code(0), run.cameras[:1]) for one in (made, run))
    torch.testing.assert_close(own["label_confidence"], expected["label_confidence"], rtol=0, atol=tolerance)
    assert made.legend == run.legend


def test_geometry_and_colors_stay_as_they_are_to_the_bit(trained_config: Path, labeled_config: Path) -> None:
    before, after = rendered(load_run(trained_config)), rendered(load_run(labeled_config))
    assert set(after) - set(before) == set(OWN)
    for name, output in before.items():
        assert torch.equal(after[name], output), name


def test_outputs_are_colors_of_the_legend_and_probabilities(labeled_config: Path) -> None:
    run = load_run(labeled_config)
    outputs = rendered(run)
    height, width = outputs["rgb"].shape[:2]
    assert outputs["labels"].shape == (height, width, 3)
    assert outputs["label_confidence"].shape == (height, width, 1)
    colors = {tuple(round(255 * part) for part in color) for color in outputs["labels"].view(-1, 3).tolist()}
    assert colors <= set(run.legend.colors)
    assert float(outputs["label_confidence"].min()) >= 1.0 / len(run.legend.names) - 1e-6
    assert float(outputs["label_confidence"].max()) <= 1.0 + 1e-5


def test_a_labeled_run_learns_what_its_label_maps_show(labeled_config: Path, heads: Path) -> None:
    run = load_run(labeled_config)
    report = json.loads((labeled_config.parent / "label.json").read_text())
    assert report["label_maps"] == 2 and labeled_photographs(run) == [0, 1]
    assert sum(report["labels"].values()) == 2 * 32 * 32
    legend, kept = read_label_maps(run, labeled_config.parent / "label_maps")
    assert legend == run.legend
    truth = np.array(Image.open(heads / "semantics" / f"{run.record.images[0].stem}.png"))
    np.testing.assert_array_equal(kept[0], truth)


def test_nerfstudio_opens_it_with_its_outputs(labeled_config: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(labeled_config.parent, tmp_path / "moved")
    _, pipeline, _, _ = eval_setup(moved / "config.yml", test_mode="inference")
    model = pipeline.model
    assert isinstance(model, NerfgenModel) and model.label_head is not None
    camera = load_run(labeled_config).cameras[:1]
    camera.metadata = {"cam_idx": 0}
    outputs = model.get_outputs_for_camera(camera)
    expected = rendered(load_run(labeled_config))
    for name in OWN:
        torch.testing.assert_close(outputs[name], expected[name])
    assert model.get_rgba_image(outputs, "labels").shape[-1] == 4


def test_packed_runs_and_runs_of_codes_carry_the_labels(labeled_config: Path, tmp_path: Path) -> None:
    run = load_run(labeled_config)
    write_pack(run, tmp_path / "a.safetensors")
    check_same_labels(load_run(tmp_path / "a.safetensors"), run, 2e-3)
    check_same_labels(load_run(unpack(tmp_path / "a.safetensors", tmp_path / "unpacked")), run, 2e-3)
    write_rendered_photographs(run, run.codes, tmp_path / "data")
    check_same_labels(load_run(write_code_run(run, run.codes, tmp_path / "data", tmp_path / "made")), run)


def test_a_run_of_codes_and_a_packed_run_can_be_labeled(
    trained_config: Path, heads: Path, tmp_path: Path
) -> None:
    run = load_run(trained_config)
    write_rendered_photographs(run, run.codes, tmp_path / "data")
    made = write_code_run(run, run.codes, tmp_path / "data", tmp_path / "made")
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.fromarray(np.eye(32, dtype=np.uint8)).save(masks / "0001.png")
    (masks / "labels.json").write_text('{"names": ["background", "line"]}')
    labeled = load_run(label(made, masks, tmp_path / "labeled", FEW).config)
    shutil.rmtree(tmp_path / "made")
    assert labeled.legend.names == ("background", "line")
    assert labeled.data == tmp_path / "labeled" / "data" and labeled.photographs
    write_pack(run, tmp_path / "a.safetensors")
    (masks / "0001.png").rename(masks / "1.png")
    packed = load_run(label(tmp_path / "a.safetensors", masks, tmp_path / "from_pack", FEW).config)
    assert packed.legend == labeled.legend and len(packed.codes) == 3


def test_a_labeled_run_can_be_labeled_again_and_keeps_nothing_of_the_first_labels(
    labeled_config: Path, heads: Path, tmp_path: Path
) -> None:
    masks = write_masks(heads, tmp_path / "masks", (2,))
    (masks / "labels.json").write_text('{"names": ["a", "b", "c", "d", "e", "f"]}')
    again = load_run(label(labeled_config, masks, tmp_path / "again", FEW).config)
    assert again.legend.names == ("a", "b", "c", "d", "e", "f", "background")
    assert labeled_photographs(again) == [2]
    label(tmp_path / "again" / "config.yml", masks, tmp_path / "again", FEW)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_python_labels_and_saves(trained_config: Path, heads: Path, tmp_path: Path) -> None:
    heads_class = nerfgen_ns.load(trained_config)
    labeled = heads_class.label(write_masks(heads, tmp_path / "masks"), FEW)
    assert heads_class.run.model.label_head is None
    labeled.save(tmp_path / "a.safetensors")
    check_same_labels(load_run(tmp_path / "a.safetensors"), labeled.run, 2e-3)
    with pytest.raises(UsageError):
        _ = heads_class.run.legend


def test_the_command_says_what_to_label_and_labels(
    call_nerfgen: Callable[..., int],
    trained_config: Path,
    heads: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    masks = write_masks(heads, tmp_path / "masks", (0,))
    assert call_nerfgen("label", "--load-config", trained_config, "--suggest", 2) == 0
    names = capsys.readouterr().out.split()
    assert len(set(names)) == 2 and all((heads / "images" / name).is_file() for name in names)
    arguments = ("--load-config", trained_config, "--masks", masks, "--output-dir", tmp_path / "out")
    assert call_nerfgen("label", *arguments, "--steps", 2, "--suggest", 1) == 0
    run = load_run(tmp_path / "out" / "config.yml")
    report = json.loads((tmp_path / "out" / "label.json").read_text())
    (next_one,) = report["suggested"]
    assert next_one in {image.name for image in run.record.images[1:]}


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda masks: (masks / "labels.json").unlink(), "labels.json"),
        (lambda masks: [path.unlink() for path in masks.glob("*.png")], "--masks"),
        (lambda masks: shutil.copyfile(next(masks.glob("*.png")), masks / "nobody.png"), "nobody.png"),
        (lambda masks: Image.new("L", (32, 32), 255).save(next(masks.glob("*.png"))), ".png"),
        (lambda masks: Image.new("L", (31, 32), 0).save(next(masks.glob("*.png"))), ".png"),
        (lambda masks: Image.new("L", (32, 32), 9).save(next(masks.glob("*.png"))), ".png"),
        (lambda masks: Image.new("RGB", (32, 32)).save(next(masks.glob("*.png"))), ".png"),
    ],
)
def test_label_maps_that_cannot_be_used_end_with_one_line_and_nothing_written(
    spoil: Callable[[Path], object],
    named: str,
    call_nerfgen: Callable[..., int],
    trained_config: Path,
    heads: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    masks = write_masks(heads, tmp_path / "masks", (0,))
    spoil(masks)
    arguments = ("--load-config", trained_config, "--masks", masks, "--output-dir", tmp_path / "out")
    assert call_nerfgen("label", *arguments) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["masks"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((), "--masks"),
        (("--suggest", "-1"), "--suggest"),
        (("--masks", "MASKS"), "--output-dir"),
        (("--masks", "MASKS", "--output-dir", "OUT", "--learning-rate", "0"), "--learning-rate"),
        (("--masks", "MASKS", "--output-dir", "OUT", "--steps", "0"), "--steps"),
        (("--suggest", "9", "--output-dir", "OUT"), "--masks"),
    ],
)
def test_wrong_options_are_refused(
    options: tuple[str, ...],
    named: str,
    call_nerfgen: Callable[..., int],
    trained_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call_nerfgen("label", "--load-config", trained_config, *options) == 2
    assert named in capsys.readouterr().err


def test_a_full_disk_and_a_foreign_folder_leave_nothing_behind(
    trained_config: Path, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    masks = write_masks(heads, tmp_path / "masks", (0,))
    with pytest.raises(UsageError, match="mine"):
        label(trained_config, masks, tmp_path / "mine", FEW)

    def fail(*arguments: object) -> None:
        raise RuntimeError("enforce fail at inline_container.cc")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(NerfgenError, match=r"out/nerfstudio_models/step-"):
        label(trained_config, masks, tmp_path / "out", FEW)
    assert not (tmp_path / "out").exists()
