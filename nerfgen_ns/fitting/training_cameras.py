"""The cameras of the photographs that a run was trained on, found anew with its networks held still."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nerfgen_ns.allocator import keep_freed_memory
from nerfgen_ns.datamanagers.pixel_store import PixelStore
from nerfgen_ns.evaluation.photographs import open_dataset
from nerfgen_ns.fitting.camera_corrections import CameraSpread
from nerfgen_ns.fitting.code_fit import Progress, fit_codes
from nerfgen_ns.fitting.config import FitConfig
from nerfgen_ns.fitting.find import latent_space_of, looked_at_factor
from nerfgen_ns.fitting.sampling import Views
from nerfgen_ns.rigid_motions import move_cameras
from nerfgen_ns.run import Run


def refit_cameras(
    run: Run,
    config: FitConfig | None = None,
    start: Float[Tensor, "photographs 3 4"] | None = None,
    progress: Progress | None = None,
) -> tuple[list[str], Float[Tensor, "photographs 3 4"]]:
    """Find the cameras of a run's photographs together with new codes, all of them from the table's mean.

    A code that learned beside a wrong camera has made up for it, and networks that move learn to. Here the
    networks stand still, as many errors as they have seen cancel in them, and the Gaussian of the table
    holds the codes to objects that are usual: what is unusual about a photograph is then its camera.

    Args:
        run: a trained run; it stays as it is. Photographs set aside in training are found as well.
        config: see `fit_codes`; with `downscale_factor` the photographs are looked at as it says.
        start: where the search begins, in the run's class frame; if None, at the cameras of the data.
        progress: called with the number of steps done and their total.

    Returns:
        The image files in the order of the run's photographs, and their camera-to-world matrices, in float64.

    Raises:
        UsageError: the data has changed so that it cannot be read, or the latent table has no spread.
    """
    config = config or FitConfig()
    space = latent_space_of(run)
    dataset = open_dataset(run.photographs, looked_at_factor(run, config))
    cameras = dataset.cameras
    matrices = (cameras.camera_to_worlds if start is None else start).double()
    cameras.camera_to_worlds = matrices.float()
    if run.model.device.type == "cpu":
        keep_freed_memory()
    every = torch.arange(len(dataset))
    assert cameras.metadata is not None
    objects = cameras.metadata["cam_idx"][:, 0].long()
    views = Views(PixelStore(dataset, every.numpy()), every, cameras, objects)
    motions = fit_codes(run.model, space, views, config, CameraSpread(), progress).motions
    names = [str(name) for name in dataset.image_filenames]
    return names, move_cameras(matrices, motions.to(matrices))
