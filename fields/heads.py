"""Heads on a frozen foreground field: what else is known at a sample, composited with the same weights."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from nerfgen_ns.dataset_format.label_maps import BACKGROUND, MOST_LABELS, Color
from nerfgen_ns.errors import UsageError, check_options
from nerfgen_ns.fields.encoding import PositionalEncoding
from nerfgen_ns.fields.query import Query


@dataclass
class HeadConfig(InstantiateConfig):
    """The size of a head's network."""

    hidden_dim: int = 64
    """Units of each hidden layer."""
    num_layers: int = 2
    """Hidden layers."""
    num_frequencies: int = 4
    """Frequencies of the encoding of a sample's position, which the head sees beside the hidden features."""

    def check(self, option: str) -> None:
        """Check that the sizes make a head.

        Raises:
            UsageError: they do not; the line names the option, which begins with `option`.
        """
        check_options(
            self,
            option,
            {"hidden_dim": 1, "num_layers": 1, "num_frequencies": 0},
            {"hidden_dim": 4096, "num_layers": 16, "num_frequencies": 16},
        )


@dataclass
class LabelHeadConfig(HeadConfig):
    """The labels of a class, and the size of the network that tells them."""

    _target: type = field(default_factory=lambda: LabelHead)
    """Target class to instantiate."""
    names: tuple[str, ...] = ()
    """The name of each label, from 0; one of them is `background`."""
    colors: tuple[Color, ...] = ()
    """Their colors: red, green, blue, 0 to 255."""

    def check(self, option: str) -> None:
        """Check that the labels and the sizes make a head; see `HeadConfig.check`."""
        super().check(option)
        if not 1 <= len(self.names) <= MOST_LABELS or len(set(self.names)) < len(self.names):
            raise UsageError(f"{option}.names: give 1 to {MOST_LABELS} labels, each another name")
        if BACKGROUND not in self.names or len(self.colors) != len(self.names):
            raise UsageError(f"{option}.colors: give one for each label, and call one label {BACKGROUND}")


class Mlp(nn.Module):
    """A ReLU network on hidden features and on the encoded position of samples.

    Args:
        features: the number of hidden features.
        outputs: the number of values of a sample.
        config: the size of the network.
    """

    def __init__(self, features: int, outputs: int, config: HeadConfig) -> None:
        super().__init__()
        self.encoding = PositionalEncoding(config.num_frequencies)
        layers: list[nn.Module] = []
        inputs = features + self.encoding.output_dim
        for _ in range(config.num_layers):
            layers += [nn.Linear(inputs, config.hidden_dim), nn.ReLU()]
            inputs = config.hidden_dim
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, outputs))

    def forward(
        self, features: Float[Tensor, "samples features"], positions: Float[Tensor, "samples 3"]
    ) -> Float[Tensor, "samples outputs"]:
        """Compute the values of each sample; positions are of the class frame."""
        # The field's features have passed its own number format: an autocast would round them once more.
        with torch.autocast(features.device.type, enabled=False):
            return self.layers(torch.cat([features, self.encoding(positions)], dim=-1))


class LabelHead(nn.Module):
    """The probability of each label at a sample of the foreground field: a softmax over a small network.

    Semantic SRN (Kohli et al., 3DV 2020) puts such a head on a class model that stays as it is. Along a ray
    probabilities are composited, not logits: with the rendering weights wᵢ, P(label) = Σ wᵢ·pᵢ(label), and
    the background has 1 − Σ wᵢ more. So they are probabilities again, and an occluded sample has no say.

    Args:
        config: the labels and the size of the network.
        features: the number of hidden features of the foreground field.
    """

    colors: Float[Tensor, "labels 3"]

    def __init__(self, config: LabelHeadConfig, features: int) -> None:
        super().__init__()
        self.names = config.names
        self.background = config.names.index(BACKGROUND)
        self.network = Mlp(features, len(config.names), config)
        self.register_buffer("colors", torch.tensor(config.colors) / 255.0, persistent=False)

    def forward(
        self, features: Float[Tensor, "samples features"], positions: Float[Tensor, "samples 3"]
    ) -> Float[Tensor, "samples labels"]:
        """Compute the probability of each label at each sample."""
        return torch.softmax(self.network(features, positions), dim=-1)

    def with_background(self, composited: Float[Tensor, "rays labels"]) -> Float[Tensor, "rays labels"]:
        """Add to the background of rays what their samples leave: probabilities that sum to 1."""
        left = (1.0 - composited.sum(dim=-1, keepdim=True)).clamp(min=0.0)
        of_background = torch.zeros_like(composited)
        of_background[:, self.background] = 1.0
        return composited + left * of_background

    def shown(
        self, probabilities: Float[Tensor, "*n labels"]
    ) -> tuple[Float[Tensor, "*n 3"], Float[Tensor, "*n 1"]]:
        """Return the color of the most probable label, and its probability."""
        confidence, label = probabilities.max(dim=-1, keepdim=True)
        return self.colors[label[..., 0]], confidence


