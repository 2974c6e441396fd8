"""2D feature extractors: what nerfgen asks of one, those that it brings, and those of other packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.preprocessing.landmarks.models import call_model, make_model
from nerfgen_ns.utils.files import read_whole
from nerfgen_ns.utils.images import from_bytes

FEATURE_EXTRACTORS = "nerfgen.feature_extractors"
"""The entry point group of extractors."""
Photograph = UInt8[np.ndarray, "height width 3"]


class FeatureExtractor(Protocol):
    """Tells at each place of a picture what is seen there, as a vector.

    It is made without arguments, or with the path of a model file.
    """

    def __call__(self, photograph: Photograph) -> Float[np.ndarray, "rows columns channels"]:
        """Compute the features of a picture: a grid, of any size, of equal cells that cover it whole."""
        ...


def open_extractor(name: str, file: Path | None = None) -> FeatureExtractor:
    """Make the extractor `name`, from a model file where one is given. What it returns is checked.

    Raises:
        UsageError: there is no such extractor, or its file cannot be used.
        NerfgenError: it cannot be made, or returns what cannot be features.
    """
    model, what = make_model(FEATURE_EXTRACTORS, name, file), f"feature extractor {name!r}"
    channels: list[int] = []

    def checked(photograph: Photograph) -> Float[np.ndarray, "rows columns channels"]:
        features = np.asarray(call_model(what, model, photograph))
        if features.ndim != 3 or 0 in features.shape or features.dtype.kind not in "fiu":
            raise NerfgenError(
                f"{what}: returned an array of shape {features.shape}; return numbers of shape "
                "(rows, columns, channels)"
            )
        if not np.isfinite(features).all():
            raise NerfgenError(f"{what}: returned values that are no finite numbers; correct it")
        channels.append(features.shape[2])
        if channels[0] != channels[-1]:
            raise NerfgenError(
                f"{what}: returned {channels[-1]} channels after {channels[0]}; return always as many"
            )
        del channels[1:]
        return features.astype(np.float32, copy=False)

    return checked


class Daisy:
    """The dense descriptor DAISY (Tola et al., TPAMI 2010), of scikit-image. It needs no weights.

    Raises:
        UsageError: a model file is given.
    """

    LONGEST = 128
    """Larger pictures are made smaller, so that their longer side has as many pixels."""
    CELLS = 64
    """Most cells along the longer side."""
    RADIUS = 0.1
    """Radius of a descriptor as a share of the longer side."""

    def __init__(self, file: Path | None = None) -> None:
        if file is not None:
            raise UsageError(f"--features-file {file}: daisy takes no file; leave it out")

    def __call__(self, photograph: Photograph) -> Float[np.ndarray, "rows columns 200"]:
        """Compute the descriptors at the middles of cells."""
        from skimage.feature import daisy

        picture = Image.fromarray(photograph)
        picture.thumbnail((self.LONGEST, self.LONGEST), Image.Resampling.BOX)
        gray = np.asarray(picture, dtype=np.float64) @ np.array([0.299, 0.587, 0.114]) / 255.0
        longer = max(gray.shape)
        radius = max(4, round(self.RADIUS * longer))
        # The picture goes on at its borders, so that every cell has a descriptor. It is of the corner between
        # four pixels, since gradients are differences: with a step of 2, of a cell's middle.
        padded = np.pad(gray, radius, mode="edge")
        return daisy(padded, step=-(-longer // self.CELLS), radius=radius).astype(np.float32)


class Transformer:
    """The last tokens of a vision transformer, one for each patch of a picture.

    Args:
        file: TorchScript, or safetensors with the tensors of such a transformer as timm and its authors name
            them; if not given, the weights are fetched by `torch.hub`.

    Raises:
        UsageError: the file is of another kind.
        NerfgenError: it is damaged, or the weights cannot be had.
    """

    NAME: ClassVar[str]
    URL: ClassVar[str]
    """Where the authors publish the weights."""
    SIDE: ClassVar[int]
    """Width and height in pixels of what the network sees; pictures are stretched to it."""
    MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    """Of the colors of the pictures that the networks learned from."""

    def __init__(self, file: Path | None = None) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network = self._fetched() if file is None else _network_of_file(file, self.SIDE)
        self.network = network.eval().to(self.device)

    def _fetched(self) -> nn.Module:
        try:
            # The restricted reader: it makes tensors and calls nothing that the file names.
            tensors = torch.hub.load_state_dict_from_url(
                self.URL, map_location="cpu", progress=False, weights_only=True
            )
        # Networks, proxies and disks fail with errors of many classes.
        except Exception as error:
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise NerfgenError(
                f"the weights of {self.NAME} cannot be had from {self.URL} ({reason}); fetch them elsewhere "
                "and give them as --features-file in safetensors or TorchScript, or take --features daisy"
            ) from error
        return vision_transformer(tensors, self.SIDE)

    @torch.no_grad()
    def __call__(self, photograph: Photograph) -> Float[np.ndarray, "rows columns channels"]:
        """Compute the tokens of the patches."""
        image = from_bytes(np.ascontiguousarray(photograph)).permute(2, 0, 1)[None].to(self.device)
        image = F.interpolate(image, (self.SIDE, self.SIDE), mode="bicubic", antialias=True).clamp(0.0, 1.0)
        mean, std = (image.new_tensor(values).view(1, 3, 1, 1) for values in (self.MEAN, self.STD))
        found = self.network((image - mean) / std)
        return patch_grid(found).float().cpu().numpy()


def patch_grid(tokens: Any) -> Float[Tensor, "rows columns channels"]:
    """Return the output of a network for one picture as a grid.

    Args:
        tokens: (1, channels, rows, columns), or (1, tokens, channels) with the tokens of a square of patches
            last, after those of the class and of registers.

    Raises:
        NerfgenError: it is something else.
    """
    if not isinstance(tokens, Tensor) or tokens.ndim not in (3, 4) or len(tokens) != 1:
        shape = tuple(tokens.shape) if isinstance(tokens, Tensor) else type(tokens).__name__
        raise NerfgenError(
            f"--features-file: the network returned {shape}; it has to return (1, tokens, channels) or "
            "(1, channels, rows, columns)"
        )
    if tokens.ndim == 4:
        return tokens[0].permute(1, 2, 0)
    side = int(tokens.shape[1] ** 0.5)
    return tokens[0, tokens.shape[1] - side * side :].reshape(side, side, -1)


class Dino(Transformer):
    """DINO, ViT-S/8: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021."""

    NAME, SIDE = "dino", 224
    URL = "https://dl.fbaipublicfiles.com/dino/dino_deitsmall8_pretrain/dino_deitsmall8_pretrain.pth"


class DinoV2(Transformer):
    """DINOv2, ViT-S/14: Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023."""

    NAME, SIDE = "dinov2", 448
    URL = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth"


SCRIPTS = (".pt", ".ts", ".torchscript")


def _network_of_file(file: Path, side: int) -> nn.Module:
    """Read a network. Nothing in a file is unpickled."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.is_file():
        raise UsageError(f"--features-file {file}: no such file; give TorchScript or safetensors")
    fix = "save it again as TorchScript (torch.jit.save) or safetensors"
    if file.suffix in SCRIPTS:
        with read_whole(file, fix):
            return torch.jit.load(str(file), map_location="cpu")
    if file.suffix != ".safetensors":
        raise UsageError(
            f"--features-file {file}: not read, since other files may hold programs; {fix}, with the suffix "
            f"{SCRIPTS[0]} or .safetensors"
        )
    with read_whole(file, fix):
        try:
            tensors = load_file(file)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        return vision_transformer(tensors, side)


