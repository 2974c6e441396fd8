"""The panel's controls, as viser shows them."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from jaxtyping import UInt8
from viser import GuiApi, GuiMarkdownHandle

from nerfgen_ns.fields.regions import Effect, RegionConfig
from nerfgen_ns.latents.latent_space import Kind
from nerfgen_ns.utils.images import data_url
from nerfgen_ns.viewer.choice import MOST_DEVIATIONS, SOURCES, Choice, name_of

BACKGROUNDS = ("learned", "none", "color")
MESH_CELLS = ("64", "128", "256")
MESH_KINDS = (".ply", ".glb", ".obj")


class Controls:
    """A folder of controls above nerfstudio's own. Only those of the chosen source are visible.

    Args:
        gui: where to put them.
        identities: rows of the latent table.
        directions: how many sliders there are for the strongest directions.
        start: the first values of the controls.
        parts: the labels of the object, without the background; none where there are no labels.
        load_config: the run, for the commands that do what controls do.
    """

    def __init__(
        self,
        gui: GuiApi,
        identities: int,
        directions: int,
        start: Choice,
        parts: tuple[str, ...] = (),
        load_config: Path = Path("RUN/config.yml"),
    ) -> None:
        with gui.add_folder("Identity", order=-1.0):
            self.source = gui.add_dropdown(
                "Shown", SOURCES, start.source, hint="Where the shown identity comes from"
            )
            self.identity = gui.add_number(
                "Number",
                start.identity,
                min=0,
                max=identities - 1,
                step=1,
                hint="The photograph's identity; a click on a photograph in the scene chooses it too",
            )
            self.seed = gui.add_number("Seed", start.seed, min=0, step=1, hint="Which sample")
            self.truncation = gui.add_slider(
                "Truncation", 0.0, 1.0, 0.05, start.truncation, hint="0: the mean; 1: as varied as the class"
            )
            self.file_row = gui.add_number(
                "Code", start.file_row, min=0, step=1, hint="Which code of the file, counted from 0"
            )
            self.share = gui.add_slider("A to B", 0.0, 1.0, 0.01, start.share)
            self.kind = gui.add_dropdown(
                "Way", ("linear", "spherical"), start.kind, hint="A straight line, or an arc around the mean"
            )
            self.first = gui.add_text("A", name_of(start.first), disabled=True)
            self.second = gui.add_text("B", name_of(start.second), disabled=True)
            self.upload = gui.add_upload_button(
                "Upload codes",
                mime_type=".npz",
                hint="A file of nerfgen sample, nerfgen fit or Save code",
                color="gray",
            )
            self.set_first = gui.add_button(
                "Set as A", hint="A morph begins with what is shown", color="gray"
            )
            self.set_second = gui.add_button("Set as B", hint="A morph ends with what is shown", color="gray")
            with gui.add_folder("Directions", expand_by_default=False):
                self.amounts = [
                    gui.add_slider(
                        f"Direction {number}",
                        -MOST_DEVIATIONS,
                        MOST_DEVIATIONS,
                        0.1,
                        0.0,
                        hint="Standard deviations along a principal direction of the latent table",
                    )
                    for number in range(1, directions + 1)
                ]
            self.background = gui.add_dropdown("Background", BACKGROUNDS)
            self.color = gui.add_rgb("Color", (255, 255, 255))
            with gui.add_folder("Save", expand_by_default=False):
                self.save_code = gui.add_button("Save code", hint="As .npz, into the run's folder")
                self.mesh_cells = gui.add_dropdown(
                    "Cells", MESH_CELLS, "128", hint="Cells along each side of the mesh's lattice"
                )
                self.mesh_kind = gui.add_dropdown("File", MESH_KINDS)
                self.save_mesh = gui.add_button("Save mesh", hint="Into the run's folder")
            self.face = gui.add_button(
                "Usual camera", hint="Look at the object as the class is usually seen", color="gray"
            )
            self.reset = gui.add_button("Reset", hint="Set all of this to its first values", color="gray")
        self.region = None if start.region is None else RegionControls(gui, parts, start.region, load_config)
        self.values: list[Any] = [
            *(self.identity, self.seed, self.truncation, self.file_row, self.share, self.kind),
            *self.amounts,
            *(self.background, self.color),
            *([] if self.region is None else self.region.values),
        ]
        self._of_source: dict[str, list[Any]] = {
            "photograph": [self.identity],
            "sample": [self.seed, self.truncation],
            "file": [self.file_row],
            "morph": [self.share, self.kind, self.first, self.second],
        }
        self._start = [(control, control.value) for control in (self.source, *self.values)]
        self._gui = gui
        self._training: GuiMarkdownHandle | None = None
        self.update(start)

    def read(self, before: Choice) -> Choice:
        """Return the choice of the controls now; what no control holds is as before."""
        red, green, blue = (level / 255.0 for level in self.color.value)
        backgrounds = {"none": (0.0, 0.0, 0.0), "color": (red, green, blue)}
        return replace(
            before,
            source=self.source.value,
            identity=self.identity.value,
            seed=self.seed.value,
            truncation=self.truncation.value,
            file_row=self.file_row.value,
            share=self.share.value,
            kind=cast(Kind, self.kind.value),
            amounts=tuple(slider.value for slider in self.amounts),
            background=backgrounds.get(self.background.value),
            region=None if self.region is None else self.region.read(),
        )

    def update(self, choice: Choice) -> None:
        """Show only the controls of the chosen source, and what A and B are."""
        for source, controls in self._of_source.items():
            for control in controls:
                control.visible = source == choice.source
        self.color.visible = self.background.value == "color"
        if self.region is not None:
            self.region.update()
        _assign(self.first, name_of(choice.first))
        _assign(self.second, name_of(choice.second))

    def show_training(self, panel: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Show a picture of the class at a training step below the controls, in place of the one before."""
        content = f"Step {step:,}\n\n![]({data_url(panel)})"
        if self._training is None:
            with self._gui.add_folder("Training", order=-0.5, expand_by_default=False):
                # The root is for files; without one viser prints a warning, even if there are no files.
                self._training = self._gui.add_markdown(content, image_root=Path())
        else:
            self._training.content = content

    def choose_photograph(self, identity: int) -> None:
        """Set the controls to the photograph of an identity."""
        _assign(self.source, "photograph")
        _assign(self.identity, identity)

    def choose_file(self) -> None:
        """Set the controls to the first code of the file."""
        _assign(self.source, "file")
        _assign(self.file_row, 0)

    def stand_still(self) -> None:
        """Set all directions to 0."""
        for slider in self.amounts:
            _assign(slider, 0.0)

    def restart(self) -> None:
        """Set every control to its first value."""
        for control, value in self._start:
            _assign(control, value)


