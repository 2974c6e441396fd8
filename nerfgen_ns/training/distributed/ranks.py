"""What the processes of one training, its ranks, exchange: values, and the gradients of the tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from jaxtyping import Float
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.utils import comms
from torch import Tensor, nn
from torch.cuda.amp.grad_scaler import GradScaler
from torch.nn import Parameter


def says_first(values: list[float], device: torch.device | str) -> list[float]:
    """Return on every rank what rank 0 passes.

    Args:
        values: the same number on every rank.
        device: the rank's; see `mailbox`.
    """
    if comms.get_world_size() == 1:
        return values
    message = torch.tensor(values, dtype=torch.float64, device=mailbox(device))
    dist.broadcast(message, src=0)
    return message.tolist()


def of_all(value: int, device: torch.device | str) -> list[int]:
    """Return what every rank passes, in the order of the ranks."""
    if comms.get_world_size() == 1:
        return [value]
    message = torch.tensor([value], device=mailbox(device))
    answers = [torch.empty_like(message) for _ in range(comms.get_world_size())]
    dist.all_gather(answers, message)
    return [int(answer) for answer in answers]


def share(count: int, device: torch.device | str) -> float:
    """Return the weight of this rank's mean over `count` values in a mean over the values of all ranks.

    The mean over the ranks of the weighted means is then the mean over all values.
    """
    counts = of_all(count, device)
    return count * len(counts) / sum(counts) if sum(counts) else 1.0


def copy_first(values: Tensor) -> None:
    """Give every rank the values of rank 0, in place."""
    dist.broadcast(_as_numbers(values), src=0)


def keep_largest(values: Tensor) -> None:
    """Give every rank the largest of all ranks, element by element, in place."""
    dist.all_reduce(_as_numbers(values), dist.ReduceOp.MAX)


def _as_numbers(values: Tensor) -> Tensor:
    """View booleans as numbers in the same memory; gloo sends no booleans."""
    return values.view(torch.uint8) if values.dtype == torch.bool else values


def gather_rows(rows: Float[Tensor, "own columns"], counts: list[int]) -> Float[Tensor, "all columns"]:
    """Return the rows of all ranks, those of rank 0 first.

    Args:
        rows: of this rank.
        counts: how many rows each rank has. They need not be equal; messages must be, and are filled up.
    """
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    received = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(received, padded)
    return torch.cat([values[:count] for values, count in zip(received, counts, strict=True)])


@contextmanager
def in_turn(local_rank: int, device: torch.device | str) -> Iterator[None]:
    """Run the block on rank 0, then on one rank of each other machine, then on the rest at once.

    The others find on a disk what the first ones made there.
    """
    turn = 0 if comms.is_main_process() else 1 if local_rank == 0 else 2
    for _ in range(turn):
        of_all(0, device)
    yield
    for _ in range(turn, 2):
        of_all(0, device)


def mailbox(device: torch.device | str) -> torch.device:
    """Return the device for numbers to send: the processor, unless only NCCL connects the ranks.

    Reading a number from a GPU would wait for all work that the GPU still has to do.
    """
    by_processor = "cpu" in dist.get_backend_config()
    return torch.device("cpu") if by_processor else torch.device(device)


def tables_of(module: nn.Module) -> dict[str, Parameter]:
    """Return the parameters with sparse gradients by name: torch's DDP cannot reduce them over NCCL."""
    return {
        f"{name}.weight": cast(Parameter, part.weight)
        for name, part in module.named_modules()
        if isinstance(part, nn.Embedding) and part.sparse
    }


def average_rows(table: Parameter) -> None:
    """Replace the sparse gradient of a table, here None or of any rows, by its mean over all ranks.

    Every rank gets the same bits. The mean holds only rows that some rank touched.
    """
    if table.grad is None:
        rows, values = torch.empty(0, dtype=torch.long, device=table.device), table.detach()[:0]
    else:
        own = table.grad.coalesce()
        rows, values = own.indices()[0], own.values()
    counts = of_all(len(rows), table.device)
    if not any(counts):
        return
    rows, values = gather_rows(rows, counts), gather_rows(values, counts) / len(counts)
    with torch.sparse.check_sparse_tensor_invariants(False):
        table.grad = torch.sparse_coo_tensor(rows[None], values, table.shape).coalesce()


class RankOptimizers(Optimizers):
    """nerfstudio's optimizers, which average the gradients of the tables before they take a step.

    The networks' gradients are averaged by torch's DDP during the backward pass.

    Args:
        config: the configuration of each group.
        param_groups: the parameters of each group, tables among them.
        tables: those of the parameters that have sparse gradients.
    """

    def __init__(
        self, config: dict[str, Any], param_groups: dict[str, list[Parameter]], tables: Iterable[Parameter]
    ) -> None:
        super().__init__(config, param_groups)
        self._tables = {id(table) for table in tables}

    def optimizer_scaler_step_some(self, grad_scaler: GradScaler, param_groups: list[str]) -> None:
        """Average what DDP does not, then take the steps."""
        for group in param_groups:
            for parameter in self.parameters[group]:
                if id(parameter) in self._tables:
                    average_rows(parameter)
        super().optimizer_scaler_step_some(grad_scaler, param_groups)
