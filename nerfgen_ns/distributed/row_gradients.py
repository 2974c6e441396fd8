"""The tables' gradients, averaged over ranks at the cost of the batch's rows, however long a table is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from nerfstudio.engine.optimizers import Optimizers
from torch import nn
from torch.cuda.amp.grad_scaler import GradScaler
from torch.nn import Parameter

from nerfgen_ns.distributed.ranks import gather_rows, of_all


def tables_of(module: nn.Module) -> dict[str, Parameter]:
    """The parameters with sparse gradients, by name: torch's DDP cannot reduce them over NCCL."""
    return {
        f"{name}.weight": cast(Parameter, part.weight)
        for name, part in module.named_modules()
        if isinstance(part, nn.Embedding) and part.sparse
    }


def average_rows(table: Parameter) -> None:
    """Replace the sparse gradient of a table, here None or of any rows, by its mean over all ranks.

    Every rank gets the same bits. Rows that no rank touched stay out of it.
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
    """nerfstudio's optimisers, which average the gradients of the tables before they take a step.

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
