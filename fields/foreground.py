"""The foreground field: density and color at a position, given a latent code."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nerfgen_ns.errors import UsageError, check_at_least
from nerfgen_ns.fields.conditional_mlp import (
    DenseLayer,
    dense,
    dense_layer,
    encoding_multiple,
    outputs_and_hidden,
    pad_inputs,
    product_dtype,
)
from nerfgen_ns.fields.encoding import EncodedNetworkConfig, PositionalEncoding

FieldValues = tuple[
    Float[Tensor, "rays samples"],
    Float[Tensor, "rays samples 3"],
    Float[Tensor, "rays samples hidden"] | None,
]
PIECE = 0.5
"""Gigabytes of activations of the samples that are computed together where not all activations are kept."""


@dataclass
class ForegroundFieldConfig(EncodedNetworkConfig):
    """The size of the foreground field."""

    _target: type = field(default_factory=lambda: ForegroundField)
    """Target class to instantiate."""
    skip_connection: int = 4
    """The hidden layer, counted from 0, that the encoded position and the latent code enter again."""
    code_in_every_layer: bool = False
    """Whether the latent code enters every hidden layer. That costs once a ray, and samples cost the same."""
    density_frequencies: int | None = None
    """Frequencies of the positional encoding that decide the density; the color sees all of them. The density
    then comes from the layers below the skip connection. If not set, both see all."""
    activation_memory: float | None = None
    """Gigabytes of activations that a training step keeps for its backward pass; those of further samples are
    computed twice, which takes a third longer. Memory then hardly grows with rays, samples and units. If not
    set, all are kept."""

    def check(self, option: str) -> None:
        """Check that the sizes make a network.

        Raises:
            UsageError: one does not; the message names its option, which begins with `option`.
        """
        super().check(option)
        if not 1 <= self.skip_connection < self.num_layers:
            raise UsageError(
                f"{option}.skip-connection {self.skip_connection}: give 1 to {self.num_layers - 1}, for "
                f"{self.num_layers} layers"
            )
        if self.density_frequencies is not None and not 0 <= self.density_frequencies <= self.num_frequencies:
            raise UsageError(
                f"{option}.density-frequencies {self.density_frequencies}: give 0 to {self.num_frequencies}"
            )
        if self.activation_memory is not None:
            check_at_least(f"{option}.activation-memory", self.activation_memory, 0.0)


class LatentTerms(tuple[Tensor, ...]):
    """What a latent code adds to each layer that it enters, biases included, from the first to the last.

    Each has the shape (rays, hidden); one ray's stand for one code for all rays.
    """

    def of_rays(self, chosen: Int[Tensor, " chosen"] | slice) -> "LatentTerms":
        """Return the terms of some rays; those of one code for all rays stay as they are."""
        return LatentTerms(term if len(term) == 1 else term[chosen] for term in self)


def activate_density(raw: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Compute the density per unit of length from the network's output: 10·softplus(raw − 2).

    It starts near 1 and grows linearly. An exponential turns opaque within a few hundred steps,
    and an opaque surface passes no gradient that could move it: shapes freeze before they are found.
    """
    return 10.0 * F.softplus(raw - 2.0)


