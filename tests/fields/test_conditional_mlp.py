"""The written-out gradient of the conditional MLP against autograd's."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nerfgen_ns.fields.conditional_mlp import DenseLayer, conditional_mlp, outputs_and_hidden
from tests.helpers.fake_memory import LiveMemory

ENCODED, WIDTH, OUTPUTS = 5, 8, 3


def make_inputs(
    layers: int, skip_layer: int, grouped: set[int], groups: int, points: int
) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(layers)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.double).requires_grad_()

    inputs = {"encoded": draw(groups * points, ENCODED)}
    if skip_layer:
        inputs["skip_weight"] = draw(WIDTH, ENCODED)
    for layer in range(layers):
        outputs = OUTPUTS if layer == layers - 1 else WIDTH
        inputs[f"weight {layer}"] = draw(outputs, WIDTH if layer else ENCODED)
        inputs[f"bias {layer}"] = draw(groups, outputs) if layer in grouped else draw(outputs)
    return inputs


def ours(inputs: dict[str, Tensor], layers: int, skip_layer: int) -> Tensor:
    dense = [DenseLayer(inputs[f"weight {layer}"], inputs[f"bias {layer}"]) for layer in range(layers)]
    return conditional_mlp(inputs["encoded"], dense, skip_layer, inputs.get("skip_weight"))


def plain(inputs: dict[str, Tensor], layers: int, skip_layer: int) -> Tensor:
    encoded = inputs["encoded"]
    features = encoded
    for layer in range(layers):
        bias = inputs[f"bias {layer}"]
        if bias.ndim == 2:
            bias = bias.repeat_interleave(len(encoded) // len(bias), dim=0)
        features = F.linear(F.relu(features) if layer else encoded, inputs[f"weight {layer}"]) + bias
        if 0 < layer == skip_layer:
            features = features + F.linear(encoded, inputs["skip_weight"])
    return features


@pytest.mark.parametrize(
    ("layers", "skip_layer", "grouped", "groups", "points"),
    [
        (2, 0, {0}, 4, 1),
        (4, 0, {0}, 1, 6),
        (4, 1, {0, 1}, 4, 3),
        (4, 2, {0}, 4, 3),
        (5, 3, {0, 3}, 2, 5),
        (5, 3, {0, 1, 2, 3}, 2, 5),
        (3, 0, {2}, 2, 5),
    ],
)
def test_outputs_and_all_gradients_are_those_of_autograd(layers, skip_layer, grouped, groups, points):
    inputs = make_inputs(layers, skip_layer, grouped, groups, points)
    results = [form(inputs, layers, skip_layer) for form in (ours, plain)]
    torch.testing.assert_close(*results)
    weights = torch.randn(results[0].shape, dtype=torch.double)
    gradients = [torch.autograd.grad((result * weights).sum(), list(inputs.values())) for result in results]
    for name, own, expected in zip(inputs, *gradients, strict=True):
        torch.testing.assert_close(own, expected, msg=lambda message, name=name: f"{name}: {message}")


@pytest.mark.parametrize("wanted", ["encoded", "skip_weight", "bias 2", "weight 1"])
def test_one_gradient_alone_is_the_same_as_among_all(wanted):
    inputs = make_inputs(4, 2, {0, 2}, 4, 3)
    (expected,) = torch.autograd.grad(plain(inputs, 4, 2).sum(), inputs[wanted])
    for name, value in inputs.items():
        value.requires_grad_(name == wanted)
    (gradient,) = torch.autograd.grad(ours(inputs, 4, 2).sum(), inputs[wanted])
    torch.testing.assert_close(gradient, expected)


def test_nothing_is_kept_where_no_gradient_is_wanted():
    inputs = {name: value.detach() for name, value in make_inputs(4, 2, {0, 2}, 4, 3).items()}
    result = ours(inputs, 4, 2)
    assert result.grad_fn is None
    torch.testing.assert_close(result, plain(inputs, 4, 2))


def test_a_second_derivative_is_refused_rather_than_wrong():
    inputs = make_inputs(3, 0, {0}, 2, 2)
    (gradient,) = torch.autograd.grad((ours(inputs, 3, 0) ** 2).sum(), inputs["encoded"], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_an_early_layer_and_all_gradients_are_those_of_autograd():
    inputs = make_inputs(4, 2, {0, 2}, 4, 3)
    early = [torch.randn(1, WIDTH, dtype=torch.double), torch.randn(1, dtype=torch.double)]
    inputs |= {name: value.requires_grad_() for name, value in zip(("weight", "bias"), early, strict=True)}
    dense = [DenseLayer(inputs[f"weight {layer}"], inputs[f"bias {layer}"]) for layer in range(4)]
    own = conditional_mlp(inputs["encoded"], dense, 2, inputs["skip_weight"], DenseLayer(*early))
    below = F.relu(plain(inputs, 2, 0))
    expected = torch.cat([F.linear(below, *early), plain(inputs, 4, 2)], dim=1)
    torch.testing.assert_close(own, expected)
    weights = torch.randn(own.shape, dtype=torch.double)
    gradients = [
        torch.autograd.grad((result * weights).sum(), list(inputs.values())) for result in (own, expected)
    ]
    for name, ours_there, plain_there in zip(inputs, *gradients, strict=True):
        torch.testing.assert_close(ours_there, plain_there, msg=lambda text, name=name: f"{name}: {text}")


def test_the_hidden_layer_and_its_gradients_are_those_of_autograd():
    inputs = make_inputs(4, 2, {0, 2}, 4, 3)
    dense = [DenseLayer(inputs[f"weight {layer}"], inputs[f"bias {layer}"]) for layer in range(4)]
    arguments = (inputs["encoded"], dense, 2, inputs["skip_weight"])
    outputs, hidden = outputs_and_hidden(*arguments)
    assert torch.equal(outputs, conditional_mlp(*arguments))
    expected = F.relu(plain(inputs, 3, 2))
    torch.testing.assert_close(hidden, expected)
    weights = torch.randn(hidden.shape, dtype=torch.double)
    alone = [name for name in inputs if not name.endswith("3")]
    for others, both in ((0.0, alone), (1.0, list(inputs))):
        sums = [
            (one * weights).sum() + others * last.sum()
            for one, last in ((hidden, outputs), (expected, plain(inputs, 4, 2)))
        ]
        wanted = [inputs[name] for name in both]
        ours_there, plain_there = (torch.autograd.grad(one, wanted, retain_graph=True) for one in sums)
        for name, own, other in zip(both, ours_there, plain_there, strict=True):
            torch.testing.assert_close(own, other, msg=lambda text, name=name: f"{name}: {text}")


def test_without_gradients_a_few_layers_are_in_memory_and_not_all() -> None:
    layers = [DenseLayer(torch.rand(64, 64).requires_grad_(), torch.rand(64)) for _ in range(9)]
    with torch.no_grad(), LiveMemory() as memory:
        conditional_mlp(torch.rand(5000, 64), layers)
    assert memory.peak < 4 * (4 * 5000 * 64)
