"""`nerfgen evaluate`: what it writes, and what it says of data that will not do."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from nerfgen_ns.cli.main import entrypoint
from nerfgen_ns.evaluation.protocol import ProtocolName
from nerfgen_ns.evaluation.protocols import PROTOCOLS

OF_FOLDERS = ("novel-views", "held-out", "depth", "keypoint-depth", "geometry")
Call = Callable[..., int]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, trained_config: Path, tmp_path: Path) -> Call:
    """A call of the command on the tests' run, with few steps and without the network."""

    def call(*arguments: object) -> int:
        usual = ["--load-config", trained_config, "--output-path", tmp_path / "metrics.json"]
        usual += ["--downscale-factor", 2, "--training-views", 2, "--fit.steps", 3, "--fit.rays", 8]
        usual += ["--weights.lpips", tmp_path / "none.pth", "--weights.inception", tmp_path / "none.pth"]
        command = ["nerfgen", "evaluate", *map(str, usual), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        try:
            entrypoint()
        except SystemExit as exit_info:
            return int(exit_info.code or 0)
        return 0

    return call


def report(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))


def reasons(tmp_path: Path) -> dict[str, str]:
    return {one["protocol"]: one["reason"] for one in report(tmp_path)["not_run"]}


def ran(tmp_path: Path) -> list[str]:
    return [result["protocol"] for result in report(tmp_path)["results"]]


def folder_of(source: Path, made: Path, edit: Callable[[list[dict[str, Any]]], None], most: int = 99) -> Path:
    transforms = json.loads((source / "transforms.json").read_text())
    transforms["frames"] = transforms["frames"][:most]
    for frame in transforms["frames"]:
        for key in ("file_path", "mask_path", "depth_path", "semantic_path"):
            frame[key] = str(source / frame[key])
    edit(transforms["frames"])
    made.mkdir()
    (made / "transforms.json").write_text(json.dumps(transforms))
    return made


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nerfgen_ns.synthetic.dataset import write_dataset

    return write_dataset(tmp_path_factory.mktemp("evaluate") / "seen", 3, views=2, size=32)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nerfgen_ns.synthetic.dataset import write_dataset

    return write_dataset(tmp_path_factory.mktemp("evaluate") / "new", 2, views=3, size=32, first_identity=3)


def test_every_protocol_can_be_chosen() -> None:
    assert [protocol.name for protocol in PROTOCOLS] == list(get_args(ProtocolName))


