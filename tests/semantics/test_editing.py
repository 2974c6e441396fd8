"""Semantic editing: the labels follow the painted map, the rest stays, and what cannot be is said."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import binary_dilation

from nerfgen_ns.class_model import ClassModel
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.latents.code_files import read_codes
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.runs.code_runs import LATENT_SPACE, class_space
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.semantics.config import EditConfig
from nerfgen_ns.semantics.editing import labels_of_view
from tests.helpers.labeled_runs import write_masks
from tests.helpers.parted_heads import LEGEND, parted_heads

FEW = ("--steps", "2", "--rays", "16")
SOME = EditConfig(steps=60, rays=256, label_loss_mult=0.02)


@pytest.fixture(scope="module")
def heads_class() -> ClassModel:
    return parted_heads()


def grown(labels: np.ndarray, by: int = 2) -> np.ndarray:
    """The label map with more hair, around it."""
    larger = binary_dilation(labels == 1, iterations=by)
    return np.where(larger & (labels == 0), 1, labels).astype(np.uint8)


def test_an_edit_is_followed_and_colors_elsewhere_stay(heads_class: ClassModel) -> None:
    code, camera = heads_class.codes[0], heads_class.camera(size=32)
    wanted = grown(labels_of_view(heads_class.run, code[None], camera))
    edited = heads_class.edit(code, wanted, camera, SOME)
    assert edited.agreement.reached > 0.3 and edited.agreement.edit_iou > 0.2
    assert edited.agreement.psnr > 18.0
    assert edited.distance > 0.0 and edited.model is heads_class.run.model
    before, after = (
        float(heads_class.render(one.reshape(-1), camera)["accumulation"].sum())
        for one in (edited.before, edited.code)
    )
    assert after > before
    unmoved = heads_class.edit(code, wanted, camera, replace(SOME, prior_weight=1e3))
    assert unmoved.distance < 0.2 * edited.distance


def test_unlabeled_pixels_stay_as_they_are(heads_class: ClassModel) -> None:
    code, camera = heads_class.codes[3], heads_class.camera(size=32)
    before = labels_of_view(heads_class.run, code[None], camera)
    wanted = grown(before)
    painted = np.where(wanted == before, 255, wanted).astype(np.uint8)
    few = EditConfig(steps=2, rays=16)
    whole, part = (heads_class.edit(code, one, camera, few) for one in (wanted, painted))
    torch.testing.assert_close(part.code, whole.code)
    np.testing.assert_array_equal(part.wanted, wanted)


def test_tuned_networks_follow_an_edit_further_and_the_run_keeps_its_own(heads_class: ClassModel) -> None:
    code, camera = heads_class.codes[0], heads_class.camera(size=32)
    wanted = grown(labels_of_view(heads_class.run, code[None], camera))
    field = heads_class.run.model.foreground_field.density_head.weight
    before = field.detach().clone()
    config = replace(SOME, steps=1, tune_steps=30)
    tuned = heads_class.edit(code, wanted, camera, config)
    only_code = heads_class.edit(code, wanted, camera, replace(SOME, steps=1))
    torch.testing.assert_close(tuned.code, only_code.code)
    assert tuned.agreement.reached > only_code.agreement.reached
    assert torch.equal(field, before)
    assert not torch.equal(tuned.model.foreground_field.density_head.weight, before)


def test_what_is_at_a_pixel_is_told(heads_class: ClassModel) -> None:
    camera = heads_class.camera(size=32)
    labels = labels_of_view(heads_class.run, heads_class.codes[0][None], camera)
    for column, row in ((16, 16), (0, 0), (16, 8)):
        told = heads_class.label_at(heads_class.codes[0], camera, column, row)
        assert told.name == LEGEND.names[labels[row, column]] and 1 / 3 <= told.confidence <= 1 + 1e-5
    middle = heads_class.label_at(heads_class.codes[0], camera, 16, 16)
    assert not middle.is_background and float(middle.point.abs().max()) <= 1.0
    with pytest.raises(UsageError):
        heads_class.label_at(heads_class.codes[0], camera, 32, 0)


@pytest.fixture
def paint(call_nerfgen: Callable[..., int], tmp_path: Path) -> Callable[..., Path]:
    """Write the label map of an identity by the command, paint a square, and return the file."""

    def painted(config: Path, *view: object) -> Path:
        path = tmp_path / "painted.png"
        arguments = ("--load-config", config, "--identity", 0, "--render-label-map", path, *view)
        assert call_nerfgen("edit", *arguments) == 0
        image = Image.open(path)
        assert image.mode == "P"
        labels = np.array(image)
        labels[4:12, 4:12] = (labels[8, 8] + 1) % 6
        Image.fromarray(labels).save(path)
        return path

    return painted


@pytest.mark.parametrize("view", [(), ("--camera", "20", "0"), ("--photograph", "00001.png")], ids=str)
def test_the_command_makes_a_run_of_the_object_before_and_after(
    view: tuple[str, ...],
    paint: Callable[..., Path],
    call_nerfgen: Callable[..., int],
    labeled_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out"
    path = paint(labeled_config, *view)
    arguments = ("--load-config", labeled_config, "--identity", 0, "--label-map", path, *view, *FEW)
    assert call_nerfgen("edit", *arguments, "--output-dir", output) == 0
    said = capsys.readouterr().out
    assert "warning" in said and str(path) in said  # two steps reach nothing
    run, before = load_run(output / "config.yml"), load_run(labeled_config)
    torch.testing.assert_close(run.codes[0], before.codes[0])
    assert len(run.codes) == 2 and not torch.equal(run.codes[0], run.codes[1])
    assert "labels" in run.render(run.code(1), run.cameras[:1])
    report = json.loads((output / "edit.json").read_text())
    assert 0.0 <= report["edit_iou"] <= report["reached"] <= 1.0
    assert 0.0 < report["changed"] <= 64 / 32**2
    codes, names = read_codes(output / "codes.npz", run.codes.shape[1], run.model_fingerprint)
    assert names == ["identity_0", "identity_0_edited"] and torch.equal(codes, run.codes)
    sheet = np.asarray(Image.open(output / "edit_sheet.png"))
    assert sheet.shape[1] > 3 * 128 and sheet.std() > 0
    np.testing.assert_array_equal(
        np.array(Image.open(output / "data" / "semantics" / "0001.png")), np.array(Image.open(path))
    )
    assert call_nerfgen("edit", *arguments, "--output-dir", output) == 0


def test_a_fitted_photograph_is_edited_and_meshed(
    call_nerfgen: Callable[..., int], heads_class: ClassModel, tmp_path: Path
) -> None:
    packed, fitted, edited = tmp_path / "heads.safetensors", tmp_path / "fitted", tmp_path / "edited"
    heads_class.save(packed)
    transforms = write_one_photograph(heads_class, tmp_path / "photographs")
    fit = ("--load-config", packed, "--images", transforms, "--output-dir", fitted, "--steps", 20)
    assert call_nerfgen("fit", *fit) == 0
    one = ("--load-config", fitted / "config.yml", "--identity", 0)
    path = tmp_path / "map.png"
    assert call_nerfgen("edit", *one, "--render-label-map", path) == 0
    Image.fromarray(grown(np.array(Image.open(path)))).save(path)
    assert call_nerfgen("edit", *one, "--label-map", path, "--output-dir", edited, *FEW) == 0
    mesh = ("--identity", 1, "--labels", "--resolution", 32, "--output-path", tmp_path / "head.ply")
    assert call_nerfgen("mesh", "--load-config", edited / "config.yml", *mesh) == 0
    spaces = [class_space(load_run(folder / "config.yml")) for folder in (fitted, edited)]
    expected = LatentSpace.of(heads_class.codes)
    for space in spaces:
        torch.testing.assert_close(space.deviations, expected.deviations, rtol=1e-3, atol=1e-6)
    (fitted / LATENT_SPACE).write_bytes(b"PK\3\4")
    with pytest.raises(NerfgenError, match=LATENT_SPACE):
        class_space(load_run(fitted / "config.yml"))


def write_one_photograph(heads_class: ClassModel, folder: Path) -> Path:
    from nerfgen_ns.runs.code_runs import write_rendered_photographs

    write_rendered_photographs(heads_class.run, heads_class.codes[:1], folder)
    return folder


def blank(size: tuple[int, int], number: int) -> Callable[[Path], None]:
    return lambda path: Image.new("L", size, number).save(path)


@pytest.mark.parametrize(
    ("options", "spoil", "named"),
    [
        (("--identity", "9"), None, "9"),
        (("--steps", "0"), None, "--steps"),
        (("--photograph", "nobody.png"), None, "--photograph"),
        (("--photograph", "00001.png", "--camera", "0", "0"), None, "--camera"),
        ((), blank((31, 32), 1), "painted.png"),
        ((), blank((32, 32), 77), "painted.png"),
        ((), blank((32, 32), 255), "painted.png"),
        ((), lambda path: path.unlink(), "painted.png"),
        ((), lambda path: path.with_name("labels.json").write_text('{"names": ["a", "b", "c"]}'), "painted"),
    ],
)
def test_what_cannot_be_edited_ends_with_one_line_and_nothing_written(
    options: tuple[str, ...],
    spoil: Callable[[Path], object] | None,
    named: str,
    paint: Callable[..., Path],
    call_nerfgen: Callable[..., int],
    labeled_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = paint(labeled_config)
    Image.fromarray(np.minimum(np.array(Image.open(path)), 2)).save(path)
    if spoil is not None:
        spoil(path)
    capsys.readouterr()
    arguments = ("--load-config", labeled_config, "--label-map", path, "--output-dir", tmp_path / "out", *FEW)
    identity = () if "--identity" in options else ("--identity", 0)
    assert call_nerfgen("edit", *arguments, *identity, *options) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_edit_that_changes_nothing_and_a_run_without_labels_are_refused(
    call_nerfgen: Callable[..., int],
    labeled_config: Path,
    trained_config: Path,
    heads: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, output = tmp_path / "same.png", ("--output-dir", tmp_path / "out")
    labeled = ("--load-config", labeled_config, "--identity", 1)
    assert call_nerfgen("edit", *labeled, "--render-label-map", path) == 0
    assert call_nerfgen("edit", *labeled, "--label-map", path, *output) == 2
    assert "same.png" in capsys.readouterr().err
    plain = ("--load-config", trained_config, "--identity", 1)
    assert call_nerfgen("edit", *plain, "--label-map", path, *output) == 2
    assert "nerfgen label" in capsys.readouterr().err
    assert call_nerfgen("edit", *labeled, "--label-map", path) == 2
    assert "--output-dir" in capsys.readouterr().err
    assert call_nerfgen("edit", *labeled) == 2
    assert "--label-map" in capsys.readouterr().err
    assert call_nerfgen("edit", *labeled, "--render-label-map", tmp_path / "map.jpg") == 2
    masks = write_masks(heads, tmp_path / "masks", (0,))
    (masks / "labels.json").write_text('{"names": ["a", "b", "c", "d", "e", "f"]}')
    assert call_nerfgen("edit", *labeled, "--render-label-map", masks / "map.png") == 2
    assert not (masks / "map.png").exists() and not (tmp_path / "out").exists()
