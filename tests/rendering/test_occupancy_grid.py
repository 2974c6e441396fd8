"""The class-level occupancy grid and the sampler that follows it."""

import pytest
import torch
import torch.nn.functional as F
from nerfstudio.cameras.rays import RayBundle

from nerfgen_ns.rendering.occupancy_grid import ImportanceSampler, OccupancyGrid, inverse_transform


def rays_along_x(count: int = 3) -> RayBundle:
    """Rays through the middle of the box from x = −2, which they enter at 1 and leave at 3."""
    ones = torch.ones(count, 1)
    return RayBundle(
        origins=torch.tensor([[-2.0, 0.01, 0.01]]).repeat(count, 1),
        directions=torch.tensor([[1.0, 0.0, 0.0]]).repeat(count, 1),
        pixel_area=ones,
        nears=ones,
        fars=3 * ones,
    )


def make_grid(resolution: int = 8, decay: float = 0.5, threshold: float = 0.1) -> OccupancyGrid:
    return OccupancyGrid(resolution, decay, threshold)


def bounds_of(sampler: ImportanceSampler, rays: RayBundle) -> tuple[torch.Tensor, torch.Tensor]:
    frustums = sampler(rays).frustums
    return frustums.starts[..., 0], frustums.ends[..., 0]


def presence_at(grid: OccupancyGrid, positions: torch.Tensor) -> torch.Tensor:
    return grid.presence(positions[:, None])[:, 0]


def test_inverse_transform_known_answers():
    importance = torch.tensor([[1.0, 3.0]])
    edges = torch.tensor([[0.0, 1.0, 2.0]])
    quantiles = torch.tensor([[0.0, 0.125, 0.25, 0.625, 1.0]])
    expected = torch.tensor([[0.0, 0.5, 1.0, 1.5, 2.0]])
    torch.testing.assert_close(inverse_transform(importance, edges, quantiles), expected)


