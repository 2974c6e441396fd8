"""Which identity a ray shows: only this module decides it."""

from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, UInt8
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nerfgen_ns.fields.query import Query
from nerfgen_ns.fields.regions import RegionConfig
from nerfgen_ns.latents.latent_table import LatentTable


class Shown(NamedTuple):
    """What a person who looks at the model wants to see; None where they want nothing in particular."""

    code: Float[Tensor, "1 latent"] | None = None
    """The latent code."""
    background: tuple[float, float, float] | None = None
    """The color in place of the background: red, green, blue in [0, 1]."""
    region: RegionConfig | None = None
    """What is done to parts of the object, in place of what the model's configuration says."""
    query: Query | None = None
    """What the output `similarity` looks for, and a region without labels is, in place of the run's query."""


class ViewerHook(Protocol):
    """Says what nerfstudio's viewer shows of a model, and shows the progress of training."""

    def shown(self, ray_bundle: RayBundle) -> Shown:
        """Return what rays show; nothing in particular, if they are not the viewer's."""

    def show_training(self, panel: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Show a picture of the class as it was at a training step."""


def codes_of_rays(
    table: LatentTable, ray_bundle: RayBundle, override: Float[Tensor, "1 latent"] | None, default: int | None
) -> Float[Tensor, "codes latent"]:
    """Return the latent codes that rays show: one for all of them, or one each.

    In order of precedence: the override (a control of the viewer, a pinned code); `metadata["cam_idx"]`, a
    number for all rays or a row for each; the default identity; the table's mean. Training rays carry their
    rows in `metadata["cam_idx"]`, as do the cameras of the data set.

    Raises:
        UsageError: the identity does not exist.
    """
    if override is not None:
        return override
    shown: Tensor | int | None = ray_bundle.metadata.get("cam_idx")
    if isinstance(shown, Tensor):
        return table(shown[:, 0])
    if shown is None:
        shown = default
    return table.mean() if shown is None else table.row(int(shown))
