"""The latent table: one code an identity, learned with the networks."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nerfgen_ns.errors import UsageError


class LatentTable(nn.Module):
    """K latent codes of size D, without an encoder: Bojanowski et al., "GLO" (ICML 2018).

    The gradient of `forward` is sparse: the cost of a step depends on the rows in its batch, and not on K.

    Args:
        identities: K, the number of rows.
        latent_dim: D, the size of a code.
        init_std: standard deviation of the normal values that the rows start at.
    """

    def __init__(self, identities: int, latent_dim: int, init_std: float = 0.01) -> None:
        super().__init__()
        # `nn.Embedding` also fills a table that it makes: with millions of rows that takes seconds.
        codes = torch.empty(identities, latent_dim).normal_(std=init_std)
        self.codes = nn.Embedding(identities, latent_dim, sparse=True, _weight=codes)
        self._mean: tuple[int, int, Tensor] | None = None

    def __len__(self) -> int:
        return self.codes.num_embeddings

    def forward(self, rows: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch latent"]:
        """Return the codes of rows."""
        return self.codes(rows)

    def row(self, row: int) -> Float[Tensor, "1 latent"]:
        """Return the code of one row.

        Raises:
            UsageError: the table has no such row.
        """
        if not 0 <= row < len(self):
            raise UsageError(f"identity {row} does not exist: choose one from 0 to {len(self) - 1}")
        return self.codes.weight[row : row + 1]

    def check_code(self, code: Float[Tensor, "1 latent"]) -> None:
        """Do nothing if a code has the size of the table's.

        Raises:
            UsageError: it has another.
        """
        size = self.codes.embedding_dim
        if code.shape != (1, size):
            raise UsageError(
                f"the latent code has {code.numel()} values, where this run's model takes {size}"
            )

    def mean(self) -> Float[Tensor, "1 latent"]:
        """Return the mean of all rows, without a gradient; computed again only when the table changes."""
        weight = self.codes.weight
        found = self._mean
        if found is None or found[:2] != (weight.data_ptr(), weight._version):
            found = (weight.data_ptr(), weight._version, weight.detach().mean(dim=0, keepdim=True))
            self._mean = found
        return found[2]

    def mean_norm(self) -> Float[Tensor, ""]:
        """Return the mean Euclidean length of the rows. This reads the whole table."""
        return self.codes.weight.detach().norm(dim=-1).mean()