class RegionControls:
    """A folder of controls of what is done to a part of the object.

    Args:
        gui: where to put them.
        parts: the labels of the object.
        start: the first values of the controls.
        load_config: the run, for the command that does the same.
    """

    def __init__(self, gui: GuiApi, parts: tuple[str, ...], start: RegionConfig, load_config: Path) -> None:
        self._labels: dict[str, tuple[str, ...]] = {part: (part,) for part in parts}
        if start.labels:
            self._labels = {" + ".join(start.labels): start.labels} | self._labels
        self._load_config = load_config
        with gui.add_folder("Parts", order=-0.7, expand_by_default=start.effect != "none"):
            self.effect = gui.add_dropdown(
                "Effect",
                get_args(Effect),
                start.effect,
                hint="What is done to a part; nerfgen region does it",
            )
            self.part = gui.add_dropdown("Part", tuple(self._labels), hint="Which part, as labels tell it")
            self.color = gui.add_rgb("New color", start.color or (200, 50, 50))
            self.min_probability = gui.add_slider(
                "Least probability", 0.05, 0.95, 0.05, start.min_probability, hint="Less: a larger part"
            )
            self.softness = gui.add_slider(
                "Softness", 0.05, 2.0, 0.05, start.softness, hint="How gradually the part ends"
            )
            # The root is for files; without one viser prints a warning, even if there are no files.
            self.command = gui.add_markdown("", image_root=Path())
        self.values: list[Any] = [*(self.effect, self.part, self.color, self.min_probability, self.softness)]

    def read(self) -> RegionConfig:
        """Return what the controls say now."""
        effect = cast(Effect, self.effect.value)
        red, green, blue = self.color.value
        return RegionConfig(
            effect,
            self._labels[self.part.value],
            (red, green, blue) if effect == "recolor" else None,
            self.min_probability.value,
            self.softness.value,
        )

    def update(self) -> None:
        """Show only the controls that the effect needs, and the command that does the same."""
        region = self.read()
        for control in self.values[1:]:
            control.visible = region.effect != "none"
        self.color.visible = region.effect == "recolor"
        _assign(
            self.command, f"```\n{self._command(region)}\n```" if region.effect != "none" else "", "content"
        )

    def _command(self, region: RegionConfig) -> str:
        words = ["nerfgen", "region", "--load-config", str(self._load_config), "--labels", *region.labels]
        words += ["--effect", region.effect]
        if region.color is not None:
            words += ["--color", *map(str, region.color)]
        usual = RegionConfig()
        for name in ("min_probability", "softness"):
            if getattr(region, name) != getattr(usual, name):
                words += [f"--{name.replace('_', '-')}", f"{getattr(region, name):g}"]
        return shlex.join([*words, "--output-dir", "EDITED"])


def _assign(control: Any, value: Any, attribute: str = "value") -> None:
    """Set a control to a value; if it has the value already, do nothing, so that no callback runs."""
    if getattr(control, attribute) != value:
        setattr(control, attribute, value)
