"""What is looked for on objects: a direction in the space of features, and how alike features are to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from nerfgen_ns.errors import NerfgenError

THRESHOLD = 0.8
"""Similarity from which something counts as what is looked for, where nothing else is said."""


@dataclass(frozen=True, eq=False)
class Query:
    """One thing that is looked for, such as the tip of a nose."""

    feature: Float[Tensor, " dims"]
    """A feature vector of length 1."""
    threshold: float = THRESHOLD
    """The least similarity of its members."""

    @classmethod
    def of_features(cls, features: Float[Tensor, "*n dims"], threshold: float = THRESHOLD) -> Query:
        """Make the query of what some features have in common: their mean direction.

        Raises:
            NerfgenError: they have none.
        """
        mean = F.normalize(features.detach().float().reshape(-1, features.shape[-1]), dim=-1).mean(dim=0)
        if not float(mean.norm()) > 1e-3:
            raise NerfgenError("what is asked for shows nothing in particular; choose a smaller place")
        return cls(F.normalize(mean, dim=-1), threshold)

    def members(self, features: Float[Tensor, "*n dims"]) -> Bool[Tensor, "*n"]:
        """Return which features belong to what is looked for: those at least as similar as the threshold."""
        return similarity(features, self) >= self.threshold


def similarity(features: Float[Tensor, "*n dims"], query: Query) -> Float[Tensor, "*n"]:
    """Compute the cosine between features and a query, in [0, 1]: opposites are no more alike than strangers.

    Features of any length count by their direction; a feature of zeros, where no object is, has 0.
    """
    cosines = F.normalize(features, dim=-1) @ query.feature.to(features)
    return cosines.clamp(0.0, 1.0)


def agreement(first: Float[Tensor, "*n dims"], second: Float[Tensor, "*n dims"]) -> Float[Tensor, "*n"]:
    """Compute the cosines between pairs of features, in [−1, 1]."""
    return F.cosine_similarity(first, second, dim=-1).clamp(-1.0, 1.0)


def best_similarity(values: Float[Tensor, " n"], share: float = 0.02, least: int = 4) -> Float[Tensor, ""]:
    """Return the mean of the largest similarities of an object: how much of what is looked for it has.

    Args:
        values: of the places where the object is seen.
        share: of the places that count.
        least: how many count at least.
    """
    if len(values) == 0:
        return values.new_zeros(())
    return values.topk(min(len(values), max(least, round(share * len(values))))).values.mean()
