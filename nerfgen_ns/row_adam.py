"""The optimiser of tables: Adam for the rows of a batch, with moments of those rows alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from nerfstudio.engine.optimizers import OptimizerConfig
from torch import Tensor
from torch.nn import Parameter

MOMENTS = ("exp_avg", "exp_avg_sq")
"""The moments of a row, named as torch names them."""
OF_ROWS = ("rows", *MOMENTS)
"""What is kept of each row that has been met, with room for more."""


class RowAdam(torch.optim.SparseAdam):
    """SparseAdam whose memory grows with the rows that have had a gradient, and not with the table.

    torch's keeps two moments for every row from the first step on; this one keeps them for the rows that it
    has met, in the order in which it met them. The arithmetic is the same: a row's moments decay in the steps
    that touch it, and the correction of their bias counts all steps.

    A checkpoint of it holds the rows it has met, under "rows", and their moments; one of SparseAdam's is
    taken over.

    Args:
        params: tables whose gradients are sparse in their first dimension (`nn.Embedding(sparse=True)`).
        lr, betas, eps: as in Adam.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._places: dict[Parameter, Int[Tensor, "table_rows"]] = {}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._step_rows(table, group)

    def _step_rows(self, table: Parameter, group: dict[str, Any]) -> None:
        assert table.grad is not None
        gradient = table.grad.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        state = self.state[table]
        state["step"] = state.get("step", 0) + 1
        places = self._places_of(table, rows)
        first, second = group["betas"]
        mean = state["exp_avg"][places].lerp_(values, 1 - first)
        square = state["exp_avg_sq"][places].mul_(second).addcmul_(values, values, value=1 - second)
        state["exp_avg"][places], state["exp_avg_sq"][places] = mean, square
        scale = group["lr"] * math.sqrt(1 - second ** state["step"]) / (1 - first ** state["step"])
        table.index_add_(0, rows, mean.div_(square.sqrt_().add_(group["eps"])), alpha=-scale)

    def _places_of(self, table: Parameter, rows: Int[Tensor, "rows"]) -> Int[Tensor, "rows"]:
        """Where the moments of rows are kept; rows that are new get a place."""
        state = self.state[table]
        if "rows" not in state:
            state |= {"count": 0, "rows": rows[:0], **{name: table[:0].clone() for name in MOMENTS}}
        begin = state["count"]
        if table not in self._places:
            self._places[table] = rows.new_full((len(table),), -1)
            self._places[table][state["rows"][:begin]] = torch.arange(begin, device=rows.device)
        places = self._places[table]
        new = rows[places[rows] < 0]
        if len(new) > 0:
            end = state["count"] = begin + len(new)
            places[new] = torch.arange(begin, end, device=rows.device)
            for name in OF_ROWS:
                state[name] = _with_room(state[name], end, len(table))
                state[name][begin:end] = new if name == "rows" else 0.0
        return places[rows]

    def state_dict(self) -> dict[str, Any]:
        """The state, without the room that is kept for further rows."""
        saved = super().state_dict()
        saved["state"] = {
            number: {
                name: _without_room(value, state["count"]) if name in OF_ROWS else value
                for name, value in state.items()
            }
            for number, state in saved["state"].items()
        }
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of this optimiser or of torch's SparseAdam."""
        super().load_state_dict(state_dict)
        self._places = {}
        tables = [table for group in self.param_groups for table in group["params"]]
        for number, saved in state_dict["state"].items():
            state = self.state[tables[number]]
            if "rows" in saved:
                # torch has made numbers of the table's kind of them.
                state["rows"] = saved["rows"].to(tables[number].device)
            else:
                state["rows"] = state["exp_avg_sq"].any(dim=1).nonzero()[:, 0]
                for name in MOMENTS:
                    state[name] = state[name][state["rows"]]
            state["count"] = len(state["rows"])


def _with_room(kept: Tensor, rows: int, most: int) -> Tensor:
    """The same with room for so many rows: twice as much when it is full, so that growing costs little."""
    if rows <= len(kept):
        return kept
    larger = kept.new_empty(min(max(rows, 2 * len(kept)), most), *kept.shape[1:])
    larger[: len(kept)] = kept
    return larger


def _without_room(kept: Tensor, rows: int) -> Tensor:
    """What is in use. Only as a copy does it leave the rest of its memory behind."""
    return kept if rows == len(kept) else kept[:rows].clone()


@dataclass
class RowAdamConfig(OptimizerConfig):
    """Adam for the rows of a batch alone: cost and memory do not depend on the size of the table."""

    _target: type = field(default_factory=lambda: RowAdam)
    """Target class to instantiate."""
    lr: float = 2e-3
    """Learning rate."""
    eps: float = 1e-15
    """Adam's smallest denominator."""
