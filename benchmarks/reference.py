"""The literal method of LOLNeRF, in plain code: to read with the paper, and to compare the fast path with.

Rebain, Matthews, Yi, Lagun, Tagliasacchi: "LOLNeRF: Learn from One Look" (CVPR 2022). The latent code is
concatenated with the encoded position at every sample, at the input and again at the skip layer; samples are
spread evenly between the ends of a ray's way through the class's box; everything is fp32. It shares no code
with the fast path: tests/benchmarks/test_reference.py compares the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class ReferenceSettings:
    """Sizes and rates. The paper's are 8 × 256, D = 256, 10 octaves, 128 samples, 4096 × 32 rays a step."""

    latent_dim: int = 64
    """D, the size of a latent code."""
    width: int = 128
    """Units of each hidden layer."""
    layers: int = 4
    """Hidden layers."""
    skip_layer: int = 2
    """The hidden layer, counted from 0, that the encoded position and the latent code enter again."""
    octaves: int = 6
    """Octaves of the encoding of the position."""
    background_width: int = 256
    """Units of each hidden layer of the background network."""
    background_layers: int = 5
    """Layers of the background network, the output layer included."""
    background_octaves: int = 4
    """Octaves of the encoding of the ray direction."""
    samples: int = 64
    """Samples a ray."""
    mask_loss_mult: float = 1.0
    """λ_mask."""
    hard_surface_loss_mult: float = 0.1
    """λ_hard; the loss is a mean over samples."""
    learning_rate: float = 1e-3
    """Adam's, for the networks."""
    latent_learning_rate: float = 3e-3
    """Adam's, for the table of codes."""
    final_ratio: float = 0.2
    """Learning rates at the end as a share of those at the start; between them they decay exponentially."""


def encode(points: Float[Tensor, "*batch 3"], octaves: int) -> Float[Tensor, "*batch encoded"]:
    """Return γ(x): point, sine and cosine of it at `octaves` frequencies ("NeRF", ECCV 2020, equation 4)."""
    angles = torch.cat([2.0**octave * math.pi * points for octave in range(octaves)], dim=-1)
    return torch.cat([points, angles.sin(), angles.cos()], dim=-1)


class Foreground(nn.Module):
    """σ(x|z) and c(x|z), section 3.1: an MLP on [γ(x), z], which enters again at the skip layer."""

    def __init__(self, settings: ReferenceSettings) -> None:
        super().__init__()
        self.settings = settings
        entering = 3 + 6 * settings.octaves + settings.latent_dim
        self.hidden = nn.ModuleList([nn.Linear(entering, settings.width)])
        for layer in range(1, settings.layers):
            again = entering if layer == settings.skip_layer else 0
            self.hidden.append(nn.Linear(settings.width + again, settings.width))
        self.density = nn.Linear(settings.width, 1)
        self.color = nn.Linear(settings.width, 3)

    def forward(
        self, positions: Float[Tensor, "rays samples 3"], codes: Float[Tensor, "rays samples latent"]
    ) -> tuple[Float[Tensor, "rays samples"], Float[Tensor, "rays samples 3"]]:
        """Compute density per unit of length and color in [0, 1] of each sample."""
        entering = torch.cat([encode(positions, self.settings.octaves), codes], dim=-1)
        features = entering
        for layer, linear in enumerate(self.hidden):
            if layer == self.settings.skip_layer:
                features = torch.cat([features, entering], dim=-1)
            features = F.relu(linear(features))
        density = 10.0 * F.softplus(self.density(features) - 2.0)
        return density[..., 0], torch.sigmoid(self.color(features))


class Background(nn.Module):
    """g(d|z), section 3.3: an MLP on the encoded ray direction and the code."""

    def __init__(self, settings: ReferenceSettings) -> None:
        super().__init__()
        self.settings = settings
        sizes = [3 + 6 * settings.background_octaves + settings.latent_dim]
        sizes += [settings.background_width] * (settings.background_layers - 1)
        self.hidden = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.color = nn.Linear(sizes[-1], 3)

    def forward(
        self, directions: Float[Tensor, "rays 3"], codes: Float[Tensor, "rays latent"]
    ) -> Float[Tensor, "rays 3"]:
        """Compute the color in [0, 1] of each ray."""
        features = torch.cat([encode(directions, self.settings.background_octaves), codes], dim=-1)
        for linear in self.hidden:
            features = F.relu(linear(features))
        return torch.sigmoid(self.color(features))


