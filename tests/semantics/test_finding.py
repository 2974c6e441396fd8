"""`nerfgen find`: the query of a place, the ranking, and a run that shows what was looked for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trimesh import load

import nerfgen_ns
from nerfgen_ns.errors import UsageError
from nerfgen_ns.fields.query import Query, similarity
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.finding import (
    Place,
    find_matches,
    photograph_number,
    query_of,
    seen_by,
    segmentation,
    with_query,
)
from nerfgen_ns.semantics.labeling import read_label_maps
from tests.helpers.feature_runs import Colors, offer


@pytest.fixture(scope="module")
def distilled(distilled_config: Path) -> Run:
    return load_run(distilled_config)


def with_density(config: Path, folder: Path, added: float) -> Path:
    """The same run with more density everywhere, or less: after so few steps there is no surface yet."""
    shutil.copytree(config.parent, folder)
    (checkpoint,) = (folder / "nerfstudio_models").iterdir()
    contents = torch.load(checkpoint, weights_only=False)
    contents["pipeline"]["_model.foreground_field.density_head.bias"] += added
    torch.save(contents, checkpoint)
    return folder / config.name


def shown_pixel(run: Run, photograph: int = 0) -> tuple[float, float]:
    """The pixel of a photograph that shows its object most surely, as x and y."""
    outputs = run.render(run.code(int(run.record.rows[photograph])), run.cameras[photograph : photograph + 1])
    width = outputs["accumulation"].shape[1]
    place = int(outputs["accumulation"].argmax())
    return float(place % width) + 0.5, float(place // width) + 0.5


def test_what_is_seen_is_what_is_rendered(distilled: Run) -> None:
    camera, code = distilled.cameras[:1], distilled.code(0)
    seen = seen_by(distilled, code, camera)
    outputs = distilled.model.render_camera(camera, code, raw_features=True)
    torch.testing.assert_close(seen.features, outputs["raw_features"].flatten(0, 1))
    torch.testing.assert_close(seen.accumulation, outputs["accumulation"].flatten(), atol=1e-3, rtol=0)


def test_a_point_is_most_similar_to_itself(distilled: Run) -> None:
    x, y = shown_pixel(distilled)
    query, number = query_of(distilled, Place("0", (x, y)))
    assert number == 0 and float(query.feature.norm()) == pytest.approx(1.0)
    seen = seen_by(distilled, distilled.code(int(distilled.record.rows[0])), distilled.cameras[:1])
    own = similarity(seen.features, query).view(32, 32)[int(y), int(x)]
    assert float(own) == pytest.approx(1.0, abs=2e-3)


def test_every_identity_is_ranked_by_how_much_of_it_it_has(distilled: Run) -> None:
    matches = find_matches(distilled, Place("0", box=(8.0, 8.0, 24.0, 24.0)))
    assert sorted(match.identity for match in matches.ranking) == [0, 1, 2]
    scores = [match.score for match in matches.ranking]
    assert scores == sorted(scores, reverse=True) and all(0.0 <= score <= 1.0 for score in scores)
    for match in matches.ranking:
        assert distilled.record.images[match.identity].name == match.photograph
        assert max(map(abs, match.position)) <= 1.0


def test_the_query_is_an_argument_or_the_runs_own(distilled: Run) -> None:
    query = Query(torch.nn.functional.normalize(torch.ones(4), dim=-1))
    camera, code = distilled.cameras[:1], distilled.code(1)
    assert "similarity" not in distilled.render(code, camera)
    outputs = distilled.render(code, camera, query=query)["similarity"]
    assert outputs.shape == (32, 32, 1) and 0.0 <= float(outputs.min()) <= float(outputs.max()) <= 1.0
    stored = with_query(distilled, query)
    torch.testing.assert_close(stored.render(code, camera)["similarity"], outputs)
    assert distilled.feature_head.query is None


def test_photographs_are_known_by_number_and_by_name(distilled: Run) -> None:
    image = distilled.record.images[2]
    assert {photograph_number(distilled, name) for name in ("2", image.name, image.stem)} == {2}
    for name in ("3", "-1", "nobody.png"):
        with pytest.raises(UsageError, match="--photograph"):
            photograph_number(distilled, name)


def test_the_command_writes_a_run_with_the_query_and_what_was_found(
    call_nerfgen: Callable[..., int], distilled_config: Path, tmp_path: Path
) -> None:
    config = with_density(distilled_config, tmp_path / "solid", 10.0)
    run = load_run(config)
    x, y = shown_pixel(run)
    out = tmp_path / "out"
    arguments = ("--load-config", config, "--output-dir", out, "--size", 16)
    point = ("--photograph", 0, "--point", x, y, "--threshold", 0.05, "--name", "tip", "--top", 2)
    assert call_nerfgen("find", *arguments, *point) == 0
    report = json.loads((out / "find.json").read_text())
    assert [one["rank"] for one in report["ranking"]] == [1, 2, 3]
    assert report["columns"][0] == int(run.record.rows[0]) and len(report["columns"]) == 2
    assert report["query"]["point"] == [x, y] and len(report["query"]["feature"]) == 4
    made = load_run(out / "config.yml")
    expected, _ = query_of(run, Place("0", (x, y)))
    outputs = made.render(made.code(0), made.cameras[:1])
    torch.testing.assert_close(
        outputs["similarity"], run.render(run.code(0), run.cameras[:1], query=expected)["similarity"]
    )
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.height == 4 + 4 * (16 + 4)
    legend, maps = read_label_maps(run, out / "segmentation")
    assert legend.names == ("background", "tip") and 0 in maps
    own = segmentation(run, Query(expected.feature, 0.05), run.code(int(run.record.rows[0])), run.cameras[:1])
    np.testing.assert_array_equal(maps[0], own)
    assert own.sum() == report["pixels"][run.record.images[0].name] > 0
    mesh = load(out / "mask.ply")
    assert len(mesh.faces) > 0
    # The same call replaces its own folder, and without a threshold nothing is segmented.
    assert call_nerfgen("find", *arguments, *point[:5]) == 0
    assert not (out / "segmentation").exists()


def test_a_picture_is_looked_for_and_python_finds(
    distilled_config: Path, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, colors=Colors)
    with Image.open(next((heads / "images").iterdir())) as image:
        image.crop((10, 8, 22, 20)).convert("RGB").resize((48, 48)).save(tmp_path / "crop.png")
    found = nerfgen_ns.load(distilled_config)
    matches = found.find(image_crop=tmp_path / "crop.png", threshold=0.5)
    assert matches.photograph is None and matches.query.threshold == 0.5 and len(matches.ranking) == 3
    best = found.codes[matches.ranking[0].identity]
    assert "similarity" in found.render(best, found.camera(size=16), matches.query)
    again = found.find(0, point=shown_pixel(found.run))
    assert again.photograph == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((), "--point"),
        (("--photograph", "0"), "--point"),
        (("--point", "3", "3"), "--photograph"),
        (("--photograph", "9", "--point", "3", "3"), "--photograph"),
        (("--photograph", "0", "--point", "32", "3"), "--point"),
        (("--photograph", "0", "--box", "9", "9", "3", "3"), "--box"),
        (("--photograph", "0", "--point", "3", "3", "--box", "1", "1", "3", "3"), "--box"),
        (("--image-crop", "gone.png"), "gone.png"),
        (("--photograph", "0", "--image-crop", "gone.png"), "--image-crop"),
        (("--photograph", "0", "--point", "16", "16", "--threshold", "1.5"), "--threshold"),
        (("--photograph", "0", "--point", "16", "16", "--top", "0"), "--top"),
        (("--photograph", "0", "--point", "16", "16", "--name", "background"), "--name"),
    ],
)
def test_places_and_options_that_make_no_sense_are_refused(
    options: tuple[str, ...],
    named: str,
    call_nerfgen: Callable[..., int],
    distilled_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("--load-config", distilled_config, "--output-dir", tmp_path / "out", *options)
    assert call_nerfgen("find", *arguments) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_background_is_not_looked_for(
    call_nerfgen: Callable[..., int],
    distilled_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = with_density(distilled_config, tmp_path / "faint", -10.0)
    arguments = ("--load-config", config, "--output-dir", tmp_path / "out")
    assert call_nerfgen("find", *arguments, "--photograph", "0", "--point", "0", "0") == 2
    error = capsys.readouterr().err
    assert "--point 0 0" in error and error.count("\n") == 1


def test_a_run_without_features_and_nothing_found_are_one_line(
    call_nerfgen: Callable[..., int],
    trained_config: Path,
    distilled_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    point = ("--output-dir", tmp_path / "out", "--photograph", "0", "--point", "16", "16")
    assert call_nerfgen("find", "--load-config", trained_config, *point) == 2
    assert "nerfgen distill" in capsys.readouterr().err
    strict = ("--threshold", "1", "--top", "1", "--size", "16")
    assert call_nerfgen("find", "--load-config", distilled_config, *point, *strict) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_picture_may_be_small_and_one_that_cannot_be_read_is_named(
    distilled: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, colors=Colors)
    Image.new("RGB", (5, 3), (200, 30, 30)).save(tmp_path / "small.png")
    query, _ = query_of(distilled, Place(image_crop=tmp_path / "small.png"))
    assert float(query.feature.norm()) == pytest.approx(1.0)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UsageError, match=r"--image-crop .*text\.png"):
        query_of(distilled, Place(image_crop=tmp_path / "text.png"))
