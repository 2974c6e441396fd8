"""A small network that labels point clouds, and how it is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nerfgen_ns.inversion.latent_fit import seeded
from nerfgen_ns.semantics.segmentation import balance, fit_labels

CHANNELS = 6
"""Of a point: its position in the class frame and its color in [0, 1]."""


@dataclass(frozen=True)
class LabeledPoints:
    """A point cloud whose points have labels."""

    values: Float[Tensor, "n 6"]
    labels: Int[Tensor, " n"]
    """Numbers of labels; 255 is unlabeled."""


@dataclass
class PointConfig:
    """How the network is trained."""

    steps: int = 1500
    """Steps of Adam."""
    batch: int = 8
    """Clouds of a step."""
    points: int = 512
    """Points of each cloud in a step, chosen at random."""
    width: int = 64
    """Units of the narrowest layer."""
    learning_rate: float = 2e-3
    """Learning rate at the start; it falls to zero."""
    seed: int = 0
    """Seed of the weights, of the order of clouds and of their changes."""


class PointNetwork(nn.Module):
    """The segmentation network of PointNet (Qi et al., CVPR 2017), without its learned transforms.

    Each point passes the same layers; the largest value of each feature over the cloud is what all points
    know of the whole.

    Args:
        labels: how many labels there are.
        width: units of the narrowest layer.
    """

    def __init__(self, labels: int, width: int) -> None:
        super().__init__()
        self.own = _layers(CHANNELS, width, width)
        self.whole = _layers(width, width, 4 * width)
        self.last = nn.Sequential(_layers(5 * width, 2 * width, width), nn.Linear(width, labels))

    def forward(self, clouds: Float[Tensor, "clouds n 6"]) -> Float[Tensor, "clouds labels n"]:
        """Compute the logits of each label at each point."""
        own = self.own(torch.cat([clouds[..., :3], clouds[..., 3:] - 0.5], dim=-1))
        whole = self.whole(own).amax(dim=1, keepdim=True).expand(-1, clouds.shape[1], -1)
        return self.last(torch.cat([own, whole], dim=-1)).transpose(1, 2)


def _layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.LayerNorm(hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
        nn.LayerNorm(outputs),
        nn.ReLU(),
    )


def train_point_network(
    clouds: Sequence[LabeledPoints],
    labels: int,
    config: PointConfig,
    progress: Callable[[int, int], None] | None = None,
) -> PointNetwork:
    """Train a network on labeled clouds, which are mirrored, turned, scaled, shaken and dyed at random.

    Args:
        clouds: point clouds in the class frame.
        labels: how many labels there are.
        config: the options.
        progress: called with the number of steps done and their total.
    """

    def draw() -> tuple[Tensor, Tensor]:
        chosen = [clouds[int(place)] for place in torch.randint(len(clouds), (config.batch,))]
        picked = [torch.randint(len(cloud.labels), (config.points,)) for cloud in chosen]
        values = torch.stack([cloud.values[own] for cloud, own in zip(chosen, picked, strict=True)])
        truth = torch.stack([cloud.labels[own] for cloud, own in zip(chosen, picked, strict=True)])
        return changed_clouds(values), truth

    with seeded(config.seed, torch.device("cpu")):
        network = PointNetwork(labels, config.width)
        weights = balance(torch.cat([cloud.labels for cloud in clouds]), labels)
        fit_labels(network, draw, weights, config.steps, config.learning_rate, progress)
    return network.eval()


def changed_clouds(clouds: Float[Tensor, "clouds n 6"]) -> Float[Tensor, "clouds n 6"]:
    """Mirror, turn, scale, move, shake and dye clouds at random."""
    count = len(clouds)
    side = torch.where(torch.rand(count, 1, 1) < 0.5, -1.0, 1.0)
    mirrored = clouds[..., :3] * torch.cat([side, torch.ones(count, 1, 2)], dim=-1)
    skew = torch.zeros(count, 3, 3)
    turn = 0.1 * torch.randn(count, 3)
    for axis, (first, second) in enumerate(((1, 2), (2, 0), (0, 1))):
        skew[:, second, first], skew[:, first, second] = turn[:, axis], -turn[:, axis]
    scale = torch.exp(0.1 * torch.randn(count, 1, 1))
    places = scale * (mirrored @ torch.linalg.matrix_exp(skew)) + 0.05 * torch.randn(count, 1, 3)
    places = places + 0.01 * torch.randn_like(places)
    gain, offset = 1.0 + 0.15 * torch.randn(count, 1, 3), 0.05 * torch.randn(count, 1, 3)
    return torch.cat([places, (clouds[..., 3:] * gain + offset).clamp(0.0, 1.0)], dim=-1)


@torch.no_grad()
def label_points(network: PointNetwork, values: Float[Tensor, "n 6"], most: int = 4096) -> Int[Tensor, " n"]:
    """Return the most probable label of each point; a large cloud is labeled in parts, each from all over."""
    labels = torch.empty(len(values), dtype=torch.long)
    parts = -(-len(values) // most)
    for part in range(parts):
        labels[part::parts] = network(values[None, part::parts])[0].argmax(dim=0)
    return labels
