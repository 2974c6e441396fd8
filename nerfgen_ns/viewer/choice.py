"""The panel's config, the choice that its controls make, and the latent code of it: no viewer, no model."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from jaxtyping import Float
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor

from nerfgen_ns.errors import UsageError
from nerfgen_ns.fields.query import Query
from nerfgen_ns.fields.regions import RegionConfig
from nerfgen_ns.latents.latent_space import Kind, LatentSpace, interpolate
from nerfgen_ns.latents.latent_table import LatentTable

Source = Literal["photograph", "mean", "sample", "file", "morph"]
SOURCES: tuple[Source, ...] = get_args(Source)
MOST_DEVIATIONS = 4.0
"""How far a code is moved along a direction at most, in standard deviations."""


@dataclass
class ViewerPanelConfig(InstantiateConfig):
    """The panel that chooses what nerfstudio's viewer shows."""

    _target: type = field(default_factory=lambda: _panel_class())
    """Target class to instantiate."""
    max_directions: int = 8
    """Sliders for the strongest directions of the latent table, at most."""
    frustum_scale: float = 0.7
    """Size of the photographs' frustums where --viewer.camera-frustum-scale has nerfstudio's default. The
    cameras are far away for a scene of this size: the default draws their photographs too small to click."""


def _panel_class() -> type:
    from nerfgen_ns.viewer.panel import ViewerPanel

    return ViewerPanel


class NamedCode(NamedTuple):
    """A latent code and what it is called."""

    name: str
    code: Float[Tensor, " latent"]


End = int | NamedCode
"""An end of a morph: a row of the latent table, which follows the training, or a code as it was."""


class CodesOfFile(NamedTuple):
    """What a file of codes holds; see `nerfgen_ns.latents.code_files`."""

    codes: Float[Tensor, "n latent"]
    names: list[str]


@dataclass(frozen=True, eq=False)
class Choice:
    """Which identity the panel shows, and in front of what."""

    source: Source = "photograph"
    """Where the identity comes from."""
    identity: int = 0
    """photograph: its row of the latent table."""
    seed: int = 0
    """sample: which one."""
    truncation: float = 0.8
    """sample: factor on the standard deviations of the latent table."""
    file: CodesOfFile | None = None
    """file: its contents."""
    file_row: int = 0
    """file: which of its codes, counted from 0."""
    first: End = 0
    """morph: A."""
    second: End = 0
    """morph: B."""
    share: float = 0.5
    """morph: how far from A to B, in [0, 1]."""
    kind: Kind = "linear"
    """morph: along the straight line, or along the arc around the table's mean."""
    amounts: tuple[float, ...] = ()
    """How far the code is then moved along the strongest directions, in standard deviations."""
    background: tuple[float, float, float] | None = None
    """Color in place of the background, red, green, blue in [0, 1]; None leaves it as learned."""
    region: RegionConfig | None = None
    """What is done to a part of the object; None where the class has neither labels nor features."""
    query: Query | None = None
    """What was clicked on to be found on every object; None: nothing yet."""

    def code(self, table: LatentTable, space: Callable[[], LatentSpace]) -> Float[Tensor, "1 latent"]:
        """Return the latent code that is chosen.

        Args:
            table: the latent table.
            space: gives its space; called only if needed.

        Raises:
            UsageError: there is no such identity, code or source, or a value is out of its range.
        """
        code = self._unmoved(table, space)
        if any(self.amounts):
            if not all(abs(amount) <= MOST_DEVIATIONS for amount in self.amounts):
                raise UsageError(f"a direction is moved along by −{MOST_DEVIATIONS:g} to {MOST_DEVIATIONS:g}")
            moved = self.amounts[: len(space().deviations)]
            code = space().move(code, code.new_tensor(moved))
        return code[None]

    def _unmoved(self, table: LatentTable, space: Callable[[], LatentSpace]) -> Float[Tensor, " latent"]:
        if self.source == "photograph":
            return table.row(self.identity)[0].detach()
        if self.source == "mean":
            return table.mean()[0].detach()
        if self.source == "sample":
            return space().sample(1, self.truncation, self.seed)[0]
        if self.source == "file":
            return self._named_of_file().code.to(table.codes.weight)
        if self.source == "morph":
            if not 0.0 <= self.share <= 1.0:
                raise UsageError(f"a morph goes from 0 (A) to 1 (B), got {self.share}")
            ends = (_code_of(self.first, table), _code_of(self.second, table))
            mean = table.mean()[0].detach() if self.kind == "spherical" else None
            return interpolate(*ends, self.share, self.kind, mean)
        raise UsageError(f"no identity comes from {self.source!r}: choose one of {', '.join(SOURCES)}")

    def _named_of_file(self) -> NamedCode:
        if self.file is None:
            raise UsageError("no codes yet: upload an .npz that `nerfgen sample` or `nerfgen fit` wrote")
        codes, names = self.file
        if not 0 <= self.file_row < len(codes):
            raise UsageError(f"the file has no code {self.file_row}: choose one from 0 to {len(codes) - 1}")
        return NamedCode(names[self.file_row], codes[self.file_row])

    def as_end(self, table: LatentTable, space: Callable[[], LatentSpace]) -> End:
        """Return what is chosen, as an end of a morph."""
        if self.source == "photograph" and not any(self.amounts):
            return self.identity
        return NamedCode(self.name(), self.code(table, space)[0])

    def name(self) -> str:
        """Return a short name of what is chosen, usable in a file name."""
        names = {
            "photograph": lambda: name_of(self.identity),
            "sample": lambda: f"sample_{self.seed}_truncation_{self.truncation:g}",
            "file": lambda: self._named_of_file().name,
            "morph": lambda: f"{name_of(self.first)}_to_{name_of(self.second)}_{self.share:.2f}",
        }
        name = names[self.source]() if self.source in names else self.source
        name = re.sub(r"[^\w.-]+", "_", name).strip("._")[:80] or "code"
        return f"{name}_moved" if any(self.amounts) else name


def name_of(end: End) -> str:
    """Return the name of an end of a morph."""
    return f"identity_{end}" if isinstance(end, int) else end.name


def _code_of(end: End, table: LatentTable) -> Float[Tensor, " latent"]:
    return table.row(end)[0].detach() if isinstance(end, int) else end.code.to(table.codes.weight)
