"""Metrics by networks: where their weights come from, and LPIPS, whose network is loaded at its first use."""

from __future__ import annotations

import hashlib
import http.client
import math
import pickle
import urllib.request
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.utils.files import replace_file

PATIENCE = 10.0
"""Seconds to wait for an answer from the network."""


class Unavailable(NerfgenError):
    """A metric cannot be computed here: one line with the reason and the file to give."""


def read_weights(path: Path | None, url: str, option: str) -> dict[str, Tensor]:
    """Read the weights of a network, or fetch them.

    Args:
        path: a file with them; if not given, torch's cache is used, and then the network.
        url: where they are published; its last part names the file.
        option: the option that gives the path, for the message.

    Raises:
        Unavailable: the file is missing or holds no weights, or they cannot be fetched.
    """
    name = url.rsplit("/", 1)[-1]
    if path is not None:
        try:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        except OSError as error:
            raise Unavailable(f"{path}: {error.strerror or error}; {option} takes {name}") from error
        except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
            raise Unavailable(f"{path}: not a file of weights; {option} takes {name}") from error
        if not isinstance(weights, dict) or not all(isinstance(part, Tensor) for part in weights.values()):
            raise Unavailable(f"{path}: not a file of weights; {option} takes {name}")
        return weights
    try:
        return torch.load(_fetched(url), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, http.client.HTTPException, pickle.UnpicklingError) as error:
        reason = getattr(error, "reason", None) or error
        raise Unavailable(
            f"{name} cannot be fetched ({reason}); get {url} on another machine and give the file as {option}"
        ) from error


def _fetched(url: str) -> Path:
    """Return the file of weights in torch's cache; fetch it first where it is missing.

    The end of its name is the beginning of its SHA-256, as torch names files.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            content = answer.read()
        if not hashlib.sha256(content).hexdigest().startswith(path.stem.rpartition("-")[2]):
            raise RuntimeError("the file that came is another one")
        with replace_file(path) as temporary:
            temporary.write_bytes(content)
    return path


BACKBONE = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
SMALLEST = 31
"""Pixels a side below which nothing is left for the network's second pooling."""


class Lpips:
    """Learned perceptual image patch similarity with AlexNet: Zhang et al. (CVPR 2018), by torchmetrics.

    The network is loaded at its first use.

        lpips = Lpips(weights)
        value = lpips(rendered, image)  # NaN where `lpips.unavailable` says why

    Args:
        weights: a file with the backbone's weights, as torchvision publishes them, its name at the end of
            `BACKBONE`; if not given, they are fetched. The linear layers come with torchmetrics.
    """

    def __init__(self, weights: Path | None = None) -> None:
        self._weights = weights

    @property
    def unavailable(self) -> str | None:
        """None if there is a network; otherwise one line with the reason and the file to give."""
        return self._loaded if isinstance(self._loaded, str) else None

    def __call__(
        self,
        rendered: Float[Tensor, "height width 3"],
        image: Float[Tensor, "height width 3"],
        matte: Float[Tensor, "height width"] | None = None,
    ) -> float:
        """Compute the distance of two images with colors in [0, 1]; lower is better.

        Args:
            rendered: the render; colors beyond [0, 1] are clipped.
            image: the truth.
            matte: if given, both are black where it does not exceed ½.

        Returns:
            0 for equal images; NaN where there is no network, where the matte is empty, where a color is not
            finite, and below 31 pixels a side.
        """
        network = self._loaded
        if isinstance(network, str) or min(image.shape[:2]) < SMALLEST:
            return math.nan
        if matte is not None:
            inside = (matte > 0.5)[..., None]
            if not bool(inside.any()):
                return math.nan
            rendered, image = torch.where(inside, rendered, 0.0), torch.where(inside, image, 0.0)
        first, second = (
            value.clamp(0.0, 1.0).permute(2, 0, 1)[None].float().cpu() for value in (rendered, image)
        )
        with torch.no_grad():
            return float(network(first, second, normalize=True))

    @cached_property
    def _loaded(self) -> nn.Module | str:
        try:
            return lpips_network(self._weights, "--weights.lpips")
        except Unavailable as error:
            return str(error)


def lpips_network(path: Path | None, option: str) -> nn.Module:
    """Load LPIPS with AlexNet; it takes two batches of images, and with `normalize=True` colors in [0, 1].

    Args:
        path: the weights of `Lpips`.
        option: the option that gives the path, for the message.

    Raises:
        Unavailable: there are no weights.
    """
    from torchmetrics.functional.image.lpips import _NoTrainLpips

    # torchmetrics' public functions take a backbone only from torchvision's own download.
    weights = read_weights(path, BACKBONE, option)
    network = _NoTrainLpips(net="alex", pnet_rand=True)
    try:
        # slice2.3.weight is features.3.weight in torchvision's file.
        own = {name: weights[f"features.{name.split('.', 1)[1]}"] for name in network.net.state_dict()}
        network.net.load_state_dict(own)
    except (KeyError, RuntimeError) as error:
        raise Unavailable(
            f"{path}: not the weights of AlexNet; {option} takes {BACKBONE.rsplit('/', 1)[-1]}"
        ) from error
    return network
