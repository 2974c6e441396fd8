"""The latent codes of a class as a space: its Gaussian, its strongest directions, and the ways through it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfgen_ns.errors import UsageError
from nerfgen_ns.utils.spacing import evenly_spaced

Kind = Literal["linear", "spherical"]
MOST_ROWS_COMPARED = 1024
"""Rows for which `usual_distance` finds the nearest other row, at most."""
MOST_COMPARISONS = 1 << 26
"""Distances between rows that it computes at most; in a large table it looks at fewer rows."""
ROWS_AT_ONCE = 1 << 15
"""Rows that are converted to double precision at a time."""


@dataclass(frozen=True)
class LatentSpace:
    """The Gaussian of a latent table, by principal component analysis.

    It covers the span of the rows around their mean. It has at most one direction fewer than there are rows,
    and none where all rows are the same.
    """

    mean: Float[Tensor, " latent"]
    """The mean of the rows."""
    directions: Float[Tensor, "directions latent"]
    """Orthonormal principal directions, strongest first; the largest entry of each is positive."""
    deviations: Float[Tensor, " directions"]
    """Standard deviation of the rows along each direction, above 0."""

    @classmethod
    def of(cls, codes: Float[Tensor, "identities latent"]) -> LatentSpace:
        """Compute the space of a latent table of at least one row: exact, and the same on every device."""
        own = codes.detach().cpu()
        mean = own.mean(dim=0, dtype=torch.float64)
        # The triangle of a QR decomposition has the rows' singular values, and is small where they are many.
        triangle = mean.new_empty(0, len(mean))
        for rows in own.split(ROWS_AT_ONCE):
            triangle = torch.linalg.qr(torch.cat([triangle, rows.double() - mean]), mode="r").R
        _, strengths, directions = torch.linalg.svd(triangle, full_matrices=False)
        deviations = strengths / max(len(codes) - 1, 1) ** 0.5
        # Below this, rows differ by no more than their numbers were rounded.
        rounding = torch.finfo(codes.dtype).eps * own.norm(dtype=torch.float64) / len(codes) ** 0.5
        directions, deviations = directions[deviations > rounding], deviations[deviations > rounding]
        largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
        return cls(*(part.to(codes) for part in (mean, directions * largest.sign(), deviations)))

    def sample(self, count: int, truncation: float = 1.0, seed: int = 0) -> Float[Tensor, "count latent"]:
        """Draw codes from the Gaussian, the same on every device.

        Args:
            count: how many.
            truncation: factor on the standard deviations; with 0 every code is the mean.
            seed: which codes; a larger count with the same seed begins with the same codes.

        Raises:
            UsageError: the count is below 1 or the truncation below 0.
        """
        if count < 1:
            raise UsageError(f"the number of samples must be at least 1, got {count}")
        if not 0.0 <= truncation < float("inf"):
            raise UsageError(
                f"the truncation must be at least 0, got {truncation}; 1 is the table's own spread"
            )
        generator = torch.Generator().manual_seed(seed)
        amounts = torch.stack([torch.randn(len(self.deviations), generator=generator) for _ in range(count)])
        offsets = (truncation * amounts * self.deviations.cpu()) @ self.directions.cpu()
        return (self.mean.cpu() + offsets).to(self.mean)

    def amounts(self, codes: Float[Tensor, "*n latent"]) -> Float[Tensor, "*n directions"]:
        """Return the distance of codes from the mean along each direction, in standard deviations."""
        return (codes - self.mean) @ self.directions.T / self.deviations

    def mahalanobis(self, codes: Float[Tensor, "*n latent"]) -> Float[Tensor, "*n"]:
        """Return the Mahalanobis distance of codes to the mean, within the span of the rows.

        The part of a code outside the span adds nothing: the rows give no deviation for it.
        """
        return self.amounts(codes).norm(dim=-1)

    def move(
        self, code: Float[Tensor, " latent"], amounts: Float[Tensor, " moved"]
    ) -> Float[Tensor, " latent"]:
        """Move a code along the first, strongest directions by the given numbers of standard deviations."""
        moved = len(amounts)
        return code + (amounts * self.deviations[:moved]) @ self.directions[:moved]


def interpolate(
    first: Float[Tensor, " latent"],
    second: Float[Tensor, " latent"],
    share: float,
    kind: Kind = "linear",
    mean: Float[Tensor, " latent"] | None = None,
) -> Float[Tensor, " latent"]:
    """Return the code at a share of the way from one code to another.

    Args:
        first: the code at share 0.
        second: the code at share 1.
        share: in [0, 1].
        kind: linear: the straight line. spherical: the arc around `mean` (Shoemake, "Animating rotation with
            quaternion curves", 1985), with the distance to the mean changing evenly: codes on the arc are as
            unusual as its ends. Where the ends and the mean are on one line, it is the straight line.
        mean: the mean of the latent table; the origin if not given.
    """
    straight = torch.lerp(first, second, share)
    if kind == "linear":
        return straight
    center = torch.zeros_like(first) if mean is None else mean
    start, end = first - center, second - center
    lengths = start.norm() * end.norm()
    cosine = (start @ end / lengths.clamp(min=torch.finfo(first.dtype).tiny)).clamp(-1.0, 1.0)
    angle = torch.acos(cosine)
    if lengths == 0 or torch.sin(angle) < 1e-4:
        return straight
    arc = (
        torch.sin((1.0 - share) * angle) * start / start.norm() + torch.sin(share * angle) * end / end.norm()
    )
    return center + torch.lerp(start.norm(), end.norm(), share) * arc / torch.sin(angle)


def way(
    stops: Float[Tensor, "stops latent"],
    frames: int,
    kind: Kind = "linear",
    mean: Float[Tensor, " latent"] | None = None,
    closed: bool = False,
) -> Float[Tensor, "frames latent"]:
    """Return the codes of a path from stop to stop, slower near each.

    Args:
        stops: two codes or more.
        frames: how many codes to give, at least one for each stop. The first is the first stop.
        kind, mean: see `interpolate`.
        closed: continue from the last stop to the first, so that the code after the last is the first again;
            otherwise the last code is the last stop.
    """
    legs = len(stops) if closed else len(stops) - 1
    steps = frames if closed else frames - 1
    codes = []
    for frame in range(frames):
        leg = min(frame * legs // steps, legs - 1)
        share = 0.5 - 0.5 * math.cos(math.pi * (frame * legs / steps - leg))
        codes.append(interpolate(stops[leg], stops[(leg + 1) % len(stops)], share, kind, mean))
    return torch.stack(codes)


def nearest(
    codes: Float[Tensor, "n latent"], table: Float[Tensor, "identities latent"]
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Return the Euclidean distance of each code to the nearest row of a table, and that row."""
    # Not by products of matrices, which lose the small distances.
    distances = torch.cdist(codes, table, compute_mode="donot_use_mm_for_euclid_dist")
    shortest, rows = distances.min(dim=1)
    return shortest, rows


def usual_distance(table: Float[Tensor, "identities latent"]) -> float:
    """Return the median distance of a row to the nearest other, over all rows or many, evenly spread.

    It is NaN where there is only one row.
    """
    if len(table) < 2:
        return math.nan
    count = min(len(table), MOST_ROWS_COMPARED, max(MOST_COMPARISONS // len(table), 16))
    rows = torch.from_numpy(evenly_spaced(len(table), count, "starts")).to(table.device)
    distances = torch.cdist(table[rows], table, compute_mode="donot_use_mm_for_euclid_dist")
    distances[torch.arange(count), rows] = math.inf
    return float(distances.amin(dim=1).median())
