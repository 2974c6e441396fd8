"""Positional encoding of points and directions, and the size of a network on it."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from nerfgen_ns.errors import check_options

SMALLEST = {"hidden_dim": 1, "num_layers": 2, "num_frequencies": 0}
LARGEST = {"hidden_dim": 16384, "num_layers": 128, "num_frequencies": 64}


@dataclass
class EncodedNetworkConfig(InstantiateConfig):
    """The size of a network on encoded positions or directions."""

    hidden_dim: int = 256
    """Units of each hidden layer."""
    num_layers: int = 8
    """Hidden layers."""
    num_frequencies: int = 10
    """Frequencies of the positional encoding."""

    def check(self, option: str) -> None:
        """Check for sizes that make no network.

        Raises:
            UsageError: there is one; the line names its option, which begins with `option`.
        """
        check_options(self, option, SMALLEST, LARGEST)


class PositionalEncoding(nn.Module):
    """γ(x) = (x, sin(2⁰πx), cos(2⁰πx), …, sin(2ᴸ⁻¹πx), cos(2ᴸ⁻¹πx)), for x in [−1, 1]³.

    Mildenhall et al., "NeRF" (ECCV 2020), equation 4, with the input kept beside its encoding.

    Args:
        num_frequencies: L; each frequency is twice the one before.
    """

    frequencies: Tensor

    def __init__(self, num_frequencies: int) -> None:
        super().__init__()
        self.num_frequencies = num_frequencies
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(num_frequencies), persistent=False)

    @property
    def output_dim(self) -> int:
        """Number of values that encode one point, without padding."""
        return 3 + 6 * self.num_frequencies

    def below(self, frequencies: int) -> Float[Tensor, " encoded"]:
        """Return 1 for the values of the lowest frequencies and of the point itself, 0 for the others."""
        low = (torch.arange(self.num_frequencies) < frequencies).float().repeat_interleave(3)
        return torch.cat([torch.ones(3), low, low])

    def forward(
        self, points: Float[Tensor, "*batch 3"], multiple: int = 1
    ) -> Float[Tensor, "*batch encoded"]:
        """Encode points; zeros follow until the number of values is a multiple of `multiple`."""
        # One long row of factors: a product that broadcasts over three columns takes five times as long.
        repeats = [1] * (points.ndim - 1) + [self.num_frequencies]
        angles = points.repeat(repeats) * self.frequencies.repeat_interleave(3)
        padding = points.new_zeros(*points.shape[:-1], -self.output_dim % multiple)
        return torch.cat([points, angles.sin(), angles.cos(), padding], dim=-1)
