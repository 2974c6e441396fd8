"""`nerfgen region`: a run like any other in which a part is edited, and calls that cannot be done."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup

import nerfgen_ns
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.fields.query import Query
from nerfgen_ns.fields.regions import RegionConfig
from nerfgen_ns.model.class_view import ClassView, usual_luminance
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.runs.code_runs import unpack, write_code_run, write_rendered_photographs
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.pack import write_pack
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.finding import with_query
from nerfgen_ns.semantics.labeling import label
from nerfgen_ns.semantics.regions import edit_region, with_region
from tests.helpers.labeled_runs import FEW, write_masks
from tests.helpers.short_trainings import set_up
from tests.helpers.small_models import make_camera
from tests.helpers.split_objects import FRONT_COLOR, ball_model

REMOVED = RegionConfig("remove", ("hair", "skin"), threshold=0.3, softness=0.5)
RED = RegionConfig("recolor", ("skin",), (200, 30, 30))


def rendered(run: Run) -> dict[str, torch.Tensor]:
    return run.render(run.code(0), run.cameras[:1])


def check_same(made: Run, run: Run, tolerance: float = 0.0) -> None:
    assert made.model.config.region == run.model.config.region
    own, expected = (one.render(one.code(0), run.cameras[:1]) for one in (made, run))
    for name in ("rgb", "accumulation", "label_confidence"):
        torch.testing.assert_close(own[name], expected[name], rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def edited_config(labeled_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return edit_region(labeled_config, tmp_path_factory.mktemp("edited") / "run", REMOVED)


def test_an_edited_run_shows_the_effect_and_its_networks_stay(
    labeled_config: Path, edited_config: Path
) -> None:
    labeled, edited = load_run(labeled_config), load_run(edited_config)
    assert edited.model.config.region == REMOVED and edited.legend == labeled.legend
    before, after = labeled.model.state_dict(), edited.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(after[name], before[name]) for name in before)
    check_same(edited, with_region(labeled, REMOVED))
    assert float(rendered(edited)["accumulation"].mean()) < float(rendered(labeled)["accumulation"].mean())
    assert json.loads((edited_config.parent / "region.json").read_text())["labels"] == ["hair", "skin"]


def test_what_was_looked_for_is_a_region_too(distilled_config: Path, tmp_path: Path) -> None:
    distilled = load_run(distilled_config)
    region = RegionConfig("remove", threshold=0.5)
    with pytest.raises(UsageError, match="nerfgen find"):
        edit_region(distilled_config, tmp_path / "none", region)
    query = Query(torch.nn.functional.normalize(torch.ones(4), dim=-1))
    edited = with_region(with_query(distilled, query), region)
    code, camera = distilled.code(0), distilled.cameras[:1]
    own = edited.render(code, camera)
    expected = distilled.model.render_camera(camera, code, region=region, query=query)
    torch.testing.assert_close(own["rgb"], expected["rgb"])
    whole = distilled.render(code, camera)
    assert float(own["accumulation"].mean()) < float(whole["accumulation"].mean())


def test_nerfstudio_opens_it_with_the_effect(edited_config: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(edited_config.parent, tmp_path / "moved")
    _, pipeline, _, _ = eval_setup(moved / "config.yml", test_mode="inference")
    model, run = pipeline.model, load_run(edited_config)
    assert isinstance(model, NerfgenModel)
    camera = run.cameras[:1]
    camera.metadata = {"cam_idx": 0}
    outputs = model.get_outputs_for_camera(camera)
    for name, expected in rendered(run).items():
        torch.testing.assert_close(outputs[name], expected)


def test_packed_runs_and_runs_of_codes_carry_the_effect(labeled_config: Path, tmp_path: Path) -> None:
    edited = with_region(load_run(labeled_config), RED)
    write_pack(edited, tmp_path / "a.safetensors")
    check_same(load_run(tmp_path / "a.safetensors"), edited, 2e-3)
    check_same(load_run(unpack(tmp_path / "a.safetensors", tmp_path / "unpacked")), edited, 2e-3)
    write_rendered_photographs(edited, edited.codes, tmp_path / "data")
    made = write_code_run(edited, edited.codes, tmp_path / "data", tmp_path / "made")
    check_same(load_run(made), edited)
    from_pack = load_run(edit_region(tmp_path / "a.safetensors", tmp_path / "removed", REMOVED))
    assert from_pack.model.config.region == REMOVED
    again = load_run(edit_region(made, tmp_path / "again", REMOVED))
    shutil.rmtree(tmp_path / "made")
    assert again.data == tmp_path / "again" / "data" and again.photographs


def test_an_effect_can_be_replaced_and_taken_back_in_python(labeled_config: Path) -> None:
    labeled = nerfgen_ns.load(labeled_config)
    removed = labeled.region("skin", "remove")
    red = removed.region(["skin"], "recolor", (200, 30, 30))
    region = red.run.model.config.region
    assert region is not None and region.effect == "recolor" and region.luminance != RED.luminance
    assert labeled.run.model.config.region is None
    assert not torch.equal(rendered(removed.run)["rgb"], rendered(labeled.run)["rgb"])
    for name, output in rendered(red.region((), "none").run).items():
        assert torch.equal(output, rendered(labeled.run)[name])


def test_the_usual_luminance_is_that_of_the_part_alone() -> None:
    camera = make_camera(cam_idx=torch.zeros(1, 1, dtype=torch.long))
    view = ClassView(ball_model(), camera)
    green = 0.2126 * FRONT_COLOR[0] + 0.7152 * FRONT_COLOR[1] + 0.0722 * FRONT_COLOR[2]
    region = RegionConfig("recolor", ("front",), (255, 0, 0))
    assert usual_luminance(view, region) == pytest.approx(green, abs=0.01)
    with pytest.raises(NerfgenError, match="inside"):
        usual_luminance(view, RegionConfig("recolor", ("inside",), (255, 0, 0)))


def test_the_command_edits_and_replaces_what_it_made(
    call_nerfgen: Callable[..., int], labeled_config: Path, tmp_path: Path
) -> None:
    arguments = ("region", "--load-config", labeled_config, "--output-dir", tmp_path / "out")
    assert call_nerfgen(*arguments, "--labels", "skin", "--effect", "extract", "--softness", 0.5) == 0
    assert load_run(tmp_path / "out" / "config.yml").model.config.region == RegionConfig(
        "extract", ("skin",), softness=0.5
    )
    color = ("--color", 200, 30, 30)
    assert call_nerfgen(*arguments, "--labels", "skin", "hair", "--effect", "recolor", *color) == 0
    region = load_run(tmp_path / "out" / "config.yml").model.config.region
    assert region is not None and region.labels == ("skin", "hair") and region.color == (200, 30, 30)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--labels", "nose", "--effect", "remove"), "--labels nose"),
        (("--labels", "background", "--effect", "remove"), "--labels background"),
        (("--labels", "skin", "--effect", "recolor"), "--color"),
        (("--labels", "skin", "--effect", "remove", "--color", "1", "2", "3"), "--color"),
        (("--labels", "skin", "--effect", "recolor", "--color", "1", "2", "300"), "--color 1 2 300"),
        (("--labels", "skin", "--effect", "remove", "--softness", "0"), "--softness"),
        (("--labels", "skin", "--effect", "remove", "--threshold", "1"), "--threshold"),
    ],
)
def test_wrong_calls_end_with_one_line_and_nothing_written(
    options: tuple[str, ...],
    named: str,
    call_nerfgen: Callable[..., int],
    labeled_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("--load-config", labeled_config, "--output-dir", tmp_path / "out")
    assert call_nerfgen("region", *arguments, *options) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_runs_without_labels_and_foreign_folders_are_refused(
    trained_config: Path, labeled_config: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"config\.yml"):
        edit_region(trained_config, tmp_path / "out", REMOVED)
    with pytest.raises(UsageError, match="labels"):
        nerfgen_ns.load(trained_config).region("skin", "remove")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="mine"):
        edit_region(labeled_config, tmp_path / "mine", REMOVED)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "letter.txt"]


def test_an_edited_run_neither_trains_nor_learns_labels(
    edited_config: Path, heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="label the run"):
        label(edited_config, write_masks(heads, tmp_path / "masks"), tmp_path / "labeled", FEW)
    config, _, _, _ = eval_setup(edited_config, test_mode="inference")
    config.timestamp, config.output_dir = "again", tmp_path / "outputs"
    for start in (config.save_config, lambda: set_up(config)):
        with pytest.raises(SystemExit) as ended:
            start()
        error = capsys.readouterr().err.splitlines()[-1]
        assert ended.value.code == 2 and "--load-config" in error
    assert [path.name for path in tmp_path.iterdir()] == ["masks"]
