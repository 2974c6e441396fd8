"""How the distribution of sampled images compares with that of photographs, in Inception's features.

All metrics use torchmetrics on features from torch-fidelity. Its network is that of the definitions: the
Inception of 2015 with TensorFlow's resizing. NaN where a metric is not defined.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from nerfgen_ns.metrics.networks import Unavailable, read_weights

INCEPTION = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
KID_SUBSET = 1000
"""Images in a subset of KID, as published."""
KID_SUBSETS = 100
"""Subsets over which KID is the mean, where there are more images than fit one."""
INCEPTION_SCORE_SPLITS = 10
"""Groups over which the Inception Score is averaged, as published; fewer below 100 images."""


class InceptionFeatures(NamedTuple):
    """The features of images."""

    pooled: Float[Tensor, "images 2048"]
    """After the last pooling: for FID and KID."""
    logits: Float[Tensor, "images 1008"]
    """Of the classes, without bias: for the Inception Score."""


class Inception:
    """The network of FID, KID and Inception Score; loaded at its first use.

    Args:
        weights: a file with its weights as torch-fidelity publishes them, its name at the end of `INCEPTION`;
            if not given, they are fetched.
    """

    def __init__(self, weights: Path | None = None) -> None:
        self._weights = weights

    @property
    def unavailable(self) -> str | None:
        """None if there is a network; otherwise one line with the reason and the file to give."""
        return self._loaded if isinstance(self._loaded, str) else None

    def features(
        self,
        images: Sequence[UInt8[np.ndarray, "height width 3"]],
        progress: Callable[[int, int], None] | None = None,
        batch: int = 16,
    ) -> InceptionFeatures:
        """Compute the network's features of images of any size: it resizes all of them to 299 × 299.

        Raises:
            Unavailable: there is no network.
        """
        network = self._loaded
        if isinstance(network, str):
            raise Unavailable(network)
        device = next(network.parameters()).device
        if len({image.shape for image in images}) > 1:
            batch = 1
        parts = []
        for start in range(0, len(images), batch):
            pixels = torch.from_numpy(np.stack(images[start : start + batch])).permute(0, 3, 1, 2)
            with torch.no_grad():
                parts.append([part.cpu() for part in network(pixels.to(device))])
            if progress is not None:
                progress(min(start + batch, len(images)), len(images))
        return InceptionFeatures(*(torch.cat(part) for part in zip(*parts, strict=True)))

    @cached_property
    def _loaded(self) -> nn.Module | str:
        try:
            weights = read_weights(self._weights, INCEPTION, "--weights.inception")
            return _network(weights, self._weights)
        except Unavailable as error:
            return str(error)


def kernel_inception_distance(
    real: Float[Tensor, "images 2048"], sampled: Float[Tensor, "samples 2048"], seed: int = 0
) -> float:
    """Compute KID: Bińkowski et al., "Demystifying MMD GANs" (ICLR 2018), section 4; unbiased for any number.

    The mean over random subsets of 1,000 images, or as many as the smaller set has. All images are used at
    once where both sets have that size. NaN below two images on either side.
    """
    size = min(len(real), len(sampled), KID_SUBSET)
    if size < 2:
        return math.nan
    from torchmetrics.image.kid import KernelInceptionDistance

    whole = size == len(real) == len(sampled)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        metric = KernelInceptionDistance(nn.Identity(), subsets=1 if whole else KID_SUBSETS, subset_size=size)
        metric.update(real.double(), real=True)
        metric.update(sampled.double(), real=False)
        mean, _ = metric.compute()
    return float(mean)


def frechet_inception_distance(
    real: Float[Tensor, "images 2048"], sampled: Float[Tensor, "samples 2048"]
) -> float:
    """Compute FID: Heusel et al., "GANs trained by a two time-scale update rule" (NeurIPS 2017), equation 6.

    It is too large with few images, and far too large below about 5,000. NaN below two images on either side.
    """
    if min(len(real), len(sampled)) < 2:
        return math.nan
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(_Given(real.shape[1]))
    metric.update(real.double(), real=True)
    metric.update(sampled.double(), real=False)
    return float(metric.compute())


def inception_score(logits: Float[Tensor, "images 1008"], seed: int = 0) -> float:
    """Compute the Inception Score.

    Salimans et al., "Improved techniques for training GANs" (NeurIPS 2016), section 4.

    The mean over ten groups drawn at random, over fewer where a group would have less than ten images. NaN
    below two images: one alone has no variety.
    """
    if len(logits) < 2:
        return math.nan
    from torchmetrics.image.inception import InceptionScore

    splits = min(INCEPTION_SCORE_SPLITS, max(len(logits) // 10, 1))
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        metric = InceptionScore(nn.Identity(), splits=splits)
        metric.update(logits.double())
        mean, _ = metric.compute()
    return float(mean)


class _Given(nn.Module):
    """Takes the place of torchmetrics' network: passes on features that are already computed."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        """Return the features as they are."""
        return features


def _network(weights: dict[str, Tensor], path: Path | None) -> nn.Module:
    import io

    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # torch-fidelity unpickles the file that it is given, so it gets a file of tensors only.
    checked = io.BytesIO()
    torch.save(dict(weights), checked)
    checked.seek(0)
    try:
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=checked
        )
    except RuntimeError as error:
        raise Unavailable(
            f"{path}: not the weights of Inception; --weights.inception takes {INCEPTION.rsplit('/', 1)[-1]}"
        ) from error
    return network.to("cuda" if torch.cuda.is_available() else "cpu")
