"""A small 2D network that labels pictures: what labels are compared with, and what annotated data trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nerfgen_ns.dataset_format.label_maps import UNLABELED
from nerfgen_ns.inversion.latent_fit import seeded

LEVELS = 3


@dataclass
class SegmentationConfig:
    """How the network is trained."""

    steps: int = 400
    """Steps of Adam."""
    batch: int = 8
    """Pictures of a step."""
    width: int = 16
    """Channels of the first level; each level below has twice as many."""
    learning_rate: float = 3e-3
    """Learning rate at the start; it falls to zero."""
    seed: int = 0
    """Seed of the weights, of the order of pictures and of their changes."""


class SegmentationNetwork(nn.Module):
    """A U-Net (Ronneberger et al., MICCAI 2015) of three levels, for pictures of any size.

    Args:
        labels: how many labels there are.
        width: channels of the first level.
    """

    def __init__(self, labels: int, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(LEVELS)]
        self.down = nn.ModuleList(
            _block(3 if not level else widths[level - 1], own) for level, own in enumerate(widths)
        )
        self.up = nn.ModuleList(
            _block(widths[level] + widths[level + 1], widths[level]) for level in range(LEVELS - 1)
        )
        self.last = nn.Conv2d(width, labels, 1)

    def forward(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n labels height width"]:
        """Compute the logits of each label; colors are in [0, 1]."""
        values, kept = images - 0.5, []
        for level, block in enumerate(self.down):
            values = block(F.avg_pool2d(values, 2, ceil_mode=True) if level else values)
            kept.append(values)
        for level in reversed(range(LEVELS - 1)):
            larger = F.interpolate(values, kept[level].shape[-2:], mode="bilinear", align_corners=False)
            values = self.up[level](torch.cat([kept[level], larger], dim=1))
        return self.last(values)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def train_segmentation(
    images: Float[Tensor, "n 3 height width"],
    label_maps: Int[Tensor, "n height width"],
    labels: int,
    config: SegmentationConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SegmentationNetwork:
    """Train a network on labeled pictures of one size, which are mirrored, moved and dyed at random.

    Args:
        images: colors in [0, 1].
        label_maps: numbers of labels, 255 for unlabeled.
        labels: how many labels there are.
        config: the options.
        progress: called with the number of steps done and their total.
    """
    config = config or SegmentationConfig()

    def draw() -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(images), (config.batch,))
        return changed(images[chosen], label_maps[chosen])

    with seeded(config.seed, images.device):
        network = SegmentationNetwork(labels, config.width).to(images.device)
        fit_labels(network, draw, balance(label_maps, labels), config.steps, config.learning_rate, progress)
    return network.eval()


def balance(truth: Int[Tensor, "*n"], labels: int) -> Float[Tensor, " labels"]:
    """Return the weight of each label in a loss: one over the root of its share; 0 if it is nowhere."""
    known = truth[truth != UNLABELED]
    shares = torch.bincount(known, minlength=labels).float() / max(len(known), 1)
    return shares.clamp(min=1e-6) ** -0.5 * (shares > 0)


def fit_labels(
    network: nn.Module,
    draw: Callable[[], tuple[Tensor, Tensor]],
    weights: Float[Tensor, " labels"],
    steps: int,
    learning_rate: float,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Train a network by the cross-entropy of labels.

    Args:
        network: gives logits, one channel a label behind the first dimension; it is trained in place.
        draw: gives the inputs of a step, and their labels; 255 is unlabeled.
        weights: those of the labels.
        steps: how many steps.
        learning_rate: of Adam at the start; it falls to zero.
        progress: called with the number of steps done and their total.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1.0 - step / steps)
        inputs, truth = draw()
        loss = F.cross_entropy(network(inputs), truth, weights, ignore_index=UNLABELED)
        optimizer.zero_grad()
        # A batch without a label has no loss.
        if bool((truth != UNLABELED).any()):
            loss.backward()
            optimizer.step()
        if progress is not None:
            progress(step + 1, steps)


def changed(
    images: Float[Tensor, "n 3 height width"], label_maps: Int[Tensor, "n height width"]
) -> tuple[Float[Tensor, "n 3 height width"], Int[Tensor, "n height width"]]:
    """Mirror, turn, move, scale and dye pictures at random, and their label maps alike."""
    count, device = len(images), images.device
    turn = 0.15 * torch.randn(count, device=device)
    scale = torch.exp(0.1 * torch.randn(count, device=device))
    side = torch.where(torch.rand(count, device=device) < 0.5, -1.0, 1.0)
    cosine, sine, shift = scale * turn.cos(), scale * turn.sin(), 0.08 * torch.randn(count, 2, device=device)
    rows = [torch.stack([side * cosine, -sine, shift[:, 0]], dim=-1)]
    rows.append(torch.stack([side * sine, cosine, shift[:, 1]], dim=-1))
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    pictures = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    gain = 1.0 + 0.15 * torch.randn(count, 3, 1, 1, device=device)
    offset = 0.05 * torch.randn(count, 3, 1, 1, device=device)
    shown = F.grid_sample(label_maps[:, None].float() - UNLABELED, grid, mode="nearest", align_corners=False)
    return (pictures * gain + offset).clamp(0.0, 1.0), (shown[:, 0] + UNLABELED).round().long()


@torch.no_grad()
def segment(
    network: SegmentationNetwork, image: Float[Tensor, "height width 3"]
) -> Int[Tensor, "height width"]:
    """Return the most probable label of each pixel of a picture in [0, 1]."""
    return network(image.permute(2, 0, 1)[None])[0].argmax(dim=0)
