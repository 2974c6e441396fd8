"""The space of latent codes: its Gaussian against known answers, and the ways through it."""

import math

import pytest
import torch
from torch import Tensor

from nerfgen_ns.errors import UsageError
from nerfgen_ns.latents.latent_space import LatentSpace, interpolate, nearest, usual_distance, way


def table(rows: int, size: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    strengths = torch.linspace(3.0, 0.5, size)
    return torch.randn(rows, size, generator=generator) * strengths + 1.0


def test_the_directions_and_deviations_are_those_of_the_covariance() -> None:
    codes = table(200)
    space = LatentSpace.of(codes)
    torch.testing.assert_close(space.mean, codes.mean(dim=0))
    torch.testing.assert_close(space.directions @ space.directions.T, torch.eye(6), atol=1e-5, rtol=0.0)
    covariance = space.directions.T @ torch.diag(space.deviations**2) @ space.directions
    torch.testing.assert_close(covariance, torch.cov(codes.T), atol=1e-4, rtol=1e-4)
    assert (space.deviations.diff() <= 0).all()


def test_an_ellipse_of_known_axes_is_found() -> None:
    codes = torch.tensor([[6.0, 1.0], [-4.0, 1.0], [1.0, 3.0], [1.0, -1.0]])
    space = LatentSpace.of(codes)
    torch.testing.assert_close(space.mean, torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(space.directions, torch.eye(2))
    torch.testing.assert_close(space.deviations, torch.tensor([50.0, 8.0]).div(3.0).sqrt())


@pytest.mark.parametrize("rows", [2, 4, 6])
def test_few_rows_span_one_direction_fewer(rows: int) -> None:
    codes = table(rows)
    space = LatentSpace.of(codes)
    assert space.directions.shape == (rows - 1, 6)
    rebuilt = space.mean + (codes - space.mean) @ space.directions.T @ space.directions
    torch.testing.assert_close(rebuilt, codes, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("rows", [1, 5])
def test_a_table_of_the_same_row_has_no_directions_and_samples_that_row(rows: int) -> None:
    codes = torch.full((rows, 4), 0.1)
    space = LatentSpace.of(codes)
    assert space.directions.shape == (0, 4)
    torch.testing.assert_close(space.sample(3), codes[:1].expand(3, 4))
    torch.testing.assert_close(space.mahalanobis(codes), torch.zeros(rows))
    torch.testing.assert_close(space.move(codes[0], torch.ones(0)), codes[0])


def test_the_order_of_the_rows_does_not_turn_directions_around() -> None:
    codes = table(50)
    torch.testing.assert_close(
        LatentSpace.of(codes).directions, LatentSpace.of(codes.flip(0)).directions, atol=1e-4, rtol=0.0
    )


def test_samples_have_the_spread_of_the_table() -> None:
    space = LatentSpace.of(table(100))
    sampled = LatentSpace.of(space.sample(20000))
    torch.testing.assert_close(sampled.mean, space.mean, atol=0.1, rtol=0.0)
    torch.testing.assert_close(sampled.deviations, space.deviations, atol=0.0, rtol=0.05)


def test_truncation_scales_the_deviations() -> None:
    space = LatentSpace.of(table(100))
    whole, half = space.sample(5, seed=4), space.sample(5, truncation=0.5, seed=4)
    torch.testing.assert_close(half - space.mean, 0.5 * (whole - space.mean))
    torch.testing.assert_close(space.sample(2, truncation=0.0), space.mean.expand(2, -1))


def test_a_seed_fixes_the_samples_and_more_of_them_begin_the_same() -> None:
    space = LatentSpace.of(table(100))
    torch.testing.assert_close(space.sample(7, seed=2)[:3], space.sample(3, seed=2))
    assert not torch.allclose(space.sample(3, seed=2), space.sample(3, seed=3))


@pytest.mark.parametrize(
    ("count", "truncation", "named"),
    [
        (0, 1.0, "samples.* 0"),
        (3, -0.1, "truncation.* -0.1"),
        (3, math.nan, "truncation.* nan"),
        (3, math.inf, "truncation.* inf"),
    ],
)
def test_samples_that_cannot_be_drawn_are_refused(count: int, truncation: float, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        LatentSpace.of(table(10)).sample(count, truncation)


def test_moving_along_directions_is_measured_in_standard_deviations() -> None:
    space = LatentSpace.of(table(100))
    moved = space.move(space.mean, torch.tensor([3.0, -4.0]))
    torch.testing.assert_close(space.mahalanobis(moved), torch.tensor(5.0))
    torch.testing.assert_close(
        space.amounts(moved), torch.tensor([3.0, -4.0, 0.0, 0.0, 0.0, 0.0]), atol=1e-5, rtol=0.0
    )


def test_the_rows_lie_at_their_expected_mahalanobis_distance() -> None:
    codes = table(300)
    distances = LatentSpace.of(codes).mahalanobis(codes)
    torch.testing.assert_close(distances.square().mean(), torch.tensor(6.0 * 299 / 300))


def test_what_lies_outside_the_span_adds_nothing_to_the_mahalanobis_distance() -> None:
    codes = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    space = LatentSpace.of(codes)
    beside = codes + torch.tensor([0.0, 0.0, 7.0])
    torch.testing.assert_close(space.mahalanobis(beside), space.mahalanobis(codes))


@pytest.mark.parametrize("kind", ["linear", "spherical"])
def test_a_way_begins_and_ends_at_its_ends(kind) -> None:
    first, second = table(2)
    mean = torch.full((6,), 0.3)
    torch.testing.assert_close(interpolate(first, second, 0.0, kind, mean), first)
    torch.testing.assert_close(interpolate(first, second, 1.0, kind, mean), second)


def test_the_linear_way_passes_the_middle() -> None:
    first, second = table(2)
    torch.testing.assert_close(interpolate(first, second, 0.5), (first + second) / 2)


def test_the_spherical_way_is_an_arc_around_the_mean() -> None:
    mean = torch.tensor([5.0, 5.0])
    first, second = mean + torch.tensor([2.0, 0.0]), mean + torch.tensor([0.0, 4.0])
    third = interpolate(first, second, 1 / 3, "spherical", mean) - mean
    angle = torch.tensor(math.radians(30.0))
    torch.testing.assert_close(third, (2.0 + 2.0 / 3.0) * torch.stack([angle.cos(), angle.sin()]))


@pytest.mark.parametrize("second", [[4.0, 0.0], [-2.0, 0.0], [0.0, 0.0], [2.0, 1e-7]])
def test_the_spherical_way_between_codes_on_one_line_with_the_mean_is_straight(second: list[float]) -> None:
    first, last = torch.tensor([2.0, 0.0]), torch.tensor(second)
    torch.testing.assert_close(interpolate(first, last, 0.25, "spherical"), torch.lerp(first, last, 0.25))


@pytest.mark.parametrize("stops", [2, 3, 5])
def test_an_open_way_passes_every_stop_and_ends_at_the_last(stops: int) -> None:
    codes = table(stops)
    frames = way(codes, 4 * (stops - 1) + 1)
    torch.testing.assert_close(frames[::4], codes)


def test_a_closed_way_goes_on_to_the_first() -> None:
    codes = table(3)
    frames = way(codes, 12, closed=True)
    torch.testing.assert_close(frames[::4], codes)
    torch.testing.assert_close(frames[10], (codes[2] + codes[0]) / 2)


def test_a_way_is_slow_near_each_stop() -> None:
    steps = way(table(2), 21).diff(dim=0).norm(dim=1)
    assert steps[0] < 0.2 * steps[10] and steps[-1] < 0.2 * steps[10]


def test_the_nearest_row_is_found_with_its_distance() -> None:
    rows = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 3.0]])
    distances, found = nearest(torch.tensor([[9.0, 0.0], [0.0, 3.0]]), rows)
    assert found.tolist() == [1, 2]
    torch.testing.assert_close(distances, torch.tensor([1.0, 0.0]))


def test_the_usual_distance_is_that_to_the_nearest_other_row() -> None:
    assert usual_distance(torch.tensor([[0.0], [1.0], [5.0], [12.0]])) == 1.0
    assert usual_distance(torch.tensor([[4.0], [4.0]])) == 0.0
    assert math.isnan(usual_distance(torch.tensor([[4.0]])))


def test_the_usual_distance_of_a_large_table_is_that_of_rows_spread_over_it() -> None:
    rows = torch.cat([torch.arange(1200.0), 2000.0 + 3.0 * torch.arange(1800.0)])
    assert usual_distance(rows[:, None]) == 3.0