def invert_density(density: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Return the network's output for a density above 0: the inverse of `activate_density`."""
    scaled = density / 10.0
    return 2.0 + scaled + (-torch.expm1(-scaled)).log()


class ForegroundField(nn.Module):
    """σ(x|z) and c(x|z): a NeRF MLP on γ(x) with z concatenated at the input and again at the skip layer.

    LOLNeRF (CVPR 2022), section 3.1; there is no view direction. The concatenation is never formed:
    W·[γ(x), z] = W_x·γ(x) + W_z·z holds exactly, and W_z·z is the same for every sample of a ray, so
    `latent_terms` computes it once a ray and `forward` adds it to every sample.

    Args:
        config: the sizes of the network.
        latent_dim: D, the size of a latent code.
        use_bf16: compute the matrix products in bf16 (see `product_dtype`).
    """

    low_frequencies: Float[Tensor, " encoded"] | None

    def __init__(self, config: ForegroundFieldConfig, latent_dim: int, use_bf16: bool = False) -> None:
        super().__init__()
        self.skip_connection = config.skip_connection
        self.use_bf16 = use_bf16
        self.activation_memory = config.activation_memory
        hidden_dim = config.hidden_dim
        self.encoding = PositionalEncoding(config.num_frequencies)
        self.input_position = nn.Linear(self.encoding.output_dim, hidden_dim, bias=False)
        self.input_latent = nn.Linear(latent_dim, hidden_dim)
        self.skip_position = nn.Linear(self.encoding.output_dim, hidden_dim, bias=False)
        self.skip_latent = nn.Linear(latent_dim, hidden_dim)
        self.hidden = nn.ModuleList(
            nn.Linear(hidden_dim, hidden_dim, bias=layer != config.skip_connection)
            for layer in range(1, config.num_layers)
        )
        self.code_layers: tuple[int, ...] = (
            tuple(range(config.num_layers)) if config.code_in_every_layer else (0, config.skip_connection)
        )
        self.hidden_latent = nn.ModuleDict(
            {
                str(layer): nn.Linear(latent_dim, hidden_dim, bias=False)
                for layer in self.code_layers
                if layer not in (0, config.skip_connection)
            }
        )
        low = config.density_frequencies
        self.register_buffer(
            "low_frequencies", None if low is None else self.encoding.below(low), persistent=False
        )
        self.density_head = nn.Linear(hidden_dim, 1)
        self.rgb_head = nn.Linear(hidden_dim, 3)

    def latent_terms(self, codes: Float[Tensor, "*rays latent"]) -> LatentTerms:
        """Compute W_z·z + b of each layer that the code enters."""
        dtype = product_dtype(codes, self.use_bf16)

        def term(layer: int) -> Tensor:
            if layer in (0, self.skip_connection):
                linear = self.skip_latent if layer else self.input_latent
                return dense(codes, linear.weight, linear.bias, dtype)
            weight, bias = self.hidden_latent[str(layer)].weight, self.hidden[layer - 1].bias
            assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
            return dense(codes, weight, bias, dtype)

        return LatentTerms(map(term, self.code_layers))

    def forward(
        self, positions: Float[Tensor, "rays samples 3"], terms: LatentTerms
    ) -> tuple[Float[Tensor, "rays samples"], Float[Tensor, "rays samples 3"]]:
        """Compute density (per unit of length) and color in [0, 1] at each sample, in the class frame.

        Activations beyond `activation_memory` are not kept: Chen et al., "Training Deep Nets with Sublinear
        Memory Cost" (2016). Gradients are the same.
        """
        density, rgb, _ = self.with_features(positions, terms, keep=False)
        return density, rgb

    def with_features(
        self, positions: Float[Tensor, "rays samples 3"], terms: LatentTerms, keep: bool = True
    ) -> FieldValues:
        """Compute density, color and, unless `keep` is false, the hidden features: the last hidden layer."""
        rays, a_ray = len(positions), positions.shape[1] * self._activation_bytes(positions)
        kept = self.activation_memory
        if kept is None or rays * a_ray <= 1e9 * kept or not torch.is_grad_enabled():
            return self._values(positions, terms, keep)
        size, twice = max(1, int(1e9 * PIECE / a_ray)), rays - int(1e9 * kept / a_ray)
        pieces: list[FieldValues] = []
        # The backward pass begins with the last rays: what is kept of them is free when others are repeated.
        for start in range(0, rays, size):
            piece = slice(start, start + size)
            given = positions[piece], terms.of_rays(piece), keep
            pieces.append(
                checkpoint(self._values, *given, use_reentrant=False, preserve_rng_state=False)
                if start < twice
                else self._values(*given)
            )
        density, rgb, features = zip(*pieces, strict=True)
        return torch.cat(density), torch.cat(rgb), torch.cat(features) if keep else None

    def _activation_bytes(self, positions: Float[Tensor, "rays samples 3"]) -> int:
        """Return how much memory the activations of one sample take."""
        values = self.encoding.output_dim + (1 + len(self.hidden)) * self.density_head.in_features
        return values * product_dtype(positions, self.use_bf16).itemsize

    def _values(
        self, positions: Float[Tensor, "rays samples 3"], terms: LatentTerms, keep: bool
    ) -> FieldValues:
        outputs, features = self._outputs(positions, terms, [self.density_head, self.rgb_head], keep)
        density, rgb = outputs.split([1, 3], dim=-1)
        return activate_density(density.squeeze(-1)), torch.sigmoid(rgb), features

    def density(
        self, positions: Float[Tensor, "rays samples 3"], terms: LatentTerms
    ) -> Float[Tensor, "rays samples"]:
        """Compute the density alone."""
        outputs, _ = self._outputs(positions, terms, [self.density_head])
        return activate_density(outputs.squeeze(-1))

    def _outputs(
        self,
        positions: Float[Tensor, "rays samples 3"],
        terms: LatentTerms,
        heads: list[nn.Linear],
        keep_hidden: bool = False,
    ) -> tuple[Float[Tensor, "rays samples outputs"], Float[Tensor, "rays samples hidden"] | None]:
        """Compute the outputs of the heads, one after the other; the density's is the first.

        With `keep_hidden` also the last hidden layer.
        """
        dtype = product_dtype(positions, self.use_bf16)
        encoded = self.encoding(positions, encoding_multiple(dtype)).flatten(0, -2).to(dtype)
        hidden = list(self.hidden)
        early: nn.Linear | None = None
        first = pad_inputs(self.input_position.weight, encoded.shape[1])
        if self.low_frequencies is not None:
            first = first * F.pad(self.low_frequencies, (0, first.shape[1] - len(self.low_frequencies)))
            if len(heads) > 1:
                early, *heads = heads
            else:
                # The density alone needs no layer above its own.
                hidden = hidden[: self.skip_connection - 1]
        own = dict(zip(self.code_layers, terms, strict=True))
        layers = [DenseLayer(first.to(dtype), own[0].to(dtype))]
        for layer, linear in enumerate(hidden, start=1):
            if layer in own:
                assert isinstance(linear.weight, Tensor)
                layers.append(DenseLayer(linear.weight.to(dtype), own[layer].to(dtype)))
            else:
                layers.append(dense_layer(linear, dtype))
        head = DenseLayer(
            torch.cat([head.weight for head in heads]).to(dtype),
            torch.cat([head.bias for head in heads]).to(dtype),
        )
        skip_weight = pad_inputs(self.skip_position.weight, encoded.shape[1]).to(dtype)
        skips = len(layers) > self.skip_connection
        outputs, last = outputs_and_hidden(
            encoded,
            [*layers, head],
            self.skip_connection if skips else 0,
            skip_weight if skips else None,
            None if early is None else dense_layer(early, dtype),
            keep_hidden,
        )
        shape = positions.shape[:-1]
        features = None if last is None else last.float().unflatten(0, shape)
        return outputs.float().unflatten(0, shape), features
