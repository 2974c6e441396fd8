"""The latent table and the choice of the identity that a ray shows."""

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle

from nerfgen_ns.errors import UsageError
from nerfgen_ns.latents.latent_table import LatentTable
from nerfgen_ns.model.conditioning import codes_of_rays


def rays(**metadata) -> RayBundle:
    return RayBundle(
        origins=torch.zeros(3, 3), directions=torch.ones(3, 3), pixel_area=torch.ones(3, 1), metadata=metadata
    )


def test_only_the_rows_of_the_batch_get_a_gradient():
    table = LatentTable(1000, 4)
    table(torch.tensor([3, 7, 3])).sum().backward()
    gradient = table.codes.weight.grad
    assert gradient is not None and gradient.is_sparse
    gradient = gradient.coalesce()
    assert gradient.indices().tolist() == [[3, 7]]
    torch.testing.assert_close(gradient.values(), torch.tensor([[2.0] * 4, [1.0] * 4]))


def test_a_step_of_the_optimizer_leaves_the_other_rows_alone():
    table = LatentTable(10, 4)
    before = table.codes.weight.detach().clone()
    optimizer = torch.optim.SparseAdam(table.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        table(torch.tensor([3, 7])).square().sum().backward()
        optimizer.step()
    changed = (table.codes.weight != before).any(dim=-1)
    assert changed.nonzero().flatten().tolist() == [3, 7]


def test_rows_start_as_small_zero_mean_normal_values():
    codes = LatentTable(2000, 50, init_std=0.01).codes.weight
    assert codes.std().item() == pytest.approx(0.01, rel=0.02)
    assert codes.mean().item() == pytest.approx(0.0, abs=1e-4)


def test_the_mean_and_a_row():
    table = LatentTable(5, 4)
    torch.testing.assert_close(table.mean(), table.codes.weight.sum(dim=0, keepdim=True) / 5)
    torch.testing.assert_close(table.row(3), table(torch.tensor([3])))
    assert len(table) == 5


@pytest.mark.parametrize("row", [-1, 5])
def test_a_row_that_does_not_exist_is_refused_with_the_range(row):
    with pytest.raises(UsageError, match=rf"identity {row}\b.* 0 .* 4$"):
        LatentTable(5, 4).row(row)


def test_the_identity_follows_one_order_of_precedence():
    table = LatentTable(5, 4)
    override = torch.ones(1, 4)
    named = rays(cam_idx=2)
    torch.testing.assert_close(codes_of_rays(table, named, override, default=1), override)
    torch.testing.assert_close(codes_of_rays(table, named, None, default=1), table.row(2))
    torch.testing.assert_close(codes_of_rays(table, rays(), None, default=1), table.row(1))
    torch.testing.assert_close(codes_of_rays(table, rays(), None, default=0), table.row(0))
    torch.testing.assert_close(codes_of_rays(table, rays(), None, default=None), table.mean())
    torch.testing.assert_close(codes_of_rays(table, rays(cam_idx=0), None, default=1), table.row(0))


def test_rays_with_rows_of_their_own_get_a_code_each():
    table = LatentTable(5, 4)
    rows = torch.tensor([[4], [0], [4]])
    codes = codes_of_rays(table, rays(cam_idx=rows), None, default=1)
    torch.testing.assert_close(codes, table(torch.tensor([4, 0, 4])))


def test_an_identity_that_does_not_exist_is_refused_wherever_it_is_named():
    table = LatentTable(5, 4)
    with pytest.raises(UsageError, match="identity 5"):
        codes_of_rays(table, rays(cam_idx=5), None, default=None)
    with pytest.raises(UsageError, match="identity 7"):
        codes_of_rays(table, rays(), None, default=7)
