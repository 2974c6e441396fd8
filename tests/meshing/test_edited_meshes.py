"""Meshes of objects with an effect on a part."""

import numpy as np
import pytest
import torch

from nerfgen_ns.fields.regions import RegionConfig
from nerfgen_ns.meshing.extraction import extract_mesh, extract_voxels
from nerfgen_ns.meshing.field import object_field
from nerfgen_ns.meshing.labels import fused_points, label_mesh
from tests.helpers.small_models import make_camera
from tests.helpers.split_objects import FRONT_COLOR, LEGEND, RADIUS, ball_model

CELL, LEVEL = 2.0 / 40, 50.0


def mesh_of(region: RegionConfig | None):
    model = ball_model()
    field = object_field(model, model.latent_table.row(0), region)
    return label_mesh(extract_mesh(field, 40, level=LEVEL), field, LEGEND), field


@pytest.mark.parametrize(("effect", "side"), [("remove", -1.0), ("extract", 1.0)])
def test_a_mesh_without_a_part_has_no_vertices_of_it(effect: str, side: float) -> None:
    mesh, _ = mesh_of(RegionConfig(effect, ("front",)))
    assert (side * mesh.vertices[:, 2]).min() > -CELL
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(2.0 / 3.0 * np.pi * RADIUS**3, rel=0.15)
    number = LEGEND.names.index("front")
    assert np.isin(number, mesh.vertex_attributes["label"]) == (effect == "extract")


def test_without_an_effect_density_and_colors_are_the_fields_to_the_bit() -> None:
    model, places = ball_model(), 2.0 * torch.rand(100, 3) - 1.0
    code = model.latent_table.row(0)
    plain, none = object_field(model, code), object_field(model, code, RegionConfig())
    assert torch.equal(plain.density(places), none.density(places))
    for one, other in zip(plain.density_and_color(places), none.density_and_color(places), strict=True):
        assert torch.equal(one, other)


def test_a_new_color_is_on_the_mesh_and_voxels_follow() -> None:
    mesh, field = mesh_of(RegionConfig("recolor", ("back",), (255, 0, 0), luminance=0.6))
    colors = extract_mesh(field, 40, level=LEVEL).visual.vertex_colors[:, :3]
    back = mesh.vertices[:, 2] < -2 * CELL
    assert np.abs(colors[back].astype(int) - [255, 0, 0]).max() <= 3
    assert np.abs(colors[mesh.vertices[:, 2] > 2 * CELL] / 255.0 - FRONT_COLOR).max() < 0.02
    _, field = mesh_of(RegionConfig("extract", ("back",)))
    occupied = np.argwhere(extract_voxels(field, 32).occupancy)
    assert occupied[:, 2].max() <= 16


def test_fused_points_are_those_of_what_is_left() -> None:
    model = ball_model()
    model.config.region = RegionConfig("remove", ("front",))
    camera = make_camera(24, 24)
    camera.fx = camera.fy = torch.full_like(camera.fx, 40.0)
    points = fused_points(model, model.latent_table.row(0), camera, LEGEND, 1000, size=24)
    assert set(points.vertex_attributes["label"].tolist()) == {LEGEND.names.index("back")}
    assert points.vertices[:, 2].max() < 2 * CELL
