"""The optimizers of the networks and of the tables: their learning rates, and their state on disk."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from nerfstudio.engine.optimizers import AdamOptimizerConfig, OptimizerConfig, Optimizers
from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


@contextmanager
def left_out(optimizers: Optimizers) -> Iterator[None]:
    """Run the block with checkpoints that hold no optimizer's state; the schedulers' states stay in them."""
    kept = optimizers.optimizers
    optimizers.optimizers = {}
    try:
        yield
    finally:
        optimizers.optimizers = kept


def bytes_of_state(optimizers: Optimizers) -> int:
    """Return the memory in bytes that the optimizers' tensors take, mainly their moments."""
    return sum(
        value.numel() * value.element_size()
        for optimizer in optimizers.optimizers.values()
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, Tensor)
    )


def start_anew(optimizers: Optimizers) -> str | None:
    """Continue after loading a checkpoint without the optimizers' state, and say what starts again at zero.

    The learning rates continue where they were: the schedulers hold them, but set them only after a step.

    Returns:
        One line; None where the checkpoint held the state of an optimizer, and nothing starts again.
    """
    if any(optimizer.state for optimizer in optimizers.optimizers.values()):
        return None
    for name, scheduler in optimizers.schedulers.items():
        groups = optimizers.optimizers[name].param_groups
        for group, rate in zip(groups, scheduler.get_last_lr(), strict=True):
            group["lr"] = rate
    names = ", ".join(optimizers.optimizers)
    return (
        f"The checkpoint holds no optimizer state: the moments of {names} start again at zero; "
        "step, learning rates and spent minutes continue."
    )


def size_line(checkpoint: Path, optimizers: Optimizers, with_state: bool) -> str:
    """Say in one line how large a checkpoint on the disk is, and how much of that is optimizer state."""
    state = megabytes(bytes_of_state(optimizers))
    part = f"of it about {state} optimizer state" if with_state else f"{state} of optimizer state left out"
    return f"Saved {checkpoint.name}: {megabytes(checkpoint.stat().st_size)}, {part}."


def megabytes(count: int) -> str:
    """Return a number of bytes as a text for people, in MB or GB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def decay_factor(
    step: int, spent: float, warmup_steps: int, final_ratio: float, cooldown: float = 0.0
) -> float:
    """Return the factor on a learning rate: a linear warm-up, an exponential decay, a linear end at zero.

    Args:
        step: from 0.
        spent: share of the budget that is spent, in [0, 1].
        warmup_steps: steps over which the factor rises from almost zero.
        final_ratio: what the exponential decay has reached where all is spent.
        cooldown: share of the budget, at its end, over which the factor also falls linearly to zero.
    """
    end = min((1.0 - spent) / cooldown, 1.0) if cooldown > 0 else 1.0
    return float(min((step + 1) / (warmup_steps + 1), 1.0) * final_ratio**spent * end)


@dataclass
class BudgetDecayConfig(SchedulerConfig):
    """Exponential decay over the training budget, after a short warm-up and before a linear end at zero."""

    _target: type = field(default_factory=lambda: BudgetDecayScheduler)
    """Target class to instantiate."""
    final_ratio: float = 0.2
    """What the exponential decay reaches at the end of the budget, as a share of the learning rate."""
    cooldown: float = 0.0
    """Share of the budget, at its end, over which the learning rate also falls linearly to zero."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises from almost zero."""
    start: float = 0.0
    """Share of the budget before which the learning rate is zero."""


