"""Muon: what its orthogonalization gives, what it leaves to Adam, and that it learns and resumes."""

import copy

import pytest
import torch
from torch import nn

from nerfgen_ns.training.optimizers import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(16, 16), (16, 40)])
def test_orthogonalization_draws_all_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    matrices[0] *= 1e-6
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    result = orthogonalize(matrices, ns_steps=6)
    assert torch.linalg.svdvals(result).min() > 0.3
    assert torch.linalg.svdvals(result).max() < 1.3
    aligned = torch.einsum("nri,nrc,nic->ni", left, result, right)
    assert (aligned > 0.3).all(), "each singular pair keeps its direction"


def test_orthogonalization_of_zero_is_zero() -> None:
    assert torch.equal(orthogonalize(torch.zeros(2, 8, 9), 4), torch.zeros(2, 8, 9))


def test_vectors_and_heads_step_as_adam_steps_them() -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))
    theirs = copy.deepcopy(ours)
    adam_names = ["0.bias", "2.weight", "2.bias"]
    first = Muon(ours.parameters(), lr=1e-2)
    second = torch.optim.Adam(
        [dict(theirs.named_parameters())[name] for name in adam_names], lr=1e-2, betas=(0.9, 0.99), eps=1e-15
    )
    x = torch.randn(20, 12)
    for network, optimizer in ((ours, first), (theirs, second)):
        network(x).square().sum().backward()
        optimizer.step()
    for name in adam_names:
        torch.testing.assert_close(dict(ours.named_parameters())[name], dict(theirs.named_parameters())[name])


@pytest.mark.parametrize("shape", [(16, 64), (64, 16)])
def test_a_step_changes_a_matrix_by_a_fifth_of_the_learning_rate(shape: tuple[int, int]) -> None:
    matrix = nn.Parameter(torch.zeros(shape))
    matrix.grad = 1e3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    gradient = matrix.grad.clone()
    Muon([matrix], lr=0.01).step()
    assert matrix.detach().square().mean().sqrt().item() == pytest.approx(0.002, rel=0.3)
    assert (matrix.detach() * gradient).sum() < 0, "it descends"


def test_matrices_shrink_and_vectors_do_not() -> None:
    matrix, vector = nn.Parameter(torch.ones(16, 16)), nn.Parameter(torch.ones(16))
    matrix.grad, vector.grad = torch.zeros(16, 16), torch.zeros(16)
    Muon([matrix, vector], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(matrix.detach(), torch.full((16, 16), 0.95))
    torch.testing.assert_close(vector.detach(), torch.ones(16))


def test_it_fits_a_square_wave() -> None:
    torch.manual_seed(1)
    x = torch.linspace(-1, 1, 64)[:, None]
    encoded = torch.cat([torch.sin(2.0**octave * torch.pi * x) for octave in range(4)] * 3, dim=1)
    target = torch.sign(torch.sin(9 * x))
    network = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = Muon(network.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (network(encoded) - target).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_a_resumed_optimizer_goes_on_as_if_nothing_had_happened(tmp_path) -> None:
    torch.manual_seed(0)
    x = torch.randn(30, 12)

    def run(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            (network(x) - 1).square().mean().backward()
            optimizer.step()

    network = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = Muon(network.parameters())
    run(network, optimizer, 5)
    path = tmp_path / "state.ckpt"
    torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, path)
    run(network, optimizer, 5)

    resumed = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))
    resumed_optimizer = Muon(resumed.parameters())
    state = torch.load(path, weights_only=True)
    resumed.load_state_dict(state["network"])
    resumed_optimizer.load_state_dict(state["optimizer"])
    run(resumed, resumed_optimizer, 5)
    for ours, theirs in zip(network.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
