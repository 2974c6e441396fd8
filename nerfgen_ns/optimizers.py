"""The optimisers of the networks and of the latent table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.engine.optimizers import AdamOptimizerConfig, OptimizerConfig
from torch import Tensor
from torch.nn import Parameter

SMALLEST_SIDE = 8
"""Matrices with a shorter side, the heads of the networks, have few directions to balance: Adam has them."""
PADDED_SIDE = 64
"""Sides are filled up to a multiple of this for the orthogonalisation."""
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration that draws singular values to 1, chosen to be steep at 0 (Jordan et al.)."""


class Muon(torch.optim.Adam):
    """Muon for the matrices of the hidden layers, Adam for everything else.

    The momentum of a matrix is replaced by the nearest orthogonal matrix before it is applied, so that all
    its directions learn alike. The few directions of a coordinate network's gradient that dominate carry the
    smooth parts of a scene; Adam learns detail only after them. Jordan et al., "Muon: An optimizer for hidden
    layers in neural networks", 2024.

    A step changes every entry of a matrix by `lr`·0.2 in the root mean square, about what Adam does, so both
    share one learning rate.

    Args:
        params: parameters of dense layers.
        lr: learning rate of both.
        momentum: share of the old momentum that a step keeps.
        iterations: of the orthogonalisation; singular values end within about 0.7 … 1.2.
        shrinkage: of the matrices alone, each step keeps 1 − `lr`·`shrinkage` (decoupled weight decay). A
            matrix whose singular values all grow bends surfaces where no photograph looks; this holds it.
        eps: Adam's.
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-2,
        momentum: float = 0.95,
        iterations: int = 4,
        shrinkage: float = 0.1,
        eps: float = 1e-15,
    ) -> None:
        super().__init__(params, lr=lr, betas=(0.9, 0.99), eps=eps, fused=True)
        for group in self.param_groups:
            group |= {"momentum": momentum, "iterations": iterations, "shrinkage": shrinkage}
        # A gradient scaler leaves unscaling, and passing over infinite gradients, to optimizers that say they
        # can, as torch's fused Adam does; the matrices' steps cannot.
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
        # Adam passes over parameters without a gradient. Who logs gradients reads them afterwards.
        super().step()
        for matrix, gradient in gradients.items():
            matrix.grad = gradient

    def _step_matrices(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        momenta = [self._momentum(matrix) for matrix in matrices]
        gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        directions = list(torch._foreach_lerp(gradients, momenta, group["momentum"]))
        updates = orthogonalise_all(directions, group["iterations"])
        torch._foreach_mul_(updates, [-0.2 * max(matrix.shape) ** 0.5 * group["lr"] for matrix in matrices])
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["shrinkage"])
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


def orthogonalise_all(matrices: list[Tensor], iterations: int) -> list[Tensor]:
    """`orthogonalise` for matrices of any shapes.

    Matrices of about one size are padded with zeros to one shape and go through the iteration together: it
    leaves the zeros as they are, and a call for each shape would cost more than the zeros do.
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
        for place, matrix, result in zip(places, wide, orthogonalise(padded, iterations), strict=True):
            result = result[: matrix.shape[0], : matrix.shape[1]]
            results[place] = result.T if matrices[place].shape[0] > matrices[place].shape[1] else result
    return results


def orthogonalise(
    matrices: Float[Tensor, "n rows columns"], iterations: int
) -> Float[Tensor, "n rows columns"]:
    """Nearly the nearest matrices with orthonormal rows, by Newton and Schulz's iteration.

    For a singular value decomposition U·S·Vᵀ it is about U·Vᵀ. Rows must not outnumber columns.
    """
    norms = torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True)
    result = matrices / norms.clamp(min=1e-30)
    first, third, fifth = QUINTIC
    for _ in range(iterations):
        gram = result @ result.transpose(1, 2)
        polynomial = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
        result = torch.baddbmm(result, polynomial, result, beta=first)
    return result


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """Adam that updates all parameters in one pass."""

    fused: bool = True
    """Use torch's fused kernels: small networks otherwise spend a tenth of a step in their optimiser."""


@dataclass
class MuonConfig(OptimizerConfig):
    """Muon for the hidden layers' matrices, Adam for the rest."""

    _target: type = field(default_factory=lambda: Muon)
    """Target class to instantiate."""
    lr: float = 1e-2
    """Learning rate of both."""
    momentum: float = 0.95
    """Share of the old momentum that a step of Muon keeps."""
    iterations: int = 4
    """Iterations of Muon's orthogonalisation."""
    shrinkage: float = 0.1
    """Decoupled weight decay of the hidden layers' matrices, as a multiple of the learning rate."""
    eps: float = 1e-15
    """Adam's smallest denominator."""
