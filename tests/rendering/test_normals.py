"""Normals from the gradient of the density."""

import pytest
import torch
from torch import Tensor

from nerfgen_ns.fields.foreground import ForegroundField, ForegroundFieldConfig, LatentTerms
from nerfgen_ns.rendering.volume_rendering import normal_colors, surface_normals

TERMS = LatentTerms((torch.zeros(1, 1), torch.zeros(1, 1)))


class Ball(ForegroundField):
    """A soft ball around the origin, denser toward its middle."""

    def __init__(self) -> None:
        super().__init__(
            ForegroundFieldConfig(hidden_dim=1, num_layers=2, skip_connection=1, num_frequencies=0),
            latent_dim=1,
        )

    def density(self, positions: Tensor, terms: LatentTerms) -> Tensor:
        return torch.exp(-5.0 * positions.norm(dim=-1))


@pytest.mark.parametrize("grad_enabled", [True, False])
def test_normals_of_a_ball_point_outwards(grad_enabled):
    positions = torch.randn(50, 3)
    with torch.set_grad_enabled(grad_enabled):
        normals = surface_normals(Ball(), positions, TERMS)
    torch.testing.assert_close(normals, torch.nn.functional.normalize(positions, dim=-1))


def test_normals_do_not_depend_on_the_scale_of_the_density():
    class ThinBall(Ball):
        def density(self, positions: Tensor, terms: LatentTerms) -> Tensor:
            return 1e-3 * super().density(positions, terms)

    positions = torch.randn(50, 3).clamp(-1, 1)
    torch.testing.assert_close(
        surface_normals(ThinBall(), positions, TERMS), surface_normals(Ball(), positions, TERMS)
    )


def test_normals_stay_within_1_and_without_density_they_are_0():
    positions = torch.tensor([[1e-3, 2e-3, 3e-3], [0.3, 0.0, 0.0], [1e4, 0.0, 0.0]])
    normals = surface_normals(Ball(), positions, TERMS)
    assert normals.abs().max() <= 1.0
    assert (normals[2] == 0).all()


def test_normals_leave_no_gradient_behind():
    field = ForegroundField(
        ForegroundFieldConfig(hidden_dim=8, num_layers=2, skip_connection=1, num_frequencies=2), latent_dim=2
    )
    normals = surface_normals(field, torch.rand(4, 3), field.latent_terms(torch.zeros(4, 2)))
    assert not normals.requires_grad
    assert all(parameter.grad is None for parameter in field.parameters())


def test_colors_of_normals_are_those_of_the_surfaces_that_are_seen_and_gray_elsewhere():
    class Balls(Ball):
        """Balls that differ in where they lie by their latent terms."""

        def density(self, positions: Tensor, terms: LatentTerms) -> Tensor:
            return super().density(positions - terms[0][:, None], terms)

    positions, places = torch.randn(20, 3), torch.randn(20, 1)
    accumulation = torch.linspace(0.0, 1.0, 20)[:, None]
    terms = LatentTerms((places, torch.zeros(20, 1)))
    colors = normal_colors(Balls(), positions, terms, accumulation)
    assert (colors[:10] == 0.5).all()
    expected = 0.5 + 0.5 * torch.nn.functional.normalize(positions - places, dim=-1)
    torch.testing.assert_close(colors[10:], expected[10:])


def test_where_no_surface_is_seen_all_is_gray():
    field = ForegroundField(
        ForegroundFieldConfig(hidden_dim=8, num_layers=2, skip_connection=1, num_frequencies=2), latent_dim=2
    )
    terms = field.latent_terms(torch.zeros(1, 2))
    colors = normal_colors(field, torch.rand(4, 3), terms, torch.zeros(4, 1))
    assert torch.equal(colors, torch.full((4, 3), 0.5))