def test_inverse_transform_passes_over_bins_without_importance():
    importance = torch.tensor([[1.0, 0.0, 1.0]])
    edges = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    places = inverse_transform(importance, edges, torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(places, torch.tensor([[0.5, 2.5]]))


def test_a_full_grid_gives_evenly_spread_samples():
    sampler = ImportanceSampler(make_grid(), num_samples=16).eval()
    starts, ends = bounds_of(sampler, rays_along_x())
    expected = torch.linspace(1.0, 3.0, 17).expand(3, -1)
    torch.testing.assert_close(starts, expected[:, :-1], atol=1e-5, rtol=0)
    torch.testing.assert_close(ends, expected[:, 1:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("training", [True, False])
def test_samples_fill_the_ray_from_near_to_far_without_gaps(training):
    grid = make_grid()
    grid.occupied.bernoulli_(0.3)
    sampler = ImportanceSampler(grid, num_samples=16).train(training)
    starts, ends = bounds_of(sampler, rays_along_x(50))
    assert (ends >= starts).all()
    torch.testing.assert_close(starts[:, 1:], ends[:, :-1])
    torch.testing.assert_close(starts[:, 0], torch.ones(50))
    torch.testing.assert_close(ends[:, -1], torch.full((50,), 3.0))


def test_jitter_moves_samples_in_training_only():
    sampler = ImportanceSampler(make_grid(), num_samples=16)
    starts, _ = bounds_of(sampler.train(), rays_along_x(2))
    assert not torch.equal(starts[0], starts[1])
    starts, _ = bounds_of(sampler.eval(), rays_along_x(2))
    assert torch.equal(starts[0], starts[1])


def test_samples_crowd_where_the_class_is_and_some_fall_elsewhere():
    grid = make_grid()
    grid.occupied.zero_()
    grid.occupied[5, 4, 4] = 1.0
    starts, ends = bounds_of(ImportanceSampler(grid, num_samples=16, floor=0.02).eval(), rays_along_x())
    positions = -2 + 0.5 * (starts + ends)
    in_cell = (positions > 0.25) & (positions < 0.5)
    assert (in_cell.sum(dim=-1) >= 12).all()
    assert (positions < 0.25).any() and (positions > 0.5).any()


def test_the_grid_looked_up_along_rays_is_the_grid_at_their_positions():
    grid = make_grid(resolution=7)
    grid.occupied.bernoulli_(0.5)
    origins, distances = torch.randn(50, 3), torch.rand(50, 20) * 6.0
    directions = F.normalize(torch.randn(50, 3), dim=-1)
    positions = origins[:, None] + directions[:, None] * distances[..., None]
    along = grid.along(origins, directions, distances)
    # Rounding may put a position that lies on a cell's side into the next cell.
    assert (along == grid(positions)).float().mean() > 0.999
    assert 0.3 < along.mean() < 0.7


def test_weights_decay_and_are_raised_to_the_largest_of_the_samples():
    grid = make_grid(resolution=4)
    here, there = torch.tensor([0.1, 0.1, 0.1]), torch.tensor([-0.9, 0.9, 0.1])
    grid.update(torch.stack([here, here, there]), torch.tensor([0.7, 0.9, 0.2]))
    weights = grid.weights.flatten()
    assert weights[grid.cells(here)] == pytest.approx(0.9)
    assert weights[grid.cells(there)] == pytest.approx(0.5)
    grid.update(torch.empty(0, 3), torch.empty(0))
    assert weights[grid.cells(here)] == pytest.approx(0.45)
    assert len(weights.unique()) == 2


def test_a_surface_occupies_its_cell_and_the_cells_around_it_until_it_is_forgotten():
    grid = make_grid(resolution=8, decay=0.5, threshold=0.1)
    grid.weights.zero_()
    surface = torch.tensor([[0.3, 0.1, 0.1]])
    grid.update(surface, torch.tensor([0.9]))
    grid.mark()
    expected = torch.zeros(8, 8, 8)
    expected[4:7, 3:6, 3:6] = 1.0
    assert torch.equal(grid.occupied, expected)
    assert grid(surface) == 1.0 and grid(torch.tensor([[0.9, 0.1, 0.1]])) == 0.0
    for _ in range(4):
        grid.update(torch.empty(0, 3), torch.empty(0))
    grid.mark()
    assert not grid.occupied.any()


def test_positions_outside_the_box_fall_into_the_nearest_cell():
    grid = make_grid(resolution=4)
    outside, inside = torch.tensor([5.0, -5.0, 0.9]), torch.tensor([0.9, -0.9, 0.9])
    assert grid.cells(outside) == grid.cells(inside)
    corners = grid.cells(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    assert corners.tolist() == [0, 4**3 - 1]


def test_all_of_a_full_grid_is_present_up_to_the_corners_of_the_box():
    positions = torch.cat([torch.rand(100, 3) * 2 - 1, torch.ones(1, 3), -torch.ones(1, 3)])
    assert torch.equal(presence_at(make_grid(), positions), torch.ones(102))


def test_presence_falls_smoothly_to_nothing_where_the_class_ends():
    grid = make_grid(resolution=16)
    grid.occupied[8:] = 0.0  # The class ends at x = 0; a cell is 0.125 wide.
    positions = torch.zeros(401, 3)
    positions[:, 0] = torch.linspace(-1.0, 1.0, 401)
    presence = presence_at(grid, positions)
    assert (presence[positions[:, 0] < -0.125] == 1.0).all()
    assert (presence[positions[:, 0] > 0.001] == 0.0).all()
    steps = presence[:-1] - presence[1:]
    assert (steps >= 0).all() and steps.max() < 0.2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_presence_is_by_the_same_axes_as_the_grid(axis):
    grid = make_grid(resolution=16)
    grid.occupied.transpose(0, axis)[:8] = 0.0
    positions = (torch.rand(500, 3) * 2 - 1) * 0.9
    deep = positions[:, axis].abs() > 0.125
    assert torch.equal(presence_at(grid, positions)[deep], grid(positions)[deep])


def test_surfaces_found_in_training_are_present_and_a_lost_cell_is_not():
    grid = make_grid(resolution=16)
    grid.weights.zero_()
    grid.weights[4] = 1.0
    grid.weights[12, 8, 8] = 1.0
    grid.mark()
    centers = (torch.tensor([[4, 8, 8], [12, 8, 8]]) + 0.5) / 8 - 1
    assert torch.equal(grid(centers), torch.ones(2))
    assert torch.equal(presence_at(grid, centers), torch.tensor([1.0, 0.0]))


def test_presence_follows_the_grid():
    grid, middle = make_grid(), torch.zeros(1, 3)
    assert presence_at(grid, middle) == 1.0
    grid.weights.zero_()
    grid.mark()
    assert presence_at(grid, middle) == 0.0