def test_both_kinds_of_test_folder_in_one_call(
    call: Call, seen: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "renders"
    chosen = [*OF_FOLDERS, "training-reconstruction"]
    assert call("--data", seen, "--data", new, "--save-renders", saved, "--protocol", *chosen) == 0
    written = report(tmp_path)
    assert [(result["protocol"], result["data"]) for result in written["results"]] == [
        *[(name, "seen") for name in ("novel-views", "depth", "keypoint-depth", "geometry")],
        *[(name, "new") for name in ("novel-views", "depth", "keypoint-depth", "geometry")],
        ("training-reconstruction", None),
    ]
    assert {(one["protocol"], one["data"]) for one in written["not_run"]} == {
        ("held-out", "seen"),
        ("held-out", "new"),
    }
    for result in written["results"]:
        assert result["source"] and result["seconds"] >= 0 and result["settings"]["downscale_factor"] == 2
        for figure in result["figures"]:
            assert figure["value"] is not None or figure["note"], figure["name"]
    assert written["versions"]["torch"] and written["machine"]["processor"] and written["seconds"] > 0
    assert len(list((saved / "seen").glob("*.png"))) == len(list((saved / "seen").glob("*.npz"))) == 6
    assert len(list((saved / "new").glob("*.png"))) == 4
    assert len(list((saved / "training").glob("*.png"))) == 2
    page = (tmp_path / "metrics.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") > 10
    assert "http://" not in page.split("<body>")[0] and "<script" not in page and "<link" not in page
    printed = capsys.readouterr().out
    assert "PSNR inside the matte" in printed and "metrics.html" in printed
    assert "not run: held-out on seen" in printed and "none.pth" in printed


def test_without_data_the_run_alone_is_judged(call: Call, tmp_path: Path) -> None:
    assert call("--protocol", "training-reconstruction", "depth") == 0
    assert ran(tmp_path) == ["training-reconstruction"]
    assert "there is no test folder" in reasons(tmp_path)["depth"]


def test_a_folder_without_identities_is_fitted_photograph_by_photograph(
    call: Call, seen: Path, tmp_path: Path
) -> None:
    def forget(frames: list[dict[str, Any]]) -> None:
        for frame in frames:
            del frame["identity"]

    assert call("--data", folder_of(seen, tmp_path / "test", forget), "--protocol", *OF_FOLDERS) == 0
    assert 'its frames have no "identity"' in reasons(tmp_path)["novel-views"]
    assert ran(tmp_path) == ["held-out", "depth", "keypoint-depth", "geometry"]


def test_identities_that_match_none_are_counted(call: Call, new: Path, tmp_path: Path) -> None:
    def forget(frames: list[dict[str, Any]]) -> None:
        for frame in frames:
            del frame["role"]

    assert call("--data", folder_of(new, tmp_path / "test", forget), "--protocol", *OF_FOLDERS) == 0
    assert (
        "none of its 2 identities trained, and none has frames of both roles"
        in reasons(tmp_path)["novel-views"]
    )
    assert ran(tmp_path) == ["held-out", "depth", "keypoint-depth", "geometry"]


def test_raw_photographs_are_fitted_and_named_as_they_are(
    call: Call, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class has no face landmarks: their cameras are searched, since that is asked for."""
    monkeypatch.setattr("nerfgen_ns.inversion.camera_search.REFINING_STEPS", 2)
    (tmp_path / "photographs").mkdir()
    shutil.copy(new / "images/00003_0.png", tmp_path / "photographs/anna.png")
    (tmp_path / "photographs/broken.png").write_bytes(b"no image")
    chosen = ("held-out", "novel-views", "depth")
    assert call("--data", tmp_path / "photographs", "--fit.search-cameras", "--protocol", *chosen) == 0
    assert ran(tmp_path) == ["held-out"]
    assert [view["file"] for view in report(tmp_path)["results"][0]["views"]] == ["anna.png"]
    assert "they are raw photographs" in reasons(tmp_path)["depth"]
    assert any("broken.png" in remark for remark in report(tmp_path)["remarks"])


def test_depth_of_another_size_costs_its_protocol_alone(call: Call, seen: Path, tmp_path: Path) -> None:
    def shrink(frames: list[dict[str, Any]]) -> None:
        np.savez(tmp_path / "small.npz", depth=np.ones((8, 8), dtype=np.float32))
        frames[1]["depth_path"] = str(tmp_path / "small.npz")

    test_folder = folder_of(seen, tmp_path / "test", shrink)
    assert call("--data", test_folder, "--protocol", "novel-views", "depth") == 0
    assert "small.npz: a depth map of 8 × 8" in reasons(tmp_path)["depth"]
    assert ran(tmp_path) == ["novel-views"]


def test_one_image_is_judged_by_what_one_image_allows(call: Call, new: Path, tmp_path: Path) -> None:
    test_folder = folder_of(new, tmp_path / "test", lambda frames: None, most=1)
    assert call("--data", test_folder, "--protocol", *OF_FOLDERS) == 0
    assert ran(tmp_path) == ["held-out", "depth", "geometry"]
    assert "needs 3 views" in reasons(tmp_path)["keypoint-depth"]


def test_where_nothing_can_be_run_the_report_says_why_and_the_status_is_one(
    call: Call, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def forget(frames: list[dict[str, Any]]) -> None:
        for frame in frames:
            del frame["depth_path"]

    assert call("--data", folder_of(new, tmp_path / "test", forget), "--protocol", "depth") == 1
    assert '"depth_path"' in capsys.readouterr().err.replace("\n", "")
    assert ran(tmp_path) == []


def test_a_test_folder_that_is_none_stops_nothing_else(call: Call, tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test/transforms.json").write_text('{"frames": 3}')
    assert call("--data", tmp_path / "test", "--protocol", "depth", "training-reconstruction") == 0
    assert 'holds no "frames"' in reasons(tmp_path)["depth"]
    assert ran(tmp_path) == ["training-reconstruction"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--data", "missing"], "missing: "),
        (["--output-path", "metrics.txt"], "--output-path metrics.txt"),
        (["--max-views", "0"], "--max-views 0"),
        (["--fit.steps", "0"], "--steps 0"),
    ],
)
def test_a_wrong_call_ends_with_one_line_and_two(
    call: Call, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1
