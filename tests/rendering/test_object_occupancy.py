"""The cells that one object of the class fills."""

import pytest
import torch
from torch import Tensor

from nerfgen_ns.fields.foreground import ForegroundField, ForegroundFieldConfig, LatentTerms
from nerfgen_ns.rendering.occupancy_grid import ObjectOccupancy, OccupancyGrid


class Ball(ForegroundField):
    """Dense within the radius that is its latent code's first term."""

    evaluations = 0

    def density(self, positions: Tensor, terms: LatentTerms) -> Tensor:
        self.evaluations += 1
        return 100.0 * (positions.norm(dim=-1) < terms[0][0, 0]).float()


@pytest.fixture
def ball() -> Ball:
    return Ball(
        ForegroundFieldConfig(hidden_dim=4, num_layers=2, skip_connection=1, num_frequencies=1), latent_dim=3
    )


def terms_of_radius(radius: float) -> LatentTerms:
    return LatentTerms((torch.full((1, 4), radius), torch.zeros(1, 4)))


def test_the_object_fills_its_cells_and_those_around_them(ball):
    grid = ObjectOccupancy(ball, OccupancyGrid(16, decay=0.9, threshold=0.1))(terms_of_radius(0.5))
    centers, _ = OccupancyGrid(16, decay=0.9, threshold=0.1).centers()
    filled = grid(centers) > 0
    distance = centers.norm(dim=-1)
    assert filled[distance < 0.5].all()
    assert not filled[distance > 0.5 + 0.125 * 3**0.5].any()


def test_an_object_fills_no_cell_outside_its_class(ball):
    occupancy = OccupancyGrid(16, decay=0.9, threshold=0.1)
    occupancy.occupied[:8] = 0.0
    grid = ObjectOccupancy(ball, occupancy)(terms_of_radius(0.5))
    assert not grid.occupied[:8].any() and grid.occupied[8:].any()
    assert occupancy.occupied[8:].all(), "the grid of the class stays as it is"


def test_the_grid_is_found_once_until_object_weights_or_class_change(ball):
    occupancy = OccupancyGrid(16, decay=0.9, threshold=0.1)
    of_object = ObjectOccupancy(ball, occupancy)
    for _ in range(3):
        of_object(terms_of_radius(0.5))
    assert ball.evaluations == 1
    small = of_object(terms_of_radius(0.3))
    assert small.occupied.sum() < of_object(terms_of_radius(0.5)).occupied.sum()
    assert ball.evaluations == 3
    with torch.no_grad():
        ball.rgb_head.weight.add_(1.0)
    of_object(terms_of_radius(0.5))
    assert ball.evaluations == 4
    occupancy.mark()
    of_object(terms_of_radius(0.5))
    assert ball.evaluations == 5
