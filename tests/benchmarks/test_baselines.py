"""What needs no model, on small heads."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.baselines import (
    fitted_surface,
    mean_image,
    measure_baselines,
    nearest_in_pose,
    own_photograph,
    warped_photograph,
)
from nerfgen_ns.cameras.projection import Cameras, project
from nerfgen_ns.evaluation.comparisons import ViewWithTruth, read_views, score


@pytest.fixture(scope="module")
def photographs(small_heads: Path) -> list[ViewWithTruth]:
    return read_views(small_heads / "train")


@pytest.fixture(scope="module")
def with_landmarks(small_heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four heads, each frame with the places where its camera sees the same eight points."""
    points = np.random.default_rng(0).uniform([-0.2, -0.3, 0.1], [0.2, 0.2, 0.3], (8, 3))
    cameras = {
        view.path.name: Cameras.from_nerfstudio([view.camera]) for view in read_views(small_heads / "train")
    }
    transforms = json.loads((small_heads / "train" / "transforms.json").read_text())
    for frame in transforms["frames"]:
        frame["landmarks2d"] = project(cameras[Path(frame["file_path"]).name], points)[0].tolist()
        for key in ("file_path", "mask_path", "depth_path", "semantic_path"):
            if key in frame:
                frame[key] = str(small_heads / "train" / frame[key])
    folder = tmp_path_factory.mktemp("landmarks")
    (folder / "transforms.json").write_text(json.dumps(transforms))
    return folder


def test_the_mean_image_is_the_mean_and_the_same_for_every_view(photographs: list[ViewWithTruth]) -> None:
    renderer = mean_image(photographs)
    first, second = renderer(photographs[0]), renderer(photographs[1])
    assert first.rgb is second.rgb
    torch.testing.assert_close(first.rgb, sum(view.image for view in photographs) / 4)
    assert first.depth is not None and torch.isfinite(first.depth).all()


def test_the_nearest_photograph_is_never_the_own_one(photographs: list[ViewWithTruth]) -> None:
    renderer = nearest_in_pose(photographs)
    for view in photographs:
        assert not torch.equal(renderer(view).rgb, view.image)


def test_the_nearest_photograph_is_that_of_the_nearest_camera(photographs: list[ViewWithTruth]) -> None:
    stranger = replace(photographs[2], identity=99)
    assert torch.equal(nearest_in_pose(photographs)(stranger).rgb, photographs[2].image)


def test_the_own_photograph_is_the_identitys(photographs: list[ViewWithTruth], small_heads: Path) -> None:
    for view in read_views(small_heads / "test"):
        assert torch.equal(own_photograph(photographs)(view).rgb, photographs[view.identity].image)


def test_the_warp_to_the_own_camera_is_the_photograph(
    photographs: list[ViewWithTruth], with_landmarks: Path
) -> None:
    views = read_views(with_landmarks)
    surface = fitted_surface(with_landmarks, views)
    assert surface is not None
    rendered = warped_photograph(views, surface)(views[1])
    assert score(rendered, views[1])["psnr"] > 60


def test_landmarks_follow_the_size_that_is_judged(with_landmarks: Path) -> None:
    whole, half = (fitted_surface(with_landmarks, read_views(with_landmarks, factor)) for factor in (1, 2))
    assert whole is not None and half is not None
    np.testing.assert_allclose(whole.points, half.points, atol=1e-6)


def test_all_baselines_are_scored_alike(with_landmarks: Path, small_heads: Path) -> None:
    baselines = measure_baselines(
        with_landmarks, read_views(with_landmarks), read_views(small_heads / "test")
    )
    assert len(baselines) == 4
    for baseline in baselines:
        assert baseline.figures.keys() == {"psnr", "foreground_psnr", "depth_correlation", "normal_error"}
        assert all(np.isfinite(value) for value in baseline.figures.values())


def test_without_landmarks_the_warp_says_what_is_missing(
    small_heads: Path, photographs: list[ViewWithTruth]
) -> None:
    last = measure_baselines(small_heads / "train", photographs, read_views(small_heads / "test"))[-1]
    assert last.figures == {} and "landmarks2d" in last.note
