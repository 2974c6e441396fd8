"""Figures of renders: known answers, and the truth itself as a render."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from nerfgen_ns.cameras.trajectories import look_at_origin
from nerfgen_ns.datamanagers.dataset import open_dataset
from nerfgen_ns.dataset_format.transforms import read_transforms, row_of_identity
from nerfgen_ns.errors import UsageError
from nerfgen_ns.evaluation.comparisons import evaluate_views
from nerfgen_ns.metrics.geometry import depth_correlation, shrink_depth, z_depth
from nerfgen_ns.metrics.images import foreground_psnr
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.synthetic.dataset import write_dataset
from tests.helpers.prepared_contents import record_of


def test_foreground_psnr_sees_the_foreground_alone() -> None:
    image = torch.rand(4, 4, 3) * 0.5
    matte = torch.zeros(4, 4)
    matte[:2] = 0.51
    rendered = image.clone()
    rendered[:2] += 0.1
    rendered[2:] = 1.0
    assert foreground_psnr(rendered, image, matte) == pytest.approx(20.0, abs=1e-3)


def test_depth_correlation_is_one_for_any_rising_line_and_skips_infinite_depth() -> None:
    truth = torch.tensor([[2.0, 2.5], [3.0, torch.inf]])
    matte = torch.ones(2, 2)
    assert depth_correlation(torch.tensor([[0.1, 0.2], [0.3, 9.0]]), truth, matte) == pytest.approx(1.0)
    assert depth_correlation(torch.tensor([[0.3, 0.2], [0.1, 9.0]]), truth, matte) == pytest.approx(-1.0)


def test_depth_correlation_looks_inside_the_matte_alone() -> None:
    truth = torch.tensor([[2.0, 2.5, 3.0, 1.0]])
    rendered = torch.tensor([[2.0, 2.5, 3.0, 50.0]])
    assert depth_correlation(rendered, truth, torch.tensor([[1.0, 1.0, 1.0, 0.5]])) == pytest.approx(1.0)
    assert depth_correlation(rendered, truth, torch.ones(1, 4)) < 0.0


def test_a_wall_across_the_optical_axis_has_one_z_depth() -> None:
    pose = look_at_origin(np.array([[25.0, -10.0]]), distance=2.0)
    camera = Cameras(pose, fx=10.0, fy=12.0, cx=4.0, cy=3.0, width=8, height=6)
    rays = camera.generate_rays(camera_indices=0, keep_shape=True)
    # Distances to the plane through the origin whose normal is the optical axis.
    normal = pose[0, :, 2]
    distances = -(rays.origins @ normal) / (rays.directions @ normal)
    torch.testing.assert_close(z_depth(distances, camera), torch.full((6, 8), 2.0), atol=1e-5, rtol=0.0)


def test_a_smaller_depth_map_holds_depths_of_the_larger_one_alone() -> None:
    depth = np.array([[1, 2, 9, np.inf], [3, 4, np.inf, np.inf], [5, 5, 6, 7], [5, 8, np.inf, np.inf]])
    assert shrink_depth(depth, 2).tolist() == [[2.0, np.inf], [5.0, 7.0]]
    assert shrink_depth(depth, 1).tolist() == depth.tolist()


def test_identities_own_the_rows_of_their_order(make_prepared: Any) -> None:
    frames = read_transforms(make_prepared([(8, 8)] * 4, identities=[7, 3, 7, 20])).frames
    assert row_of_identity(frames) == {3: 0, 7: 1, 20: 2}


def truth_as_run(folder: Path, test_folder: Path, downscale_factor: int) -> Any:
    """Something that renders what the photograph of each row shows, exactly."""
    dataset = open_dataset(test_folder, downscale_factor)
    frames = sorted(
        json.loads((test_folder / "transforms.json").read_text())["frames"], key=lambda f: f["file_path"]
    )

    def render(row: int, camera: Cameras) -> dict[str, torch.Tensor]:
        depth = np.load(test_folder / frames[row]["depth_path"])["depth"].astype(np.float32)
        to_z = z_depth(torch.ones(int(camera.height), int(camera.width)), camera)
        along_rays = torch.from_numpy(shrink_depth(depth, downscale_factor)) / to_z
        image = torch.from_numpy(dataset.get_numpy_image(row) / np.float32(255))
        matte = torch.from_numpy(dataset.get_numpy_matte(row) / np.float32(255))[..., None]
        return {
            "rgb": torch.where(image < 0.5, image + 3 / 255, image - 3 / 255),
            "depth": along_rays.nan_to_num(posinf=9.0)[..., None],
            "accumulation": matte,
        }

    return SimpleNamespace(data=folder, record=record_of(folder), render=render, code=lambda row: row)


@pytest.mark.parametrize("downscale_factor", [1, 2])
def test_the_truth_scores_perfectly(heads: Path, downscale_factor: int) -> None:
    figures = evaluate_views(truth_as_run(heads, heads, downscale_factor), heads, downscale_factor)
    assert figures["views"] == 3
    decibel = -20 * np.log10(3 / 255)
    assert figures["psnr"] == pytest.approx(decibel, abs=0.01)
    assert figures["foreground_psnr"] == pytest.approx(decibel, abs=0.01)
    assert figures["depth_correlation"] == pytest.approx(1.0, abs=1e-5)
    assert figures["silhouette_iou"] == 1.0


def test_numbers_of_identities_are_followed_not_places(heads: Path, tmp_path: Path) -> None:
    """The test folder holds the last head alone: its place is 0, its row in the run is 2."""
    test_folder = write_dataset(tmp_path / "test", 1, views=2, size=32, first_identity=2)
    asked: list[int] = []
    run = load_stub(heads, asked)
    assert evaluate_views(run, test_folder)["views"] == 2
    assert asked == [2, 2]


def test_the_views_spread_over_the_folder(heads: Path, tmp_path: Path) -> None:
    asked: list[int] = []
    assert evaluate_views(load_stub(heads, asked), heads, most=2)["views"] == 2
    assert asked == [0, 1]


def load_stub(folder: Path, asked: list[int]) -> Any:
    def render(row: int, camera: Cameras) -> dict[str, torch.Tensor]:
        asked.append(row)
        shape = (int(camera.height), int(camera.width))
        return {
            name: torch.rand(*shape, size) for name, size in (("rgb", 3), ("depth", 1), ("accumulation", 1))
        }

    return SimpleNamespace(data=folder, record=record_of(folder), render=render, code=lambda row: row)


def test_an_unknown_identity_is_named(heads: Path, tmp_path: Path) -> None:
    test_folder = write_dataset(tmp_path / "test", 1, size=32, first_identity=3)
    with pytest.raises(UsageError, match=r"00003\.png: .*identity 3"):
        evaluate_views(load_stub(heads, []), test_folder)


def test_a_folder_without_mattes_and_depth_gives_psnr_alone(make_prepared: Any) -> None:
    folder = make_prepared([(12, 12)] * 2, mattes=False)
    assert set(evaluate_views(load_stub(folder, []), folder)) == {"views", "psnr"}


def test_a_trained_run_is_evaluated_and_progress_told(trained_config: Path, heads: Path) -> None:
    told: list[tuple[int, int]] = []
    figures = evaluate_views(load_run(trained_config), heads, 2, progress=lambda *step: told.append(step))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert 0.0 < figures["foreground_psnr"] < 60.0
    assert -1.0 <= figures["depth_correlation"] <= 1.0


SHARED_HEADS = Path(__file__).resolve().parents[2] / "../shared/data/heads"


@pytest.mark.skipif(not SHARED_HEADS.is_dir(), reason="the rendered heads are not beside the repository")
def test_rendered_heads_of_another_origin_are_read(tmp_path: Path) -> None:
    """Their mattes lie in masks/, and their identities are numbered as in their training folder."""
    frames = json.loads((SHARED_HEADS / "test_seen/transforms.json").read_text())
    frames["frames"] = frames["frames"][:9]
    for frame in frames["frames"]:
        for key in ("file_path", "mask_path", "depth_path"):
            (tmp_path / frame[key]).parent.mkdir(exist_ok=True)
            shutil.copy(SHARED_HEADS / "test_seen" / frame[key], tmp_path / frame[key])
    (tmp_path / "transforms.json").write_text(json.dumps(frames))
    asked: list[int] = []
    figures = evaluate_views(load_stub(SHARED_HEADS / "train", asked), tmp_path, 2)
    assert asked == [0] * 8 + [1]
    assert abs(figures["depth_correlation"]) < 0.2
