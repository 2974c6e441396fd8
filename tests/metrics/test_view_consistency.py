"""Agreement of two views of one surface, on a ball whose colors are known."""

import math

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from nerfgen_ns.cameras.trajectories import look_at_origin
from nerfgen_ns.metrics.geometry import view_agreement

SIZE = 64


def camera(yaw: float) -> Cameras:
    pose = look_at_origin(np.array([[yaw, 10.0]]), 3.0)
    return Cameras(pose, fx=130.0, fy=130.0, cx=SIZE / 2, cy=SIZE / 2, width=SIZE, height=SIZE)


def outputs_of_ball(shown_by: Cameras, turned: float = 0.0) -> dict[str, torch.Tensor]:
    """What a model would show of a ball whose colors change smoothly around it."""
    rays = shown_by.generate_rays(camera_indices=0, keep_shape=True)
    toward = (rays.origins * rays.directions).sum(-1, keepdim=True)
    inside = toward**2 - (rays.origins**2).sum(-1, keepdim=True) + 0.25
    depth = torch.where(inside > 0, -toward - inside.clamp(min=0).sqrt(), 4.0)
    points = rays.origins + depth * rays.directions
    colors = 0.5 + 0.4 * torch.sin(4.0 * points + turned + torch.tensor([0.0, 1.0, 2.0]))
    accumulation = (inside > 0).float()
    return {"foreground": colors * accumulation, "depth": depth, "accumulation": accumulation}


def test_a_view_agrees_with_itself():
    view = outputs_of_ball(camera(0.0))
    agreement = view_agreement(view, camera(0.0), view, camera(0.0))
    assert agreement.psnr > 80.0
    assert agreement.share == 1.0


def test_two_views_of_one_surface_agree_and_of_two_do_not():
    first, second = outputs_of_ball(camera(-15.0)), outputs_of_ball(camera(15.0))
    agreement = view_agreement(first, camera(-15.0), second, camera(15.0))
    assert agreement.psnr > 30.0
    # A turn by 30° hides a part of the ball.
    assert 0.7 < agreement.share < 0.97
    other = outputs_of_ball(camera(15.0), turned=2.0)
    assert view_agreement(first, camera(-15.0), other, camera(15.0)).psnr < 15.0


def test_a_surface_that_the_second_view_places_elsewhere_disagrees():
    first, second = outputs_of_ball(camera(-15.0)), outputs_of_ball(camera(15.0))
    honest = view_agreement(first, camera(-15.0), second, camera(15.0)).psnr
    first["depth"] = first["depth"] - 0.15
    assert view_agreement(first, camera(-15.0), second, camera(15.0)).psnr < honest - 10.0


def test_hidden_points_are_left_out():
    first, second = outputs_of_ball(camera(-15.0)), outputs_of_ball(camera(15.0))
    second["depth"] = second["depth"] - 1.0
    agreement = view_agreement(first, camera(-15.0), second, camera(15.0))
    assert agreement.share == 0.0
    assert math.isnan(agreement.psnr)


@pytest.mark.parametrize("empty", ["first", "second"])
def test_a_view_without_the_object_has_nothing_to_compare(empty):
    views = {"first": outputs_of_ball(camera(0.0)), "second": outputs_of_ball(camera(0.0))}
    views[empty]["accumulation"] = torch.zeros(SIZE, SIZE, 1)
    agreement = view_agreement(views["first"], camera(0.0), views["second"], camera(0.0))
    assert math.isnan(agreement.psnr)
    assert math.isnan(agreement.share) if empty == "first" else agreement.share == 0.0
