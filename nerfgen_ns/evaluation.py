"""Renders judged against test views whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig, number_photographs
from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.datamanagers.transforms import read_frames, rows_of_frames, transforms_path
from nerfgen_ns.errors import UsageError
from nerfgen_ns.metrics import psnr
from nerfgen_ns.run import Run, quiet_console


def foreground_psnr(
    rgb: Float[Tensor, "height width 3"],
    image: Float[Tensor, "height width 3"],
    matte: Float[Tensor, "height width"],
) -> float:
    """PSNR in dB over the pixels whose matte exceeds ½; colours in [0, 1]."""
    foreground = matte > 0.5
    return float(psnr(rgb[foreground], image[foreground]))


def depth_correlation(
    depth: Float[Tensor, "height width"],
    true_depth: Float[Tensor, "height width"],
    matte: Float[Tensor, "height width"],
) -> float:
    """Pearson's correlation of two z-depths over the pixels of matte above ½ and finite true depth."""
    judged = (matte > 0.5) & torch.isfinite(true_depth)
    return float(torch.corrcoef(torch.stack([depth[judged], true_depth[judged]]).double())[0, 1])


def z_depth(distance: Float[Tensor, "height width"], camera: Cameras) -> Float[Tensor, "height width"]:
    """Distances along the rays of one camera, of shape (1,), as depths along its optical axis."""
    directions = camera.generate_rays(camera_indices=0, keep_shape=True).directions
    return distance * (directions @ -camera.camera_to_worlds[0, :, 2].to(directions))


def shrink_depth(depth: Float[np.ndarray, "height width"], factor: int) -> Float[np.ndarray, "rows columns"]:
    """A depth map made smaller: of each block the lower median.

    It is a depth of the surface that fills most of the block and never a mixture of two; infinite where the
    background fills more than half.
    """
    rows, columns = depth.shape[0] // factor, depth.shape[1] // factor
    blocks = depth[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    ordered = np.sort(blocks.transpose(0, 2, 1, 3).reshape(rows, columns, -1), axis=-1)
    return ordered[..., (factor * factor - 1) // 2]


def row_of_identity(folder: Path) -> dict[int, int]:
    """The row of the latent table for each identity of the folder that a run was trained on."""
    frames = read_frames(transforms_path(folder))
    identities = (frame.get("identity", place) for place, frame in enumerate(frames))
    return dict(zip(identities, rows_of_frames(frames), strict=True))


def open_dataset(folder: Path, downscale_factor: int = 1) -> NerfgenDataset:
    """All photographs of a prepared folder, with their mattes and cameras."""
    config = NerfgenDataParserConfig(data=folder, downscale_factor=downscale_factor)
    with quiet_console():
        return NerfgenDataset(config.setup().get_dataparser_outputs(split="train"))


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
