"""A panel of a few identities, drawn at intervals while a class is learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from nerfstudio.engine.trainer import Trainer
from nerfstudio.utils import writer
from nerfstudio.utils.rich_utils import CONSOLE

from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.model.class_view import ClassView
from nerfgen_ns.utils.spacing import evenly_spaced
from nerfgen_ns.visualization.contact_sheets import identity_sheet

EVENT = "Panels/identities"
"""The name under which event writers keep the panels."""
IDENTITIES = 4
"""Identities of a panel, at most."""
SIZE = 64
"""Width and height of each of its pictures in pixels: its cost grows with the square."""


def put_panel(trainer: Trainer, step: int) -> None:
    """Draw a panel and pass it to nerfstudio's event writers and to the viewer, if they are on.

    Training continues unchanged, even where a photograph can no longer be read.
    """
    try:
        panel = draw_panel(trainer, step)
    except NerfgenError as error:
        CONSOLE.print(f"No panel at step {step}: {error}")
        return
    writer.put_image(EVENT, torch.from_numpy(panel / np.float32(255)), step)
    model: Any = trainer.pipeline.model
    if model.viewer_panel is not None:
        model.viewer_panel.show_training(panel, step)


def draw_panel(trainer: Trainer, step: int) -> UInt8[np.ndarray, "height width 3"]:
    """Draw the photographs of a few identities and their present reconstruction; see `identity_sheet`."""
    manager: Any = trainer.pipeline.datamanager
    photographs: NerfgenDataset = manager.train_dataset
    model: Any = trainer.pipeline.model
    view = ClassView(model, photographs.cameras)
    model.eval()
    try:
        return identity_sheet(view, photographs, shown_identities(photographs), SIZE)
    finally:
        model.train()


def shown_identities(photographs: NerfgenDataset) -> list[int]:
    """Return rows of the latent table, evenly spread over the training photographs, the same each time."""
    assert photographs.cameras.metadata is not None
    rows = photographs.cameras.metadata["cam_idx"].flatten()[photographs.metadata["training_images"]].unique()
    return rows[evenly_spaced(len(rows), IDENTITIES, "ends_rounded_down")].tolist()
