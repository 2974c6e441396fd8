"""How well a class model in training shows its identities from views that it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.datamanagers.transforms import read_frames, transforms_path
from nerfgen_ns.evaluation.image_metrics import foreground_psnr
from nerfgen_ns.evaluation.photographs import open_dataset, row_of_identity

RenderIdentity = Callable[[int, Cameras], Float[Tensor, "height width 3"]]
"""Renders the identity of a row of the latent table with one camera, of shape (1,)."""


class NewViews:
    """Views of a test folder, evenly spread over it: the same ones whoever is judged.

    Args:
        test: prepared folder with mattes, its identities numbered as those of `data`.
        data: the folder that is trained on.
        downscale_factor: how many times smaller than stored the views are rendered and judged.
        count: how many views at most.
    """

    def __init__(self, test: Path, data: Path, downscale_factor: int, count: int) -> None:
        self.dataset = open_dataset(test, downscale_factor)
        frames = read_frames(transforms_path(test))
        root = transforms_path(test).parent
        identities = {root / frame["file_path"]: frame["identity"] for frame in frames}
        rows = row_of_identity(data)
        total = len(self.dataset)
        self.chosen = [place * total // min(count, total) for place in range(min(count, total))]
        self.rows = [rows[identities[self.dataset.image_filenames[view]]] for view in self.chosen]

    def psnr(self, render: RenderIdentity) -> float:
        """Mean over the views of the PSNR in dB inside the matte."""
        values = []
        for view, row in zip(self.chosen, self.rows, strict=True):
            matte = self.dataset.get_numpy_matte(view)
            assert matte is not None, "the test folder has no mattes"
            image = torch.from_numpy(self.dataset.get_numpy_image(view) / np.float32(255))
            rendered = render(row, self.dataset.cameras[view : view + 1]).cpu()
            values.append(foreground_psnr(rendered, image, torch.from_numpy(matte / np.float32(255))))
        return float(np.mean(values))
