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
    """W and b of a dense layer; no b where a latent term holds it."""

    weight: Float[Tensor, "outputs inputs"]
    bias: Float[Tensor, " outputs"] | None


def dense_layer(linear: nn.Module, dtype: torch.dtype) -> DenseLayer:
    """Return the parameters of a `torch.nn.Linear`, in another number format."""
    assert isinstance(linear, nn.Linear)
    return DenseLayer(linear.weight.to(dtype), None if linear.bias is None else linear.bias.to(dtype))


def conditional_mlp(
    encoded: Float[Tensor, "points encoded"],
    input_term: Float[Tensor, "groups width"],
    input_weight: Float[Tensor, "width encoded"],
    layers: Sequence[DenseLayer],
    skip_layer: int = 0,
    skip_term: Float[Tensor, "groups width"] | None = None,
    skip_weight: Float[Tensor, "width encoded"] | None = None,
) -> Float[Tensor, "points outputs"]:
    """Compute ReLU layers on encoded points and terms that neighboring points share, and a last linear layer.

    The result is that of `torch.nn.functional`. The gradient is written out, because on a processor autograd
    spends half the time of small layers between their products. Here activations are masked in place,
    gradients of the shared terms are summed once, and no gradient of the points is computed unless someone
    asks. It can be differentiated once.

    Args:
        encoded: γ(x) of all points. Point i belongs to group i // (points / groups).
        input_term: W_z·z + b of the first layer, one a group.
        input_weight: W_x of the first layer.
        layers: the others; the last is linear.
        skip_layer: which layer, counted from 1 in `layers`, γ(x) enters again; 0 for none.
        skip_term: W_z·z + b of that layer, which has no b of its own.
        skip_weight: W_x of that layer.
    """
    parameters = [part for layer in layers for part in layer]
    # The caller chose one number format for all: an autocast would change that of some products.
    with torch.autocast(encoded.device.type, enabled=False):
        outputs = _ConditionalMlp.apply(
            encoded, input_term, input_weight, skip_layer, skip_term, skip_weight, *parameters
        )
    assert isinstance(outputs, Tensor)
    return outputs


class _ConditionalMlp(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        encoded: Tensor,
        input_term: Tensor,
        input_weight: Tensor,
        skip_layer: int,
        skip_term: Tensor | None,
        skip_weight: Tensor | None,
        *parameters: Tensor | None,
    ) -> Tensor:
        """Compute the outputs, and keep the activations if something needs a gradient."""
        weights, biases = parameters[::2], parameters[1::2]
        features = torch.mm(encoded, input_weight.T)
        _by_group(features, input_term).add_(input_term[:, None])
        keep = any(ctx.needs_input_grad)
        activations = []
        is_activated = False
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True), start=1):
            assert weight is not None
            below = features if is_activated else features.relu_()
            if keep:
                activations.append(below)
            is_activated = bias is not None and layer < len(weights)
            if is_activated:
                # On a GPU bias and ReLU are part of the product: two passes over the memory less.
                features = torch._addmm_activation(bias, below, weight.T)
            else:
                features = torch.mm(below, weight.T) if bias is None else torch.addmm(bias, below, weight.T)
            if layer == skip_layer:
                assert skip_term is not None and skip_weight is not None
                torch.addmm(features, encoded, skip_weight.T, out=features)
                _by_group(features, skip_term).add_(skip_term[:, None])
        ctx.skip_layer = skip_layer
        ctx.save_for_backward(
            encoded, input_term, input_weight, skip_term, skip_weight, *weights, *activations
        )
        return features

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *output_gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients that are needed, from the last layer to the first."""
        encoded, input_term, input_weight, skip_term, skip_weight, *saved = ctx.saved_tensors
        weights, activations = saved[: len(saved) // 2], saved[len(saved) // 2 :]
        needed = ctx.needs_input_grad
        (gradient,) = output_gradients
        of_encoded = of_skip_term = of_skip_weight = None
        of_parameters: list[Tensor | None] = [None] * (2 * len(weights))
        for layer in range(len(weights), 0, -1):
            weight, below = weights[layer - 1], activations[layer - 1]
            place = 2 * (layer - 1)
            if needed[6 + place]:
                of_parameters[place] = torch.mm(gradient.T, below)
            if needed[6 + place + 1]:
                of_parameters[place + 1] = gradient.sum(0)
            if layer == ctx.skip_layer:
                if needed[4]:
                    of_skip_term = _by_group(gradient, skip_term).sum(1)
                if needed[5]:
                    of_skip_weight = _weight_gradient(gradient, encoded)
                if needed[0]:
                    of_encoded = torch.mm(gradient, skip_weight)
            gradient = torch.mm(gradient, weight)
            torch.ops.aten.threshold_backward.grad_input(gradient, below, 0, grad_input=gradient)
        of_input_term = _by_group(gradient, input_term).sum(1) if needed[1] else None
        of_input_weight = _weight_gradient(gradient, encoded) if needed[2] else None
        if needed[0]:
            through_input = torch.mm(gradient, input_weight)
            of_encoded = through_input if of_encoded is None else of_encoded.add_(through_input)
        return (
            of_encoded,
            of_input_term,
            of_input_weight,
            None,
            of_skip_term,
            of_skip_weight,
            *of_parameters,
        )


def _weight_gradient(
    gradient: Float[Tensor, "points width"], encoded: Float[Tensor, "points encoded"]
) -> Float[Tensor, "width encoded"]:
    # Where fewer values enter than leave, this order of the product took half the time on a processor.
    return torch.mm(encoded.T, gradient).T.contiguous()


def _by_group(points: Float[Tensor, "points width"], term: Float[Tensor, "groups width"]) -> Tensor:
    # Both counts are written out: without points and groups, when nothing is visible, -1 has no meaning.
    groups = len(term)
    return points.view(groups, len(points) // max(groups, 1), points.shape[-1])
