"""What a run shows in place of a folder's photographs: rendered once, judged by every protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.evaluation.depth_maps import z_depth
from nerfgen_ns.evaluation.fitted_codes import FittedView, fit_views
from nerfgen_ns.evaluation.protocol import Progress
from nerfgen_ns.evaluation.saved_renders import SavedRenders
from nerfgen_ns.evaluation.subjects import KINDS, Kind, View, views_of
from nerfgen_ns.evaluation.test_folder import TestFolder
from nerfgen_ns.evaluation.training_folder import TrainingFolder
from nerfgen_ns.fitting.config import FitConfig
from nerfgen_ns.pictures import to_bytes
from nerfgen_ns.run import Run


@dataclass(frozen=True)
class Render:
    """One photograph and the render in its place, of one size."""

    view: View
    """Which it is."""
    file: str
    """The photograph's file."""
    camera: Cameras
    """Its camera, of shape (1,)."""
    photograph: UInt8[np.ndarray, "height width 3"]
    """The truth."""
    matte: Float[Tensor, "height width"] | None
    """The photograph's matte, if it has one."""
    rgb: UInt8[np.ndarray, "height width 3"]
    """The render as a picture holds it: that is what is judged, so that saved renders score the same."""
    depth: Float[Tensor, "height width"]
    """Its z-depth, in the class's units."""
    accumulation: Float[Tensor, "height width"]
    """Its accumulation, in [0, 1]."""
    normals: Float[Tensor, "height width 3"]
    """Its normals in the class frame, as the model's colours in [0, 1]."""

    @property
    def colours(self) -> Float[Tensor, "height width 3"]:
        """The render in [0, 1]."""
        return torch.from_numpy(self.rgb / np.float32(255))

    @property
    def true_colours(self) -> Float[Tensor, "height width 3"]:
        """The photograph in [0, 1]."""
        return torch.from_numpy(self.photograph / np.float32(255))


class FolderRenders:
    """The judged photographs of a folder beside their renders.

    Codes are fitted and views are rendered when they are first asked for, and kept.

    Args:
        run: the trained run.
        folder: the photographs.
        training: what the run was trained on.
        fit: how the codes of new objects are found.
        most: of each kind so many views, evenly spread; None: all.
        saved: keeps every render on disk; None: none is.
    """

    def __init__(
        self,
        run: Run,
        folder: TestFolder,
        training: TrainingFolder,
        fit: FitConfig | None = None,
        most: int | None = None,
        saved: SavedRenders | None = None,
    ) -> None:
        self.folder = folder
        self.fit = fit or FitConfig()
        self.training = training
        self._run = run
        self._most, self._saved = most, saved
        self._fitted: dict[int, FittedView] = {}
        self._rendered: dict[View, Render] = {}

    @cached_property
    def views(self) -> list[View]:
        """The photographs that are judged."""
        return views_of(self.folder, self.training, self._most)

    def of(self, kinds: Sequence[Kind] = KINDS) -> list[View]:
        """The judged photographs of some kinds."""
        return [view for view in self.views if view.kind in kinds]

    def render(self, views: Sequence[View], progress: Progress) -> list[Render]:
        """Renders of views, in their order.

        Raises:
            UsageError: codes cannot be fitted.
            NerfgenError: a photograph cannot be read, or renders cannot be saved.
        """
        unknown = [
            view
            for view in views
            if view.kind in ("new identities", "new photographs")
            and view.number not in self._fitted
            and self.folder.codes is None
        ]
        if unknown:
            self._fitted |= fit_views(self._run, self.folder, unknown, self.fit, progress)
        renders = []
        for done, view in enumerate(views, start=1):
            if view not in self._rendered:
                self._rendered[view] = self._render(view)
            renders.append(self._rendered[view])
            progress(done, len(views))
        return renders

    def _render(self, view: View) -> Render:
        folder = self.folder
        camera = folder.camera(view.number)
        if view.kind == "training photographs":
            # Its camera as training corrected it.
            camera.metadata = {**(camera.metadata or {}), "photograph": torch.tensor([[view.number]])}
        fitted = self._fitted.get(view.number)
        if fitted is not None and fitted.camera_to_world is not None:
            camera.camera_to_worlds = fitted.camera_to_world[None].to(camera.camera_to_worlds)
        outputs = self._run.render(self._code(view), camera)
        outputs = {name: value.cpu() for name, value in outputs.items()}
        render = Render(
            view=view,
            file=folder.file_of(view.number),
            camera=camera,
            photograph=folder.dataset.get_numpy_image(view.number),
            matte=folder.matte(view.number),
            rgb=to_bytes(outputs["rgb"]),
            depth=z_depth(outputs["depth"][..., 0].float(), camera),
            accumulation=outputs["accumulation"][..., 0].float(),
            normals=outputs["normals"].float(),
        )
        if self._saved is not None:
            self._saved.keep(folder.name, render)
        return render

    def _code(self, view: View) -> Float[Tensor, "1 latent"] | int:
        if self.folder.codes is not None:
            return self.folder.codes[view.number : view.number + 1]
        if view.kind == "training photographs":
            return int(self.folder.camera(view.number).metadata["cam_idx"])  # type: ignore[index]
        if view.kind == "seen identities":
            assert view.identity is not None
            return self.training.rows[view.identity]
        return self._fitted[view.number].code