@dataclass
class FeatureHeadConfig(HeadConfig):
    """The features of a class, and the size of the network that tells them."""

    _target: type = field(default_factory=lambda: FeatureHead)
    """Target class to instantiate."""
    extractor: str = ""
    """The name of the 2D feature extractor that they come from."""
    channels: int = 1
    """How many numbers the extractor gives at a place of a picture."""
    dims: int = 1
    """How many are left of them."""
    query: tuple[float, ...] | None = None
    """What the output `similarity` looks for, a feature of length 1; None: there is no such output."""

    def check(self, option: str) -> None:
        """Check that the features and the sizes make a head; see `HeadConfig.check`."""
        super().check(option)
        check_options(self, option, {"channels": 1, "dims": 1}, {"channels": 1 << 16, "dims": 1024})
        if self.dims > self.channels:
            raise UsageError(f"{option}.dims {self.dims}: there are {self.channels} channels; take fewer")
        if self.query is not None and len(self.query) != self.dims:
            raise UsageError(f"{option}.query: has {len(self.query)} numbers, not {self.dims}")


class FeatureHead(nn.Module):
    """What a 2D feature extractor would see at a sample of the foreground field, without the view it had.

    N3F (Tschernezki et al., 3DV 2022) distills a 2D extractor into such a head: Φ(ray) = Σ wᵢ·h(fᵢ). The
    extractor's features are first reduced by PCA and scaled to length 1, so that their cosines compare them.

    Args:
        config: the sizes.
        features: the number of hidden features of the foreground field.
    """

    mean: Float[Tensor, " channels"]
    directions: Float[Tensor, "channels dims"]
    SPREAD = 0.9
    """How far a color changes for a feature that is wholly along one of the first three directions."""

    def __init__(self, config: FeatureHeadConfig, features: int) -> None:
        super().__init__()
        self.extractor, self.dims = config.extractor, config.dims
        self.network = Mlp(features, config.dims, config)
        self.register_buffer("mean", torch.zeros(config.channels))
        self.register_buffer("directions", torch.zeros(config.channels, config.dims))
        self.query = None if config.query is None else Query(torch.tensor(config.query))
        """What the output `similarity` looks for where nothing else is asked."""

    def forward(
        self, features: Float[Tensor, "samples features"], positions: Float[Tensor, "samples 3"]
    ) -> Float[Tensor, "samples dims"]:
        """Compute the feature of each sample, of length 1 where the head is sure."""
        return self.network(features, positions)

    def reduce(self, values: Float[Tensor, "*n channels"]) -> Float[Tensor, "*n dims"]:
        """Return features of the 2D extractor in the form of the head's own: by PCA, and of length 1."""
        return F.normalize((values.to(self.mean) - self.mean) @ self.directions, dim=-1)

    def shown(self, composited: Float[Tensor, "*n dims"]) -> Float[Tensor, "*n 3"]:
        """Return features as colors: their first three PCA directions, around the gray of the background."""
        first = F.pad(composited[..., :3], (0, 3 - min(3, composited.shape[-1])))
        return (0.5 + self.SPREAD * first).clamp(0.0, 1.0)
