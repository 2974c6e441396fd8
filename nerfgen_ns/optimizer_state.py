"""The optimisers' state in a checkpoint: how large it is, how to leave it out, how to go on without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nerfstudio.engine.optimizers import Optimizers
from torch import Tensor


@contextmanager
def left_out(optimizers: Optimizers) -> Iterator[None]:
    """Within the block a checkpoint that is saved holds no optimiser; the schedulers' states stay in it."""
    kept = optimizers.optimizers
    optimizers.optimizers = {}
    try:
        yield
    finally:
        optimizers.optimizers = kept


def bytes_of_state(optimizers: Optimizers) -> int:
    """The memory that the optimisers' tensors take, moments above all, in bytes."""
    return sum(
        value.numel() * value.element_size()
        for optimizer in optimizers.optimizers.values()
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, Tensor)
    )


def start_anew(optimizers: Optimizers) -> str | None:
    """Go on after a checkpoint without the optimisers' state has been loaded, and say what starts anew.

    The learning rates go on where they were: the schedulers hold them, but set them only after a step.

    Returns:
        One line; None where the checkpoint held the state of an optimiser, and nothing starts anew.
    """
    if any(optimizer.state for optimizer in optimizers.optimizers.values()):
        return None
    for name, scheduler in optimizers.schedulers.items():
        groups = optimizers.optimizers[name].param_groups
        for group, rate in zip(groups, scheduler.get_last_lr(), strict=True):
            group["lr"] = rate
    names = ", ".join(optimizers.optimizers)
    return (
        f"The checkpoint holds no optimiser state: the moments of {names} start anew at zero; "
        "step, learning rates and spent minutes go on."
    )


def size_line(checkpoint: Path, optimizers: Optimizers, with_state: bool) -> str:
    """What a checkpoint takes on the disk, and how much of that is optimiser state, in one line."""
    state = megabytes(bytes_of_state(optimizers))
    part = f"of it about {state} optimiser state" if with_state else f"{state} of optimiser state left out"
    return f"Saved {checkpoint.name}: {megabytes(checkpoint.stat().st_size)}, {part}."


def megabytes(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
