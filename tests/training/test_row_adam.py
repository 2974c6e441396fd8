"""The optimizer of tables: SparseAdam's arithmetic, with memory for the rows it has met."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import nn

from nerfgen_ns.training.optimizers import RowAdam

K, D = 500, 8


class OnGpu(RowAdam):
    """Steps as on a GPU: without asking which rows have a gradient."""

    def _step_rows(self, table: Any, group: dict[str, Any]) -> None:
        self._step_without_waiting(table, group)


KINDS = pytest.mark.parametrize("ours_kind", [RowAdam, OnGpu])


def table() -> nn.Embedding:
    torch.manual_seed(1)
    return nn.Embedding(K, D, sparse=True)


def batches(count: int, most: int = K) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(0, most, (40,), generator=generator) for _ in range(count)]


def learn(codes: nn.Embedding, optimizer: torch.optim.Optimizer, steps: list[torch.Tensor]) -> None:
    for rows in steps:
        optimizer.zero_grad()
        (codes(rows) - torch.sin(rows[:, None].float())).square().sum().backward()
        optimizer.step()


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def bytes_of(optimizer: torch.optim.Optimizer) -> int:
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    return file.tell()


@KINDS
def test_it_moves_rows_as_sparse_adam_moves_them(ours_kind: type[RowAdam]) -> None:
    ours, theirs = table(), table()
    options: dict[str, Any] = {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-12}
    # Repeated rows, rows that come back after a pause, and rows that come late.
    steps = batches(30, 60) + batches(30)
    learn(ours, ours_kind(ours.parameters(), **options), steps)
    learn(theirs, torch.optim.SparseAdam(list(theirs.parameters()), **options), steps)
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-5, atol=1e-6)


@KINDS
def test_rows_outside_the_batch_stay_as_they_are(ours_kind: type[RowAdam]) -> None:
    codes = table()
    before = codes.weight.detach().clone()
    optimizer = ours_kind(codes.parameters(), lr=0.1)
    learn(codes, optimizer, [torch.tensor([3, 7, 3]), torch.tensor([7, 499])])
    changed = (codes.weight != before).any(dim=1)
    assert changed.nonzero().flatten().tolist() == [3, 7, 499]


def test_memory_follows_the_rows_that_were_met_and_not_the_table() -> None:
    codes = nn.Embedding(100_000, D, sparse=True)
    optimizer = RowAdam(codes.parameters(), lr=0.1)
    sizes = []
    for most in (50, 200, 800):
        learn(codes, optimizer, [torch.arange(most)])
        state = optimizer.state[codes.weight]
        assert state["count"] == most
        assert state["exp_avg"].shape == state["exp_avg_sq"].shape
        assert most <= len(state["exp_avg"]) <= 2 * most
        sizes.append(bytes_of(optimizer))
    assert sizes[2] - sizes[1] == pytest.approx(600 * (2 * D * 4 + 8), rel=0.05)


def test_room_never_exceeds_the_table() -> None:
    codes = table()
    optimizer = RowAdam(codes.parameters(), lr=0.1)
    learn(codes, optimizer, [torch.arange(K - 1), torch.arange(K)])
    assert len(optimizer.state[codes.weight]["exp_avg"]) == K


@KINDS
@pytest.mark.parametrize("kind", [RowAdam, torch.optim.SparseAdam])
def test_it_goes_on_from_its_own_checkpoint_and_from_sparse_adam_s(
    kind: type[torch.optim.Optimizer], ours_kind: type[RowAdam]
) -> None:
    steps = batches(20, 60) + batches(20)
    straight, first = table(), table()
    learn(straight, torch.optim.SparseAdam(list(straight.parameters()), lr=0.01), steps)
    optimizer = kind(list(first.parameters()), lr=0.01)
    learn(first, optimizer, steps[:25])

    second = copy.deepcopy(first)
    resumed = ours_kind(second.parameters(), lr=0.5)
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    assert resumed.state[second.weight]["rows"].dtype == torch.int64
    learn(second, resumed, steps[25:])
    torch.testing.assert_close(second.weight, straight.weight, rtol=1e-5, atol=1e-6)


def test_a_step_without_gradients_changes_nothing() -> None:
    codes = table()
    before = codes.weight.detach().clone()
    optimizer = RowAdam(codes.parameters(), lr=0.1)
    optimizer.step()
    learn(codes, optimizer, [torch.tensor([], dtype=torch.long)])
    assert torch.equal(codes.weight, before)
