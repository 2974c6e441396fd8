"""The protocols that compare renders with the truth: the truth itself as a render, and known departures."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from nerfgen_ns.errors import UsageError
from nerfgen_ns.evaluation.folders import open_test_folder, open_training_folder
from nerfgen_ns.evaluation.protocol import Evaluation, EvaluationProtocol, MetricWeights, ProtocolResult
from nerfgen_ns.evaluation.protocols.geometry import DepthMaps, Geometry, KeypointDepth
from nerfgen_ns.evaluation.protocols.reconstruction import NovelViews
from nerfgen_ns.evaluation.renders import FolderRenders, SavedRenders
from nerfgen_ns.metrics.geometry import normals_of_depth, z_depth
from tests.helpers.prepared_contents import record_of

Changed = Callable[..., Path]
OFFSET = 6 / 255


def truth_as_run(heads: Path, test_folder: Path, inside_out: bool = False) -> Any:
    """Something that renders what the test folder holds, a little brighter, and notes the codes asked for."""
    truth = open_test_folder(test_folder, "truth")
    asked: list[Any] = []

    def render(code: Any, camera: Cameras) -> dict[str, torch.Tensor]:
        asked.append(code)
        poses = truth.dataset.cameras.camera_to_worlds
        number = int((poses - camera.camera_to_worlds).abs().sum(dim=(1, 2)).argmin())
        depth = truth.depth(number)
        normals = normals_of_depth(depth, camera).nan_to_num(0.0)
        matte = truth.matte(number)
        assert matte is not None
        to_z = z_depth(torch.ones_like(depth), camera)
        # At outlines the matte may exceed a half where the middle of the pixel sees nothing.
        depth = depth.nan_to_num(posinf=float(depth[torch.isfinite(depth)].mean()))
        if inside_out:
            depth = 6.0 - depth
        return {
            "rgb": torch.from_numpy(truth.dataset.get_numpy_image(number) / np.float32(255)) + OFFSET,
            "depth": (depth / to_z)[..., None],
            "accumulation": matte[..., None],
            "normals": 0.5 + 0.5 * normals,
        }

    model = SimpleNamespace(camera_optimizer=None)
    record = record_of(heads)
    return SimpleNamespace(
        photographs=heads,
        data=heads,
        record=record,
        render=render,
        eval_fraction=0.0,
        model=model,
        asked=asked,
        code=lambda row: row,
    )


def setting_of(run: Any, path: Path, tmp_path: Path, saved: Path | None = None) -> Evaluation:
    folder = open_test_folder(path, "test")
    keep = None if saved is None else SavedRenders(saved)
    renders = FolderRenders(run, folder, open_training_folder(run, 1), saved=keep)
    weights = MetricWeights(lpips=tmp_path / "absent.pth")
    return Evaluation(run=run, test_folder=folder, renders=renders, weights=weights)


def ran(protocol: EvaluationProtocol, setting: Evaluation) -> dict[str, Any]:
    assert protocol.missing(setting) is None
    result: ProtocolResult = protocol.run(setting, lambda done, total: None)
    return {figure.name: figure for figure in result.figures}


def test_novel_views_are_judged_as_pictures_hold_them(heads: Path, seen_heads: Path, tmp_path: Path) -> None:
    run = truth_as_run(heads, seen_heads)
    figures = ran(NovelViews(), setting_of(run, seen_heads, tmp_path))
    dataset = open_test_folder(seen_heads, "test").dataset
    errors = []
    for number in range(9):
        image = dataset.get_numpy_image(number).astype(np.float64)
        errors.append(np.mean((np.minimum(image + 6, 255) - image) ** 2))
    expected = np.mean(10 * np.log10(255**2 / np.array(errors)))
    assert figures["PSNR, seen identities"].value == pytest.approx(expected, abs=1e-3)
    assert figures["PSNR, seen identities"].count == 9
    assert figures["PSNR inside the matte, seen identities"].value > 30.0
    assert 0.5 < figures["SSIM, seen identities"].value < 1.0
    assert run.asked == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_metric_without_its_network_has_a_reason_and_no_value(
    heads: Path, seen_heads: Path, tmp_path: Path
) -> None:
    figures = ran(NovelViews(), setting_of(truth_as_run(heads, seen_heads), seen_heads, tmp_path))
    lpips = figures["LPIPS, seen identities"]
    assert lpips.value is None and lpips.count == 0
    assert "absent.pth" in lpips.note and "--weights.lpips" in lpips.note


def test_parts_are_judged_by_their_names(heads: Path, seen_heads: Path, tmp_path: Path) -> None:
    figures = ran(NovelViews(), setting_of(truth_as_run(heads, seen_heads), seen_heads, tmp_path))
    labels = json.loads((seen_heads / "transforms.json").read_text())["semantic_labels"]
    for label in labels:
        assert f"PSNR of {label.replace('_', ' ')}, seen identities" in figures


@pytest.mark.parametrize(("unit", "noted"), [(1.0, False), (1000.0, True), (0.01, True)])
def test_true_depth_scores_perfectly_in_whichever_unit(
    heads: Path, seen_heads: Path, changed: Changed, tmp_path: Path, unit: float, noted: bool
) -> None:
    def convert(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for number, frame in enumerate(frames):
            depth = np.load(frame["depth_path"])["depth"].astype(np.float32) * np.float32(unit)
            frame["depth_path"] = str(tmp_path / f"{number}.npz")
            np.savez(frame["depth_path"], depth=depth)
        return frames

    run = truth_as_run(heads, seen_heads)
    figures = ran(DepthMaps(), setting_of(run, changed(seen_heads, convert), tmp_path))
    correlation = figures["depth correlation, seen identities"]
    assert correlation.value == pytest.approx(1.0, abs=1e-5)
    assert figures["depth error after scale and shift, seen identities"].value == pytest.approx(0.0, abs=1e-4)
    assert ("times the class's unit" in correlation.note) == noted
    if noted:
        assert f"{unit:.4g} times" in correlation.note


def test_depth_of_another_size_stops_the_protocol_before_anything_is_rendered(
    heads: Path, seen_heads: Path, changed: Changed, tmp_path: Path
) -> None:
    np.savez(tmp_path / "small.npz", depth=np.ones((16, 16), dtype=np.float32))
    path = changed(
        seen_heads, lambda frames: [*frames[1:], {**frames[0], "depth_path": str(tmp_path / "small.npz")}]
    )
    run = truth_as_run(heads, seen_heads)
    with pytest.raises(UsageError, match=r"small\.npz: .*16 × 16"):
        DepthMaps().run(setting_of(run, path, tmp_path), lambda done, total: None)
    assert run.asked == []


def test_true_surfaces_follow_the_landmarks(heads: Path, seen_heads: Path, tmp_path: Path) -> None:
    figures = ran(KeypointDepth(), setting_of(truth_as_run(heads, seen_heads), seen_heads, tmp_path))
    total, signed = figures["Σ|r|, seen identities"], figures["Σr, seen identities"]
    count = len(json.loads((seen_heads / "transforms.json").read_text())["frames"][0]["landmarks3d"])
    # Of 32 pixels each is as wide as an eye: that costs a quarter. Chance gives less than half of this.
    assert 0.6 * count < signed.value <= total.value <= count
    assert "chance" in total.note
    assert "canonical landmarks" in figures["Σ|r| of the mean shape, seen identities"].note


def test_a_surface_turned_inside_out_has_the_same_sum_with_the_other_sign(
    heads: Path, seen_heads: Path, tmp_path: Path
) -> None:
    right, wrong = (
        ran(KeypointDepth(), setting_of(truth_as_run(heads, seen_heads, turned), seen_heads, tmp_path))
        for turned in (False, True)
    )
    name = "Σ|r|, seen identities"
    assert wrong[name].value == pytest.approx(right[name].value, abs=1e-2)
    name = "Σr, seen identities"
    assert wrong[name].value == pytest.approx(-right[name].value, abs=1e-2)


def test_two_images_are_too_few_to_correlate(
    heads: Path, seen_heads: Path, changed: Changed, tmp_path: Path
) -> None:
    path = changed(seen_heads, lambda frames: frames[:2])
    line = KeypointDepth().missing(setting_of(truth_as_run(heads, seen_heads), path, tmp_path))
    assert line == "a correlation across images needs 3 views of one kind, and there are 2"


def test_true_geometry_scores_perfectly(heads: Path, seen_heads: Path, tmp_path: Path) -> None:
    figures = ran(Geometry(), setting_of(truth_as_run(heads, seen_heads), seen_heads, tmp_path))
    assert figures["silhouette IoU, seen identities"].value == 1.0
    assert figures["normal error, seen identities"].value == pytest.approx(0.0, abs=0.1)
    camera = figures["camera rotation error, the test folder's cameras"]
    assert camera.value == 0.0 and camera.note == "they are the true ones"


def test_cameras_of_the_run_are_judged_where_the_folder_knows_the_true_ones(
    heads: Path, changed: Changed, tmp_path: Path
) -> None:
    """The photographs are those that trained; the folder says that they were taken from elsewhere."""
    turns = np.radians([0.0, 0.0, 12.0])

    def turn(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for frame, angle in zip(frames, turns, strict=True):
            rotation = np.eye(4)
            rotation[:3, :3] = [
                [np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]
            ]  # fmt: skip
            frame["true_transform_matrix"] = (rotation @ np.array(frame["transform_matrix"])).tolist()
        return frames

    path = changed(heads, turn)
    figures = ran(Geometry(), setting_of(truth_as_run(heads, heads), path, tmp_path))
    assert figures["camera rotation error, 90th percentile, the run's cameras"].value == pytest.approx(
        9.6, abs=0.1
    )
    assert figures["camera rotation error, median, the run's cameras"].value == pytest.approx(0.0, abs=0.01)


def test_saved_renders_score_the_same(heads: Path, seen_heads: Path, tmp_path: Path) -> None:
    from PIL import Image

    saved = tmp_path / "saved"
    setting = setting_of(truth_as_run(heads, seen_heads), seen_heads, tmp_path, saved)
    result = NovelViews().run(setting, lambda done, total: None)
    for view in result.views:
        name = Path(view["file"]).stem
        image = np.asarray(Image.open(seen_heads / view["file"]).convert("RGB"), dtype=np.float64)
        render = np.asarray(Image.open(saved / "test" / f"{name}.png"), dtype=np.float64)
        assert view["psnr"] == pytest.approx(10 * np.log10(255**2 / np.mean((image - render) ** 2)), abs=1e-4)
        with np.load(saved / "test" / f"{name}.npz", allow_pickle=False) as arrays:
            true = np.load(seen_heads / "depth" / f"{name}.npz")["depth"].astype(np.float32)
            seen = np.isfinite(true)
            np.testing.assert_allclose(arrays["depth"][seen], true[seen], atol=1e-3)
            assert arrays["accumulation"].shape == seen.shape
