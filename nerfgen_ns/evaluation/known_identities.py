"""Views of identities that a run was trained on, judged against the truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfgen_ns.datamanagers.data_parser import number_photographs
from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.datamanagers.transforms import read_frames, transforms_path
from nerfgen_ns.errors import UsageError
from nerfgen_ns.evaluation.depth_maps import shrink_depth, z_depth
from nerfgen_ns.evaluation.depth_metrics import depth_correlation
from nerfgen_ns.evaluation.image_metrics import foreground_psnr, psnr
from nerfgen_ns.evaluation.photographs import open_dataset, row_of_identity
from nerfgen_ns.run import Run


def evaluate_views(
    run: Run,
    test_folder: Path,
    downscale_factor: int = 1,
    max_views: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float | int]:
    """Render the views of a folder, each with the row of its identity, and compare them with the truth.

    Args:
        run: a trained run. The folder's identities are numbered as those of the run's own data.
        test_folder: a prepared folder; frames may name their z-depth under `depth_path`.
        downscale_factor: how many times smaller than stored the views are rendered and judged.
        max_views: judge this many, evenly spread; if not set, all.
        progress: called with the number of views done and their total.

    Returns:
        `views`, and means over them: `psnr` of whole images; with mattes, `foreground_psnr`; with depth too,
        `depth_correlation`.

    Raises:
        UsageError: a view shows an identity that the run was not trained on.
    """
    dataset = open_dataset(test_folder, downscale_factor)
    if transforms_path(test_folder).resolve() == transforms_path(run.data).resolve():
        number_photographs(dataset.cameras)
    root = transforms_path(test_folder).parent
    frames = {root / frame["file_path"]: frame for frame in read_frames(transforms_path(test_folder))}
    rows = row_of_identity(run.data)
    count = min(max_views or len(dataset), len(dataset))
    chosen = [place * len(dataset) // count for place in range(count)]
    values: dict[str, list[float]] = {}
    for done, view in enumerate(chosen, start=1):
        path = dataset.image_filenames[view]
        identity = frames[path].get("identity", view)
        if identity not in rows:
            raise UsageError(f"{path}: shows identity {identity}, which the run was not trained on")
        outputs = run.render(rows[identity], dataset.cameras[view : view + 1])
        for name, value in _judge(outputs, dataset, view, root, frames[path], downscale_factor).items():
            values.setdefault(name, []).append(value)
        if progress is not None:
            progress(done, count)
    return {"views": count, **{name: float(np.mean(value)) for name, value in values.items()}}


def _judge(
    outputs: dict[str, Tensor],
    dataset: NerfgenDataset,
    view: int,
    root: Path,
    frame: dict[str, Any],
    factor: int,
) -> dict[str, float]:
    rgb = outputs["rgb"].cpu()
    image = torch.from_numpy(dataset.get_numpy_image(view) / np.float32(255))
    values = {"psnr": float(psnr(rgb, image))}
    matte_bytes = dataset.get_numpy_matte(view)
    if matte_bytes is None:
        return values
    matte = torch.from_numpy(matte_bytes / np.float32(255))
    values["foreground_psnr"] = foreground_psnr(rgb, image, matte)
    if "depth_path" in frame:
        stored = np.load(root / frame["depth_path"])["depth"]
        true_depth = torch.from_numpy(shrink_depth(stored.astype(np.float32), factor))
        depth = z_depth(outputs["depth"][..., 0].cpu(), dataset.cameras[view : view + 1])
        values["depth_correlation"] = depth_correlation(depth, true_depth, matte)
    return values