class Pixels(NamedTuple):
    """What the rays show."""

    rgb: Float[Tensor, "rays 3"]
    accumulation: Float[Tensor, "rays 1"]
    depth: Float[Tensor, "rays 1"]
    weights: Float[Tensor, "rays samples"]


class Reference(nn.Module):
    """The class model: a table of codes, one row an identity, and the two networks."""

    def __init__(self, identities: int, settings: ReferenceSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or ReferenceSettings()
        self.table = nn.Embedding(identities, self.settings.latent_dim)
        nn.init.normal_(self.table.weight, std=0.01)
        self.foreground = Foreground(self.settings)
        self.background = Background(self.settings)

    def forward(
        self,
        origins: Float[Tensor, "rays 3"],
        directions: Float[Tensor, "rays 3"],
        rows: Int[Tensor, " rays"],
        bounds: Float[Tensor, "rays samples+1"],
    ) -> Pixels:
        """Render rays ("NeRF", equation 3) over the background: C = Σ wᵢcᵢ + (1 − Σ wᵢ)·g(d|z).

        Args:
            origins: of the rays, in the class frame.
            directions: unit vectors.
            rows: of the table.
            bounds: distances along the ray; each sample is in the middle between two of them.
        """
        codes = self.table(rows)
        distances = 0.5 * (bounds[:, 1:] + bounds[:, :-1])
        positions = origins[:, None] + directions[:, None] * distances[..., None]
        density, colors = self.foreground(positions, codes[:, None].expand(*distances.shape, -1))
        passed = torch.exp(-density * (bounds[:, 1:] - bounds[:, :-1]))
        reached = torch.cat([torch.ones_like(passed[:, :1]), passed[:, :-1]], dim=-1).cumprod(dim=-1)
        weights = reached * (1.0 - passed)
        accumulation = weights.sum(dim=-1, keepdim=True)
        rgb = (weights[..., None] * colors).sum(dim=1)
        rgb = rgb + (1.0 - accumulation) * self.background(directions, codes)
        depth = (weights * distances).sum(dim=-1, keepdim=True) / accumulation.clamp(min=1e-6)
        return Pixels(rgb, accumulation, torch.where(accumulation > 1e-3, depth, bounds[:, -1:]), weights)

    def loss(
        self, pixels: Pixels, image: Float[Tensor, "rays 3"], matte: Float[Tensor, "rays 1"] | None
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the weighted losses of section 3.4, whose sum is trained; no mask loss without a matte."""
        losses = {"rgb_loss": ((pixels.rgb - image) ** 2).mean()}
        if matte is not None:
            losses["mask_loss"] = self.settings.mask_loss_mult * ((pixels.accumulation - matte) ** 2).mean()
        hard = -torch.log(torch.exp(-pixels.weights) + torch.exp(-(1.0 - pixels.weights)))
        least = -math.log(1.0 + math.exp(-1.0))
        losses["hard_surface_loss"] = self.settings.hard_surface_loss_mult * (hard.mean() - least)
        return losses

    def optimizer(self) -> torch.optim.Adam:
        """Make Adam, with a learning rate for the networks and one for the codes."""
        settings = self.settings
        groups: list[dict[str, Any]] = [
            {"params": [*self.foreground.parameters(), *self.background.parameters()]},
            {"params": self.table.parameters(), "lr": settings.latent_learning_rate},
        ]
        return torch.optim.Adam(groups, lr=settings.learning_rate)


def even_bounds(
    origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"], samples: int, stratified: bool
) -> Float[Tensor, "rays samples+1"]:
    """Return bounds that divide each ray's way through [−1, 1]³ evenly; `stratified` moves them at random."""
    safe = torch.where(directions.abs() < 1e-6, 1e-6, directions)
    sides = torch.stack([(-1.0 - origins) / safe, (1.0 - origins) / safe])
    near = sides.amin(dim=0).amax(dim=-1, keepdim=True).clamp(min=0.05)
    far = torch.maximum(sides.amax(dim=0).amin(dim=-1, keepdim=True), near + 1e-6)
    shares = torch.linspace(0.0, 1.0, samples + 1, device=origins.device).repeat(len(origins), 1)
    if stratified:
        shares[:, 1:-1] += (torch.rand_like(shares[:, 1:-1]) - 0.5) / samples
    return near + (far - near) * shares
