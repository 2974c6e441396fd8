"""The background field: one color a ray, given a latent code."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nerfgen_ns.fields.conditional_mlp import (
    DenseLayer,
    conditional_mlp,
    dense,
    dense_layer,
    encoding_multiple,
    pad_inputs,
    product_dtype,
)
from nerfgen_ns.fields.encoding import EncodedNetworkConfig, PositionalEncoding


@dataclass
class BackgroundFieldConfig(EncodedNetworkConfig):
    """What is behind the object, and the size of the background field."""

    _target: type = field(default_factory=lambda: BackgroundField)
    """Target class to instantiate."""
    learned: bool = True
    """Whether the background is learned. Without it, the background is `solid_color`."""
    solid_color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Color where no background is learned: red, green, blue in [0, 1]."""
    num_layers: int = 5
    """Layers, the output layer included."""
    num_frequencies: int = 4
    """Frequencies of the encoding of the ray direction."""


class BackgroundField(nn.Module):
    """g(d|z): a ReLU MLP on the encoded ray direction; color without geometry.

    LOLNeRF (CVPR 2022), section 3.3: without it the class model spends density on the backgrounds.

    Args:
        config: the sizes of the network.
        latent_dim: D, the size of a latent code.
        use_bf16: compute the matrix products in bf16 (see `product_dtype`).
    """

    def __init__(self, config: BackgroundFieldConfig, latent_dim: int, use_bf16: bool = False) -> None:
        super().__init__()
        hidden_dim = config.hidden_dim
        self.use_bf16 = use_bf16
        self.encoding = PositionalEncoding(config.num_frequencies)
        self.input = nn.Linear(self.encoding.output_dim + latent_dim, hidden_dim)
        self.hidden = nn.ModuleList(nn.Linear(hidden_dim, hidden_dim) for _ in range(config.num_layers - 2))
        self.rgb_head = nn.Linear(hidden_dim, 3)

    def forward(
        self, directions: Float[Tensor, "rays 3"], codes: Float[Tensor, "groups latent"]
    ) -> Float[Tensor, "rays 3"]:
        """Compute the color in [0, 1] of each ray; directions are unit vectors in the class frame.

        There is one code for all rays, one a ray, or one for each group of neighboring rays, of equal size.
        """
        dtype = product_dtype(directions, self.use_bf16)
        encoded = self.encoding(directions, encoding_multiple(dtype)).to(dtype)
        of_direction, of_code = self.input.weight.split([self.encoding.output_dim, codes.shape[1]], dim=1)
        first = DenseLayer(
            pad_inputs(of_direction, encoded.shape[1]).to(dtype),
            dense(codes, of_code, self.input.bias, dtype),
        )
        others = [dense_layer(linear, dtype) for linear in (*self.hidden, self.rgb_head)]
        outputs = conditional_mlp(encoded, [first, *others])
        return torch.sigmoid(outputs.float())