WIDTH_OF_HEAD = 64
"""Channels of an attention head in all published sizes."""


class PatchTokens(nn.Module):
    """A vision transformer of timm, without its head."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 tokens channels"]:
        """Compute the last tokens."""
        return self.network.forward_features(image)


def vision_transformer(tensors: dict[str, Tensor], side: int) -> PatchTokens:
    """Make the vision transformer that tensors belong to, for pictures of another size.

    Args:
        tensors: named as timm and the authors of DINO and DINOv2 do.
        side: about the width and height of its pictures in pixels, which is a whole number of patches.

    Raises:
        NerfgenError: they are those of another architecture.
    """
    from timm.models.vision_transformer import VisionTransformer

    try:
        patches = tensors["patch_embed.proj.weight"]
        width, _, patch, _ = patches.shape
        numbers = {int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")}
        hidden = tensors["blocks.0.mlp.fc1.weight"].shape[0]
        network = VisionTransformer(
            img_size=side // patch * patch,
            patch_size=patch,
            embed_dim=width,
            depth=len(numbers),
            num_heads=max(1, width // WIDTH_OF_HEAD),
            mlp_ratio=hidden / width,
            num_classes=0,
            init_values=1.0 if "blocks.0.ls1.gamma" in tensors else None,
        )
        own = network.state_dict()
        used = {name: tensor for name, tensor in tensors.items() if name in own}
        used["pos_embed"] = _resized_positions(tensors["pos_embed"], own["pos_embed"].shape[1])
        extra = [name for name in tensors if name not in own and name.startswith(("blocks.", "register"))]
        if extra:
            raise ValueError(f"{extra[0]} is of another architecture")
        network.load_state_dict(used)
    except (ArithmeticError, LookupError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise NerfgenError(
            f"--features-file: not the tensors of a vision transformer of DINO, DINOv2 or timm ({reason}); "
            "save the network as TorchScript"
        ) from error
    return PatchTokens(network)


def _resized_positions(positions: Float[Tensor, "1 tokens channels"], tokens: int) -> Tensor:
    """Return the embedding of positions for another number of patches; the class's token stays."""
    before, after = (round((count - 1) ** 0.5) for count in (positions.shape[1], tokens))
    if before == after:
        return positions
    grid = positions[:, 1:].reshape(1, before, before, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid.float(), (after, after), mode="bicubic", antialias=True)
    return torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2).to(positions)], dim=1)