class BudgetDecay:
    """The factor on a learning rate: a function of the share of the budget that is spent.

    Only `__dict__` enters the checkpoint (torch.optim.lr_scheduler.LambdaLR). Values of the configuration
    are therefore in slots, and a resumed run follows its own configuration. All values are Python floats:
    torch loads them with `weights_only`.
    """

    __slots__ = ("__dict__", "config", "max_steps", "minutes")

    def __init__(self, config: BudgetDecayConfig) -> None:
        self.config = config
        self.max_steps: int | None = None
        self.minutes: float | None = None
        self.seconds = 0.0

    def spent(self, step: int) -> float:
        """Return the share of the budget that is spent, in [0, 1]."""
        by_steps = step / self.max_steps if self.max_steps else 0.0
        by_time = self.seconds / (60.0 * self.minutes) if self.minutes else 0.0
        return min(max(by_steps, by_time), 1.0)

    def __call__(self, step: int) -> float:
        """Return the factor at a step; 0 before the decay starts."""
        spent = self.spent(step)
        if spent < self.config.start:
            return 0.0
        config = self.config
        return decay_factor(step, spent, config.warmup_steps, config.final_ratio, config.cooldown)


class BudgetDecayScheduler(Scheduler):
    """Makes torch's scheduler for `BudgetDecay`."""

    config: BudgetDecayConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LambdaLR:
        """Make a scheduler whose factor multiplies `lr_init`, which the optimizer already holds."""
        return LambdaLR(optimizer, lr_lambda=BudgetDecay(self.config))


SMALLEST_SIDE = 8
"""Matrices with a shorter side, the heads of the networks, have few directions to balance: Adam has them."""
PADDED_SIDE = 64
"""Sides are padded to a multiple of this for the orthogonalization."""
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration that moves singular values to 1, chosen to be steep at 0 (Jordan et al.)."""


class Muon(torch.optim.Adam):
    """Muon for the matrices of the hidden layers, Adam for everything else.

    The momentum of a matrix is replaced by the nearest orthogonal matrix before it is applied, so that all
    its directions learn equally fast. The few dominant directions of a coordinate network's gradient belong
    to the smooth parts of a scene; Adam learns detail only after them. Jordan et al., "Muon: An optimizer
    for hidden layers in neural networks", 2024.

    A step changes every entry of a matrix by `lr`·0.2 in the root mean square, about what Adam does, so both
    share one learning rate.

    Args:
        params: parameters of dense layers.
        lr: learning rate of both.
        momentum: share of the old momentum that a step keeps.
        ns_steps: Newton-Schulz steps of the orthogonalization; singular values end within about 0.7 … 1.2.
        weight_decay: of the matrices alone; a step keeps 1 − `lr`·`weight_decay` of them (decoupled). A
            matrix whose singular values all grow bends surfaces that no photograph shows; this prevents it.
        eps: Adam's.
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-2,
        momentum: float = 0.95,
        ns_steps: int = 4,
        weight_decay: float = 0.1,
        eps: float = 1e-15,
    ) -> None:
        super().__init__(params, lr=lr, betas=(0.9, 0.99), eps=eps, fused=True)
        for group in self.param_groups:
            # Under "weight_decay" Adam would look for its own.
            group |= {"momentum": momentum, "ns_steps": ns_steps, "matrix_weight_decay": weight_decay}
        # A gradient scaler leaves unscaling, and skipping infinite gradients, to optimizers that declare it,
        # as torch's fused Adam does; the matrices' steps cannot do it.
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step."""
        gradients: dict[Tensor, Tensor | None] = {}
        for group in self.param_groups:
            matrices: list[Tensor] = [
                parameter
                for parameter in group["params"]
                if parameter.grad is not None
                and parameter.ndim == 2
                and min(parameter.shape) >= SMALLEST_SIDE
            ]
            if matrices:
                gradients |= {matrix: matrix.grad for matrix in matrices}
                self._step_matrices(matrices, group)
        # Adam skips parameters without a gradient. Loggers of gradients read them afterwards.
        super().step()
        for matrix, gradient in gradients.items():
            matrix.grad = gradient

    def _step_matrices(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        momenta = [self._momentum(matrix) for matrix in matrices]
        gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        directions = list(torch._foreach_lerp(gradients, momenta, group["momentum"]))
        updates = orthogonalize_all(directions, group["ns_steps"])
        torch._foreach_mul_(updates, [-0.2 * max(matrix.shape) ** 0.5 * group["lr"] for matrix in matrices])
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["matrix_weight_decay"])
        torch._foreach_add_(matrices, updates)  # type: ignore[arg-type]
        for matrix in matrices:
            matrix.grad = None

    def _momentum(self, matrix: Tensor) -> Tensor:
        state = self.state[matrix]
        if "momentum" not in state:
            # Adam, when it loads a checkpoint, looks for the count of steps in every state.
            state["step"], state["momentum"] = torch.zeros(()), torch.zeros_like(matrix)
        state["step"] += 1
        return state["momentum"]


def orthogonalize_all(matrices: list[Tensor], ns_steps: int) -> list[Tensor]:
    """Apply `orthogonalize` to matrices of any shapes.

    Matrices of about one size are padded with zeros to one shape and go through the iteration together. It
    does not change the zeros, and a call for each shape would cost more than the zeros do.
    """
    batches: dict[tuple[int, int], list[int]] = {}
    for place, matrix in enumerate(matrices):
        rows, columns = sorted(-(-side // PADDED_SIDE) * PADDED_SIDE for side in matrix.shape)
        batches.setdefault((rows, columns), []).append(place)
    results: list[Tensor] = [None] * len(matrices)  # type: ignore[list-item]
    for shape, places in batches.items():
        wide = [m.T if m.shape[0] > m.shape[1] else m for m in (matrices[place] for place in places)]
        padded = matrices[0].new_zeros(len(places), *shape)
        for row, matrix in zip(padded, wide, strict=True):
            row[: matrix.shape[0], : matrix.shape[1]] = matrix
        for place, matrix, result in zip(places, wide, orthogonalize(padded, ns_steps), strict=True):
            result = result[: matrix.shape[0], : matrix.shape[1]]
            results[place] = result.T if matrices[place].shape[0] > matrices[place].shape[1] else result
    return results


def orthogonalize(
    matrices: Float[Tensor, "n rows columns"], ns_steps: int
) -> Float[Tensor, "n rows columns"]:
    """Approximate the nearest matrices with orthonormal rows, by Newton and Schulz's iteration.

    For a singular value decomposition U·S·Vᵀ the result is about U·Vᵀ. There must be no more rows than
    columns.
    """
    norms = torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True)
    result = matrices / norms.clamp(min=1e-30)
    first, third, fifth = QUINTIC
    for _ in range(ns_steps):
        gram = result @ result.transpose(1, 2)
        polynomial = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
        result = torch.baddbmm(result, polynomial, result, beta=first)
    return result


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """Adam that updates all parameters in one pass."""

    fused: bool = True
    """Use torch's fused kernels: small networks otherwise spend a tenth of a step in their optimizer."""


