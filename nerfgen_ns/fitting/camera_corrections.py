"""Small corrections of cameras that are found together with the codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nerfgen_ns.rigid_motions import rotation_matrices


@dataclass(frozen=True)
class CameraSpread:
    """How far cameras are expected to be off: standard deviations around the class frame's axes."""

    turn: float = 0.05
    """Of the turn around each axis through the origin, radians."""
    shift: float = 0.03
    """Of the shift along each axis, units of the class frame."""

    def rigid_motions(self, amounts: Float[Tensor, "n 6"]) -> Float[Tensor, "n 3 4"]:
        """Motions of the world from amounts in standard deviations: three shifts, then three turns."""
        shifts, turns = self.shift * amounts[:, :3], self.turn * amounts[:, 3:]
        return torch.cat([rotation_matrices(turns), shifts[..., None]], dim=-1)
