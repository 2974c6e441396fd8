"""Mirrored rays and codes."""

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle

from nerfgen_ns.model.symmetry import draw_mirrored, mirror_codes, mirror_rays


@pytest.fixture
def rays() -> RayBundle:
    return RayBundle(
        origins=torch.randn(500, 3), directions=torch.randn(500, 3), pixel_area=torch.ones(500, 1),
        metadata={"cam_idx": torch.arange(500)[:, None]},
    )  # fmt: skip


def test_about_the_share_asked_for_is_mirrored(rays):
    assert draw_mirrored(rays, 0.0).sum() == 0
    assert draw_mirrored(rays, 1.0).all()
    assert 100 < draw_mirrored(rays, 0.3).sum() < 200


def test_mirrored_rays_lie_on_the_other_side_of_the_plane_and_the_others_stay(rays):
    mirrored = draw_mirrored(rays, 0.5)
    moved = mirror_rays(rays, mirrored)
    flip = torch.where(mirrored, torch.tensor([-1.0, 1.0, 1.0]), torch.ones(3))
    assert torch.equal(moved.origins, rays.origins * flip)
    assert torch.equal(moved.directions, rays.directions * flip)
    assert torch.equal(moved.metadata["cam_idx"], rays.metadata["cam_idx"])


def test_the_mirrored_code_differs_in_the_lopsided_entries_alone_and_twice_mirrored_is_the_code():
    codes, mirrored = torch.randn(4, 6), torch.tensor([[True], [False], [True], [False]])
    moved = mirror_codes(codes, mirrored, 1 / 3)
    assert torch.equal(moved[1::2], codes[1::2])
    assert torch.equal(moved[::2, :2], -codes[::2, :2])
    assert torch.equal(moved[:, 2:], codes[:, 2:])
    assert torch.equal(mirror_codes(moved, mirrored, 1 / 3), codes)
    assert torch.equal(mirror_codes(codes, mirrored, 0.0), codes)


def test_gradients_reach_rays_and_codes_through_the_mirror(rays):
    rays.origins.requires_grad_()
    codes = torch.randn(500, 6, requires_grad=True)
    mirrored = draw_mirrored(rays, 0.5)
    (mirror_rays(rays, mirrored).origins.sum() + mirror_codes(codes, mirrored, 1 / 3).sum()).backward()
    sign = 1.0 - 2.0 * mirrored.float()
    assert torch.equal(rays.origins.grad[:, :1], sign)
    assert torch.equal(codes.grad[:, :2], sign.expand(-1, 2))


def test_one_code_for_all_rays_becomes_one_a_ray():
    code, mirrored = torch.randn(1, 6), torch.tensor([[True], [False]])
    assert torch.equal(
        mirror_codes(code, mirrored, 1 / 3), torch.cat([torch.cat([-code[:, :2], code[:, 2:]], 1), code])
    )
