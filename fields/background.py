"""The background field: one color a ray, given a latent code."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nerfgen_ns.fields.conditional_mlp import conditional_mlp, dense, dense_layer, product_dtype
from nerfgen_ns.fields.encoding import PositionalEncoding


class BackgroundField(nn.Module):
    """g(d|z): a ReLU MLP on the encoded ray direction; color without geometry.

    LOLNeRF (CVPR 2022), section 3.3: without it the class model spends density on the backgrounds.

    Args:
        latent_dim: D, the size of a latent code.
        width: units of each hidden layer.
        layers: number of layers, the output layer included.
        octaves: frequencies of the encoding of the direction.
        use_bf16: compute the matrix products in bf16 (see `product_dtype`).
    """

    def __init__(
        self, latent_dim: int, width: int = 256, layers: int = 5, octaves: int = 4, use_bf16: bool = False
    ) -> None:
        super().__init__()
        if layers < 2:
            raise ValueError(f"the background field needs at least 2 layers, got {layers}")
        self.use_bf16 = use_bf16
        self.encoding = PositionalEncoding(octaves)
        self.input = nn.Linear(self.encoding.output_dim + latent_dim, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(layers - 2))
        self.rgb_head = nn.Linear(width, 3)

    def forward(
        self, directions: Float[Tensor, "rays 3"], codes: Float[Tensor, "groups latent"]
    ) -> Float[Tensor, "rays 3"]:
        """Color in [0, 1] of each ray; directions are unit vectors in the class frame.

        There is one code for all rays, one a ray, or one for as many neighboring rays each.
        """
        dtype = product_dtype(directions, self.use_bf16)
        encoded = self.encoding(directions).to(dtype)
        of_direction, of_code = self.input.weight.split([encoded.shape[1], codes.shape[1]], dim=1)
        outputs = conditional_mlp(
            encoded,
            dense(codes, of_code, self.input.bias, dtype),
            of_direction.to(dtype),
            [dense_layer(linear, dtype) for linear in (*self.hidden, self.rgb_head)],
        )
        return torch.sigmoid(outputs.float())
