"""Meshes, points and voxels of fields whose solid is known."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.cameras.trajectories import look_at_origin
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.fields.foreground import activate_density
from nerfgen_ns.meshing.extraction import SURFACE_LEVEL, extract_mesh, extract_points, extract_voxels
from nerfgen_ns.meshing.field import ObjectField
from nerfgen_ns.meshing.mesh import vertex_colors

RADIUS = 0.6
CENTER = torch.tensor([0.1, -0.05, 0.2])
STEEPNESS = 150.0
LEVEL = float(activate_density(torch.zeros(())))
"""The density where the distance to the surface is 0."""


def field_of(depth_inside: Callable[[Tensor], Tensor]) -> ObjectField:
    """A solid, given by how deep inside it a position lies, whose color is its position."""

    def density(positions: Tensor) -> Tensor:
        return activate_density(STEEPNESS * depth_inside(positions))

    def density_and_color(positions: Tensor) -> tuple[Tensor, Tensor]:
        return density(positions), 0.5 + 0.5 * positions

    return ObjectField(density, density_and_color)


def ball(center: Tensor = CENTER, radius: float = RADIUS) -> Callable[[Tensor], Tensor]:
    return lambda positions: radius - (positions - center).norm(dim=-1)


def union(*solids: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda positions: torch.stack([solid(positions) for solid in solids]).amax(dim=0)


@pytest.mark.parametrize("resolution", [48, 128])
def test_a_ball_has_its_volume_radius_normals_and_colors(resolution: int) -> None:
    mesh = extract_mesh(field_of(ball()), resolution, level=LEVEL)
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.euler_number == 2
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.005)
    outwards = mesh.vertices - CENTER.numpy()
    radii = np.linalg.norm(outwards, axis=1)
    assert np.abs(radii - RADIUS).max() < 0.002
    assert (mesh.vertex_normals * outwards).sum(axis=1).min() > 0.995 * RADIUS
    # Pixels mix the colors just below the surface.
    assert np.abs(vertex_colors(mesh) - (0.5 + 0.5 * mesh.vertices) * 255).max() < 0.03 * 255


def test_what_a_coarse_look_skips_changes_nothing() -> None:
    """Only where surfaces are is every point evaluated."""
    evaluated = []

    def counted(positions: Tensor) -> Tensor:
        evaluated.append(len(positions))
        return whole.density(positions)

    whole = field_of(ball())
    mesh = extract_mesh(ObjectField(counted, whole.density_and_color), 128, level=LEVEL)
    assert sum(evaluated) < 0.5 * 129**3
    every = extract_mesh(
        ObjectField(whole.density, whole.density_and_color, lambda p: torch.ones(len(p), dtype=torch.bool)),
        128,
        level=LEVEL,
    )
    np.testing.assert_array_equal(mesh.faces, every.faces)
    np.testing.assert_allclose(mesh.vertices, every.vertices, atol=1e-6)


def test_what_a_coarse_look_would_miss_is_found_where_the_class_is() -> None:
    """A thread thinner than a block of the coarse look."""

    def thread(positions: Tensor) -> Tensor:
        across = (positions[:, :2] - torch.tensor([0.03, 0.03])).norm(dim=-1)
        return torch.minimum(0.02 - across, 0.5 - positions[:, 2].abs())

    plain = field_of(thread)
    with pytest.raises(NerfgenError):
        extract_mesh(plain, 128, level=LEVEL)
    near = lambda positions: positions[:, :2].abs().amax(dim=-1) < 0.1  # noqa: E731
    mesh = extract_mesh(ObjectField(plain.density, plain.density_and_color, near), 128, level=LEVEL)
    assert np.ptp(mesh.vertices[:, 2]) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("resolution", [31, 97])
def test_a_solid_that_touches_the_border_of_the_box_is_closed_there(resolution: int) -> None:
    mesh = extract_mesh(
        field_of(lambda positions: 0.4 - positions[:, :2].norm(dim=-1)), resolution, level=LEVEL
    )
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(np.pi * 0.4**2 * 2.0, rel=0.02)
    assert np.abs(mesh.vertices).max() <= 1.0
    np.testing.assert_allclose(np.abs(mesh.vertices[:, 2]).max(), 1.0, atol=1e-3)


def test_a_field_that_fills_the_box_gives_the_box() -> None:
    mesh = extract_mesh(field_of(lambda positions: torch.ones(len(positions))), 16, level=LEVEL)
    assert mesh.is_watertight
    np.testing.assert_allclose(mesh.bounds, [[-1.0] * 3, [1.0] * 3], atol=1e-3)
    # Marching cubes bevels edges by a cell.
    assert mesh.volume == pytest.approx(8.0, rel=0.03)


def test_crumbs_and_cavities_go_unless_they_are_asked_for() -> None:
    def hollow(positions: Tensor) -> Tensor:
        return torch.minimum(ball()(positions), -ball(radius=0.3)(positions))

    crumb = ball(torch.tensor([-0.8, 0.8, -0.8]), 0.1)
    field = field_of(union(hollow, crumb))
    mesh = extract_mesh(field, 64, level=LEVEL)
    everything = extract_mesh(field, 64, level=LEVEL, keep_all=True)
    assert mesh.body_count == 1
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.01)
    assert everything.body_count == 3
    assert everything.is_watertight
    filled, hollowed = (
        extract_voxels(field, 64, level=LEVEL),
        extract_voxels(field, 64, level=LEVEL, keep_all=True),
    )
    inside = tuple(((CENTER + 1) * 32).long())
    assert filled.occupancy[inside] and not hollowed.occupancy[inside]
    assert hollowed.occupancy[6, 57, 6] and not filled.occupancy[6, 57, 6]


def test_a_random_solid_is_watertight() -> None:
    waves = torch.randn(12, 3) * 9.0
    phases = torch.rand(12) * 6.3

    def noise(positions: Tensor) -> Tensor:
        return 0.02 * (positions @ waves.T + phases).sin().sum(dim=-1)

    mesh = extract_mesh(field_of(noise), 64, level=LEVEL, keep_all=True)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent


def test_what_no_photograph_could_show_is_cut_off() -> None:
    size, focal, distance = 64, 150.0, 3.0
    poses = look_at_origin(np.array([[0.0, 0.0], [180.0, 0.0]]), distance)
    cameras = Cameras(poses, fx=focal, fy=focal, cx=size / 2, cy=size / 2, width=size, height=size)
    wall = field_of(lambda positions: 0.1 - positions[:, 2].abs())
    mesh = extract_mesh(wall, 64, level=LEVEL, cameras=cameras)
    assert mesh.is_watertight
    # Half the width of what the farther of the two cameras sees, and the margin around a photograph.
    reach = (distance + 0.1) * (0.5 + 0.02) * size / focal
    np.testing.assert_allclose(np.abs(mesh.vertices[:, :2]).max(axis=0), reach, atol=0.02)


def test_points_lie_on_the_surface_evenly_with_their_normals_and_colors() -> None:
    points = extract_points(field_of(ball()), 2000, 48, level=LEVEL)
    outwards = points.vertices - CENTER.numpy()
    assert np.abs(np.linalg.norm(outwards, axis=1) - RADIUS).max() < 0.005
    assert (points.vertex_normals * outwards).sum(axis=1).min() > 0.99 * RADIUS
    assert np.abs(outwards.mean(axis=0)).max() < 0.05
    assert np.abs(points.colors[:, :3] - (0.5 + 0.5 * points.vertices) * 255).max() < 0.03 * 255
    again = extract_points(field_of(ball()), 2000, 48, level=LEVEL)
    np.testing.assert_array_equal(points.vertices, again.vertices)


@pytest.mark.parametrize("resolution", [32, 128])
def test_voxels_are_those_whose_middle_is_inside(resolution: int) -> None:
    voxels = extract_voxels(field_of(ball()), resolution, level=LEVEL)
    middles = (np.stack(np.indices((resolution,) * 3), axis=-1) + 0.5) * 2 / resolution - 1
    depth = RADIUS - np.linalg.norm(middles - CENTER.numpy(), axis=-1)
    certain = np.abs(depth) > 1e-4
    np.testing.assert_array_equal(voxels.occupancy[certain], (depth > 0)[certain])
    expected = np.where(voxels.occupancy[..., None], (0.5 + 0.5 * middles) * 255, 0)
    assert np.abs(voxels.color - expected).max() <= 0.51
    np.testing.assert_array_equal(voxels.box, [[-1, -1, -1], [1, 1, 1]])


def test_nothing_above_the_level_is_said_in_one_line() -> None:
    empty = field_of(lambda positions: torch.full((len(positions),), -1.0))
    for extract in (extract_mesh, extract_voxels):
        with pytest.raises(NerfgenError, match=rf"\b{SURFACE_LEVEL:g}\b"):
            extract(empty, 32)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"resolution": 15}, "resolution 15"),
        ({"resolution": 513}, "resolution 513"),
        ({"level": 0.0}, "level 0"),
        ({"level": float("nan")}, "level nan"),
        ({"resolution": 32, "texture_size": 64}, "texture.* 64 "),
        ({"resolution": 32, "texture_size": 5000}, "texture.* 5000 "),
    ],
)
def test_values_out_of_range_are_refused(arguments: dict, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        extract_mesh(field_of(ball()), **arguments)


@pytest.mark.parametrize("count", [0, 10**9])
def test_a_number_of_points_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match=f"{count} points"):
        extract_points(field_of(ball()), count)
