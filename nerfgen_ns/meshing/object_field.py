"""The field of one object: what a latent code makes of the class's foreground field."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerfgen_ns.model import NerfgenModel
from nerfgen_ns.rendering import ImportanceRenderer

CHUNK = 1 << 14
"""Positions evaluated at a time: their activations stay in the processor's cache."""


@dataclass(frozen=True)
class ObjectField:
    """Density and colour of one object at positions of the class frame, (n, 3), within [−1, 1]³."""

    density: Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n"]]
    """Density per unit of length."""
    density_and_colour: Callable[[Float[Tensor, "n 3"]], tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]]]
    """The same, and colours in [0, 1]."""
    near_class: Callable[[Float[Tensor, "n 3"]], Bool[Tensor, "n"]] | None = None
    """Where training found surfaces of any object of the class; None where that is not known."""
    device: torch.device = torch.device("cpu")  # noqa: RUF009
    """Where it computes."""


def object_field(model: NerfgenModel, code: Float[Tensor, "*one latent"]) -> ObjectField:
    """The field of one latent code, as it is now: training that goes on does not change it.

    What the code adds to the networks' layers is computed once, here. Full precision: of bf16's three digits
    a surface would have terraces.

    Raises:
        UsageError: the code has another size than the model's.
    """
    code = code.detach().reshape(1, -1)
    model.latent_table.check_code(code)
    field, renderer = copy.deepcopy(model.foreground_field), model.ray_renderer
    field.use_bf16 = False
    with torch.no_grad():
        terms = field.latent_terms(code.to(model.device))

    def density(positions: Tensor) -> Tensor:
        return field.density(positions[None], terms)[0]

    def density_and_colour(positions: Tensor) -> tuple[Tensor, Tensor]:
        densities, colours = field(positions[None], terms)
        return densities[0], colours[0]

    def near_class(positions: Tensor) -> Tensor:
        assert isinstance(renderer, ImportanceRenderer)
        return renderer.occupancy(positions) > 0

    return ObjectField(
        density,
        density_and_colour,
        near_class if isinstance(renderer, ImportanceRenderer) else None,
        torch.device(model.device),
    )
