"""Scores with known answers, for renders of models and of baselines alike."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nerfgen_ns.errors import UsageError
from nerfgen_ns.evaluation.comparisons import Rendered, ViewWithTruth, mean_scores, read_views, score
from nerfgen_ns.utils.images import from_bytes, to_bytes


def test_views_bring_their_truth_at_the_size_that_is_judged(seen_heads: Path) -> None:
    views = read_views(seen_heads, 2)
    assert len(views) == 9
    assert [view.identity for view in views] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    view = views[0]
    assert view.image.shape == (16, 16, 3) and view.matte.shape == (16, 16)
    assert view.depth is not None and view.depth.shape == (16, 16)
    assert torch.isfinite(view.depth).any() and not torch.isfinite(view.depth).all()
    assert int(view.camera.width) == 16


def test_only_the_identities_asked_for_are_read_and_evenly_spread(seen_heads: Path) -> None:
    assert [view.identity for view in read_views(seen_heads, 1, [0, 2])] == [0, 0, 0, 2, 2, 2]
    assert [view.identity for view in read_views(seen_heads, 1, most=3)] == [0, 1, 2]
    with pytest.raises(UsageError, match="/seen: "):
        read_views(seen_heads, 1, [17])


def test_the_truth_scores_as_well_as_can_be(seen_heads: Path) -> None:
    view = read_views(seen_heads)[0]
    assert view.depth is not None
    figures = score(Rendered(view.image, view.depth, view.matte), view)
    assert figures["psnr"] == figures["foreground_psnr"] == float("inf")
    assert figures["depth_correlation"] == pytest.approx(1.0)
    assert figures["silhouette_iou"] == 1.0


def darker(view: ViewWithTruth) -> ViewWithTruth:
    """A view with room for an error: no color of it is above one half."""
    return replace(view, image=from_bytes(to_bytes(view.image / 2)))


GRAY = 26 / 255
"""An error that a picture can hold, and what it comes to in dB."""
DECIBEL = -20 * math.log10(GRAY)


def test_a_gray_error_has_its_decibels_and_a_constant_depth_has_no_correlation(seen_heads: Path) -> None:
    view = darker(read_views(seen_heads)[0])
    assert view.matte is not None
    figures = score(Rendered(view.image + GRAY, torch.ones_like(view.matte)), view)
    assert figures["psnr"] == pytest.approx(DECIBEL, abs=1e-3)
    assert figures["foreground_psnr"] == pytest.approx(DECIBEL, abs=1e-3)
    assert math.isnan(figures["depth_correlation"])
    assert "silhouette_iou" not in figures
    assert score(Rendered(view.image + 0.1), replace(view, matte=None)).keys() == {"psnr"}
    assert "depth_correlation" not in score(Rendered(view.image + 0.1), view)
    assert "depth_correlation" not in score(Rendered(view.image + 0.1, view.matte), replace(view, depth=None))


def test_a_render_is_judged_as_a_picture_holds_it(seen_heads: Path) -> None:
    view = darker(read_views(seen_heads)[0])
    assert score(Rendered(view.image + 0.4 / 255), view)["psnr"] == float("inf")
    white = replace(view, image=torch.ones_like(view.image))
    assert score(Rendered(white.image + 3.0), white)["psnr"] == float("inf")


def test_a_mean_is_over_the_views_where_a_figure_is_defined(seen_heads: Path) -> None:
    first, second = map(darker, read_views(seen_heads, most=2))
    nobody = replace(second, matte=torch.zeros(32, 32))
    figures = mean_scores(lambda view: Rendered(view.image + GRAY), [first, nobody])
    assert figures["foreground_psnr"] == pytest.approx(DECIBEL, abs=1e-3)
    assert mean_scores(lambda view: Rendered(view.image), [first, second]) == {}


def test_photographs_that_trained_tell_their_number_for_the_correction_of_their_cameras(heads: Path) -> None:
    views = read_views(heads, identities=[1, 2], trained_on=True)
    assert [int(view.camera.metadata["photograph"]) for view in views] == [1, 2]  # type: ignore[index]
    assert "photograph" not in (read_views(heads)[0].camera.metadata or {})