@dataclass
class DiscriminatorAdamConfig(FusedAdamConfig):
    """Adam for a discriminator: what it has learned of earlier renders soon counts little."""

    lr: float = 2e-4
    """Learning rate."""
    betas: tuple[float, float] = (0.0, 0.99)
    """What the two moments keep at each step."""


@dataclass
class MuonConfig(OptimizerConfig):
    """Muon for the hidden layers' matrices, Adam for the rest."""

    _target: type = field(default_factory=lambda: Muon)
    """Target class to instantiate."""
    lr: float = 1e-2
    """Learning rate of both."""
    momentum: float = 0.95
    """Share of the old momentum that a step of Muon keeps."""
    ns_steps: int = 4
    """Newton-Schulz steps of Muon's orthogonalization."""
    weight_decay: float = 0.1
    """Decoupled weight decay of the hidden layers' matrices, as a multiple of the learning rate."""
    eps: float = 1e-15
    """Adam's smallest denominator."""


MOMENTS = ("exp_avg", "exp_avg_sq")
"""The moments of a row, named as torch names them."""
OF_ROWS = ("rows", *MOMENTS)
"""What is kept of each row that had a gradient, with room for more."""


class RowAdam(torch.optim.SparseAdam):
    """SparseAdam whose memory grows with the rows that have had a gradient, and not with the table.

    torch's SparseAdam keeps two moments for every row from the first step on. This one keeps them for rows
    that have had a gradient, in the order of their first gradient. The arithmetic is the same: a row's
    moments decay in the steps that touch it, and the correction of their bias counts all steps. On a GPU
    there are moments of all rows from the first step on: to find out which rows are new would wait for it.

    A checkpoint of it holds these rows, under "rows", and their moments. It also loads checkpoints of
    SparseAdam.

    Args:
        params: tables whose gradients are sparse in their first dimension (`nn.Embedding(sparse=True)`).
        lr, betas, eps: as in Adam.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._places: dict[Parameter, Int[Tensor, " table_rows"]] = {}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                if table.is_cuda:
                    self._step_without_waiting(table, group)
                else:
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
        scale = _corrected_rate(group, state["step"])
        table.index_add_(0, rows, mean.div_(square.sqrt_().add_(group["eps"])), alpha=-scale)

    def _step_without_waiting(self, table: Parameter, group: dict[str, Any]) -> None:
        """Take the same step without asking which rows have a gradient, and how many.

        A row that is in the batch several times gets its new values as many times.
        """
        assert table.grad is not None
        touched, values = table.grad._indices()[0], table.grad._values()
        state = self.state[table]
        state["step"] = state.get("step", 0) + 1
        if state.get("count") != len(table):
            self._keep_all_rows(table)
        # Any one of a row's places in the batch, the same for all of them: there its gradients are summed.
        place = touched.new_zeros(len(table))
        place[touched] = torch.arange(len(touched), device=touched.device)
        place = place[touched]
        gradient = torch.zeros_like(values).index_add_(0, place, values)[place]
        first, second = group["betas"]
        mean = state["exp_avg"][touched].lerp_(gradient, 1 - first)
        square = state["exp_avg_sq"][touched].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        state["exp_avg"][touched], state["exp_avg_sq"][touched] = mean, square
        change = mean.div_(square.sqrt_().add_(group["eps"])).mul_(-_corrected_rate(group, state["step"]))
        table[touched] = change.add_(table[touched])

    def _keep_all_rows(self, table: Parameter) -> None:
        """Keep moments of every row, each at its own number; rows without any yet get zeros."""
        state = self.state[table]
        moments = {name: torch.zeros_like(table) for name in MOMENTS}
        if "rows" in state:
            rows = state["rows"][: state["count"]]
            for name, whole in moments.items():
                whole[rows] = state[name][: state["count"]]
        state |= {"count": len(table), "rows": torch.arange(len(table), device=table.device), **moments}
        self._places.pop(table, None)

    def _places_of(self, table: Parameter, rows: Int[Tensor, " rows"]) -> Int[Tensor, " rows"]:
        """Return where the moments of rows are kept; new rows get a place."""
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
        """Return the state, without the room that is kept for further rows."""
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
        """Load the state of this optimizer or of torch's SparseAdam."""
        super().load_state_dict(state_dict)
        self._places = {}
        tables = [table for group in self.param_groups for table in group["params"]]
        for number, saved in state_dict["state"].items():
            state = self.state[tables[number]]
            if "rows" in saved:
                # torch has converted them to the table's type of number.
                state["rows"] = saved["rows"].to(tables[number].device)
            else:
                state["rows"] = state["exp_avg_sq"].any(dim=1).nonzero()[:, 0]
                for name in MOMENTS:
                    state[name] = state[name][state["rows"]]
            state["count"] = len(state["rows"])


def _corrected_rate(group: dict[str, Any], step: int) -> float:
    """Return Adam's learning rate with both moments' corrections of their bias: Kingma and Ba (2015), 2."""
    first, second = group["betas"]
    return group["lr"] * math.sqrt(1 - second**step) / (1 - first**step)


def _with_room(kept: Tensor, rows: int, most: int) -> Tensor:
    """Return the same with room for this many rows: twice as much when full, so that growing costs little."""
    if rows <= len(kept):
        return kept
    larger = kept.new_empty(min(max(rows, 2 * len(kept)), most), *kept.shape[1:])
    larger[: len(kept)] = kept
    return larger


def _without_room(kept: Tensor, rows: int) -> Tensor:
    """Return the part that is in use, as a copy: a view would keep the rest of the memory too."""
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
