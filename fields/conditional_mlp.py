"""The conditional ReLU MLP that the fields share: its matrix products and their number format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def product_dtype(points: Tensor, use_bf16: bool) -> torch.dtype:
    """Return the number format of a field's matrix products: bf16, or what already applies to these points.

    It is chosen once a call and then written out in every product: nerfstudio's `--mixed-precision` puts an
    autocast to fp16 around a step, which would otherwise change the format of some products.
    """
    if use_bf16:
        return torch.bfloat16
    device = points.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else points.dtype


def dense(
    values: Float[Tensor, "*batch inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"],
    dtype: torch.dtype,
) -> Float[Tensor, "*batch outputs"]:
    """Compute a dense layer whose product has the number format `dtype`, whatever autocast applies."""
    with torch.autocast(values.device.type, enabled=False):
        return F.linear(values.to(dtype), weight.to(dtype), bias.to(dtype))


def encoding_multiple(dtype: torch.dtype) -> int:
    """Return what the number of encoded values has to be a multiple of, so that products are fast.

    Tensor cores take rows of 16-bit numbers in pieces of 8.
    """
    return 8 if dtype.itemsize == 2 else 1


def pad_inputs(weight: Float[Tensor, "outputs inputs"], inputs: int) -> Float[Tensor, "outputs padded"]:
    """Add columns of zeros to a weight for the zeros at the end of padded inputs."""
    missing = inputs - weight.shape[1]
    return F.pad(weight, (0, missing)) if missing else weight


class DenseLayer(NamedTuple):
    """W and b of a dense layer."""

    weight: Float[Tensor, "outputs inputs"]
    bias: Float[Tensor, " outputs"] | Float[Tensor, "groups outputs"]
    """One for all points, or one for each group of neighboring points: W_z·z + b."""


def dense_layer(linear: nn.Module, dtype: torch.dtype) -> DenseLayer:
    """Return the parameters of a `torch.nn.Linear` with a bias, in another number format."""
    assert isinstance(linear, nn.Linear)
    return DenseLayer(linear.weight.to(dtype), linear.bias.to(dtype))


def conditional_mlp(
    encoded: Float[Tensor, "points encoded"],
    layers: Sequence[DenseLayer],
    skip_layer: int = 0,
    skip_weight: Float[Tensor, "width encoded"] | None = None,
    early: DenseLayer | None = None,
) -> Float[Tensor, "points outputs"]:
    """Compute ReLU layers, some with biases that neighboring points share, and a last linear layer.

    The result is that of `torch.nn.functional`. The gradient is written out, because on a processor autograd
    spends half the time of small layers between their products. Here activations are masked in place,
    gradients of the shared biases are summed once, and no gradient of the points is computed unless someone
    asks. It can be differentiated once.

    Args:
        encoded: γ(x) of all points. Point i belongs to group i // (points / groups).
        layers: the layers; the first takes γ(x), the last is linear.
        skip_layer: the layer, counted from 0, that γ(x) enters again; 0 for none.
        skip_weight: W_x of that layer.
        early: a linear layer on the activations below the skip layer. Its outputs come before the others.
    """
    return outputs_and_hidden(encoded, layers, skip_layer, skip_weight, early, keep_hidden=False)[0]


def outputs_and_hidden(
    encoded: Float[Tensor, "points encoded"],
    layers: Sequence[DenseLayer],
    skip_layer: int = 0,
    skip_weight: Float[Tensor, "width encoded"] | None = None,
    early: DenseLayer | None = None,
    keep_hidden: bool = True,
) -> tuple[Float[Tensor, "points outputs"], Float[Tensor, "points width"] | None]:
    """Compute the outputs of `conditional_mlp`, to the bit, and the activations of its last hidden layer.

    Args:
        keep_hidden: whether to return these activations; if not, None. The other arguments are those of
            `conditional_mlp`.
    """
    parameters = [part for layer in layers for part in layer]
    early_weight, early_bias = (None, None) if early is None else early
    # The caller chose one number format for all: an autocast would change that of some products.
    with torch.autocast(encoded.device.type, enabled=False):
        outputs, of_early, hidden = _ConditionalMlp.apply(
            encoded,
            torch.is_grad_enabled(),
            skip_layer,
            skip_weight,
            early_weight,
            early_bias,
            keep_hidden,
            *parameters,
        )
    return outputs if early is None else torch.cat([of_early, outputs], dim=1), hidden


class _ConditionalMlp(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        encoded: Tensor,
        with_gradients: bool,
        skip_layer: int,
        skip_weight: Tensor | None,
        early_weight: Tensor | None,
        early_bias: Tensor | None,
        keep_hidden: bool,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Compute the outputs, and keep the activations if something needs a gradient."""
        weights, biases = parameters[::2], parameters[1::2]
        # `needs_input_grad` is true of weights in renders too, which need one layer at a time.
        keep = with_gradients and any(ctx.needs_input_grad)
        below, activations, early, hidden = encoded, [], None, None
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            is_last, is_skip = layer == len(weights) - 1, 0 < layer == skip_layer
            if is_last and keep_hidden:
                hidden = below
            if is_skip and early_weight is not None and early_bias is not None:
                early = torch.addmm(early_bias, below, early_weight.T)
            if bias.ndim == 1 and not is_last and not is_skip:
                # On a GPU bias and ReLU are part of the product: two passes over the memory less.
                below = torch._addmm_activation(bias, below, weight.T)
            else:
                below = torch.addmm(bias, below, weight.T) if bias.ndim == 1 else torch.mm(below, weight.T)
                if is_skip:
                    assert skip_weight is not None
                    torch.addmm(below, encoded, skip_weight.T, out=below)
                if bias.ndim == 2:
                    _by_group(below, len(bias)).add_(bias[:, None])
                if not is_last:
                    below.relu_()
            if keep and not is_last:
                activations.append(below)
        ctx.skip_layer = skip_layer
        ctx.groups = [len(bias) if bias.ndim == 2 else None for bias in biases]
        if keep:
            ctx.save_for_backward(encoded, skip_weight, early_weight, *weights, *activations)
        return below, early, hidden

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *output_gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients that are needed, from the last layer to the first."""
        encoded, skip_weight, early_weight, *saved = ctx.saved_tensors
        layers = len(ctx.groups)
        weights, activations = saved[:layers], [encoded, *saved[layers:]]
        needs_encoded, _, _, needs_skip_weight, *_ = ctx.needs_input_grad
        needed = ctx.needs_input_grad[7:]
        gradient, early_gradient, hidden_gradient = output_gradients
        of_encoded = of_skip_weight = of_early_weight = of_early_bias = None
        of_parameters: list[Tensor | None] = [None] * (2 * layers)
        for layer in range(layers - 1, -1, -1):
            below, groups = activations[layer], ctx.groups[layer]
            if needed[2 * layer]:
                of_parameters[2 * layer] = (
                    torch.mm(gradient.T, below) if layer > 0 else _weight_gradient(gradient, below)
                )
            if needed[2 * layer + 1]:
                of_parameters[2 * layer + 1] = (
                    gradient.sum(0) if groups is None else _by_group(gradient, groups).sum(1)
                )
            if 0 < layer == ctx.skip_layer:
                if needs_skip_weight:
                    of_skip_weight = _weight_gradient(gradient, encoded)
                if needs_encoded:
                    of_encoded = torch.mm(gradient, skip_weight)
            if layer > 0:
                gradient = torch.mm(gradient, weights[layer])
                if layer == layers - 1 and hidden_gradient is not None:
                    gradient.add_(hidden_gradient)
                if layer == ctx.skip_layer and early_weight is not None:
                    of_early_weight, of_early_bias = torch.mm(early_gradient.T, below), early_gradient.sum(0)
                    gradient.addmm_(early_gradient, early_weight)
                torch.ops.aten.threshold_backward.grad_input(gradient, below, 0, grad_input=gradient)
        if needs_encoded:
            through_input = torch.mm(gradient, weights[0])
            of_encoded = through_input if of_encoded is None else of_encoded.add_(through_input)
        return (of_encoded, None, None, of_skip_weight, of_early_weight, of_early_bias, None, *of_parameters)


def _weight_gradient(
    gradient: Float[Tensor, "points width"], encoded: Float[Tensor, "points encoded"]
) -> Float[Tensor, "width encoded"]:
    # Where fewer values enter than leave, this order of the product took half the time on a processor.
    return torch.mm(encoded.T, gradient).T.contiguous()


def _by_group(points: Float[Tensor, "points width"], groups: int) -> Float[Tensor, "groups members width"]:
    # Both counts are written out: without points and groups, when nothing is visible, -1 has no meaning.
    return points.view(groups, len(points) // max(groups, 1), points.shape[-1])
