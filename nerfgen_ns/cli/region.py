"""`nerfgen region`: parts of objects removed, extracted or recolored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(kw_only=True)
class Region:
    """Write a run in which parts of every object are removed, extracted or recolored.

    The networks stay as they are. Whatever shows the new run shows the effect: the viewer, `ns-render`,
    `ns-export` and every command of nerfgen.
    """

    load_config: Path
    """The config.yml of a run of `nerfgen label` or `nerfgen find`, or a packed run with labels."""
    labels: tuple[str, ...] = ()
    """The parts, by the names of their labels; if not set, what `nerfgen find` looked for."""
    effect: Literal["remove", "extract", "recolor"]
    """remove: the parts are not there; extract: only they are there; recolor: they get another color and keep
    their shading."""
    output_dir: Path
    """The run folder to make: new, empty, or one of an earlier call, which is then replaced."""
    color: tuple[int, int, int] | None = None
    """The new color, for recolor: red, green, blue, 0 to 255."""
    threshold: float | None = None
    """The probability of the labels from which something belongs to the parts, if not set 0.5; of what was
    looked for, the similarity, if not set 0.8. Less makes the parts larger."""
    softness: float = 0.25
    """How gradually the parts end: 0.01, sharply, to 10."""

    def run(self) -> None:
        """Write the run and print its path.

        Raises:
            UsageError: there is no such run, it has neither labels nor a query, an option makes no sense, or
                the folder holds something else.
            NerfgenError: no object shows the parts to recolor, or the folder cannot be written.
        """
        from nerfgen_ns.fields.regions import RegionConfig
        from nerfgen_ns.semantics.regions import edit_region, usual_threshold

        threshold = usual_threshold(self.labels) if self.threshold is None else self.threshold
        region = RegionConfig(self.effect, self.labels, self.color, threshold, self.softness)
        print(edit_region(self.load_config, self.output_dir, region))
