"""Renders of a run in place of a folder's photographs: each is rendered once, for all protocols."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.cameras.trajectories import turned_cameras
from nerfgen_ns.dataset_format.transforms import transforms_path, write_transforms
from nerfgen_ns.evaluation.folders import TestFolder, TrainingFolder, open_test_folder
from nerfgen_ns.evaluation.protocol import Progress
from nerfgen_ns.inversion.config import FitConfig
from nerfgen_ns.inversion.inputs import write_folder
from nerfgen_ns.inversion.inversion import Stages, find, silent
from nerfgen_ns.metrics.geometry import z_depth
from nerfgen_ns.preprocessing.report.prepare_report import Rejection
from nerfgen_ns.runs.run import Run
from nerfgen_ns.utils.files import replace_file
from nerfgen_ns.utils.images import from_bytes, to_bytes, write_image
from nerfgen_ns.utils.spacing import evenly_spaced

Kind = Literal["training photographs", "seen identities", "new identities", "new photographs"]
"""Photographs that the run was trained on, each shown by its row; other views of those identities; views of
new identities, fitted to other photographs of them; photographs that are fitted themselves."""
KINDS: tuple[Kind, ...] = ("training photographs", "seen identities", "new identities", "new photographs")
Anything = TypeVar("Anything")


@dataclass(frozen=True)
class View:
    """One photograph that is judged."""

    number: int
    """Its place in the folder."""
    kind: Kind
    """How the code of its object is found."""
    identity: int | str | None
    """Its object, as the folder names it."""


def views_of(folder: TestFolder, training: TrainingFolder, most: int | None = None) -> list[View]:
    """Return the photographs of a folder that are judged.

    An identity that the run was trained on is known by its number, the same in both folders. A photograph
    without an identity is an object of its own. Photographs with the role `query` are for fitting. They are
    not judged where their identity has a `target`.

    Args:
        most: at most this many of each kind, evenly spread; if not set, all.
    """
    trained = training.files
    roles: dict[int | str | None, set[str | None]] = {}
    for number in folder.chosen:
        frame = folder.frames[number]
        roles.setdefault(frame.identity, set()).add(frame.role)
    views: dict[Kind, list[View]] = {kind: [] for kind in KINDS}
    for number in folder.chosen:
        frame = folder.frames[number]
        identity = frame.identity
        kind: Kind
        if folder.dataset.image_filenames[number].resolve() in trained:
            kind = "training photographs"
        elif folder.codes is not None or identity is None:
            kind = "new photographs"
        elif identity in training.rows:
            kind = "seen identities"
        elif {"query", "target"} <= roles[identity]:
            if frame.role == "query":
                continue
            kind = "new identities"
        else:
            kind = "new photographs"
        views[kind].append(View(number, kind, identity))
    return [view for kind in KINDS for view in evenly(views[kind], most)]


def evenly(these: Sequence[Anything], most: int | None) -> list[Anything]:
    """Choose at most this many elements, evenly spread; None: all."""
    return [these[place] for place in evenly_spaced(len(these), most or len(these), "starts")]


def queries_of(folder: TestFolder, identity: int | str) -> list[int]:
    """Return the photographs that an identity is fitted to."""
    return [
        number
        for number in folder.chosen
        if folder.frames[number].identity == identity and folder.frames[number].role == "query"
    ]


@dataclass(frozen=True)
class FittedView:
    """What a fit found for one photograph that is judged."""

    code: Float[Tensor, "1 latent"]
    """The code of its object."""
    camera_to_world: Float[Tensor, "3 4"] | None
    """Its camera as the fit corrected it; None: that of the folder."""


def fit_views(
    run: Run, folder: TestFolder, views: Sequence[View], config: FitConfig, progress: Progress
) -> dict[int, FittedView]:
    """Fit the codes of views; return them by the number of their photographs.

    A new identity is fitted to all its photographs with the role `query` jointly, a new photograph alone. All
    of them are fitted together.

    Raises:
        UsageError: the latent table has no spread, or a file is missing.
    """
    identities: list[int | str] = list(
        dict.fromkeys(
            view.identity for view in views if view.kind == "new identities" and view.identity is not None
        )
    )
    alone = [view.number for view in views if view.kind == "new photographs"]
    asked = [
        (number, place)
        for place, identity in enumerate(identities)
        for number in queries_of(folder, identity)
    ]
    asked += [(number, len(identities) + place) for place, number in enumerate(alone)]
    with tempfile.TemporaryDirectory(prefix="nerfgen-evaluate-") as temporary:
        transforms = transforms_path(Path(temporary) / "asked")
        root = folder.transforms.parent
        chosen = (
            replace(folder.frames[number].with_files_of(root), role=None, identity=place)
            for number, place in asked
        )
        write_transforms(transforms, chosen, folder.data.head)
        looked_at = replace(config, downscale_factor=folder.downscale_factor)
        found = find(run, [transforms], looked_at, Path(temporary) / "work", _stages(progress))
    codes = found.codes.detach()
    camera_of = {
        photograph.identity: torch.from_numpy(photograph.frame.transform_matrix[:3]).float()
        for photograph in found.photographs
    }
    fitted = {}
    for view in views:
        if view.kind == "new identities":
            assert view.identity is not None
            place = identities.index(view.identity)
            fitted[view.number] = FittedView(codes[place : place + 1], None)
    for place, number in enumerate(alone, start=len(identities)):
        moved = camera_of[place] if config.refine_cameras else None
        fitted[number] = FittedView(codes[place : place + 1], moved)
    return fitted


def capture_photographs(
    run: Run,
    photographs: Path,
    name: str,
    downscale_factor: int,
    config: FitConfig,
    work: Path,
    stages: Stages = silent,
) -> tuple[TestFolder, list[Rejection]]:
    """Make a folder with cameras and codes from raw photographs; also return those that cannot be used.

    Args:
        work: an empty folder, which must exist as long as the test folder is used.

    Raises:
        NerfgenError: none of them can be used.
    """
    looked_at = replace(config, downscale_factor=downscale_factor)
    found = find(run, [photographs], looked_at, work, stages)
    write_folder(found.photographs, work / "photographs-with-cameras", run.record.canonical_landmarks)
    codes = found.codes.detach()[[photograph.identity for photograph in found.photographs]]
    return open_test_folder(work / "photographs-with-cameras", name, downscale_factor, codes), found.rejected


def _stages(progress: Progress) -> Stages:
    @contextmanager
    def stage(name: str) -> Iterator[Progress]:
        yield progress

    return stage


class SavedRenders:
    """A folder of renders, with one folder for each test folder.

    Each render is named after its photograph: NAME.png is the picture as it was judged, and NAME.npz holds
    `depth` (z-depth in the camera's frame, the class's units), `accumulation` and `normals` (as colors in
    [0, 1]), float32. Files of an earlier call are replaced.

    Args:
        folder: its path; made when the first render is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, folder_name: str, render: Render) -> None:
        """Write one render.

        Raises:
            NerfgenError: it cannot be written.
        """
        stem = self.folder / folder_name / _name(render.file)
        write_image(stem.with_name(f"{stem.name}.png"), render.rgb)
        with replace_file(stem.with_name(f"{stem.name}.npz")) as temporary:
            np.savez_compressed(
                temporary,
                depth=render.depth.numpy(),
                accumulation=render.accumulation.numpy(),
                normals=render.normals.numpy(),
            )


def _name(file: str) -> str:
    """Return a name for the render of a file: `0007` for `images/0007.png`.

    Other folders become a part of the name. No name leads out of the folder.
    """
    parts = [part for part in PurePosixPath(file).with_suffix("").parts if part not in ("/", "..", ".")]
    return "-".join(parts[1:] if len(parts) > 1 and parts[0] == "images" else parts)


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
    """The render in 8 bits. It is judged in this form, so that saved renders have the same scores."""
    depth: Float[Tensor, "height width"]
    """Its z-depth, in the class's units."""
    accumulation: Float[Tensor, "height width"]
    """Its accumulation, in [0, 1]."""
    normals: Float[Tensor, "height width 3"]
    """Its normals in the class frame, as the model's colors in [0, 1]."""

    @property
    def colors(self) -> Float[Tensor, "height width 3"]:
        """The render in [0, 1]."""
        return from_bytes(self.rgb)

    @property
    def true_colors(self) -> Float[Tensor, "height width 3"]:
        """The photograph in [0, 1]."""
        return from_bytes(self.photograph)


def outputs_of(run: Run, code: Float[Tensor, "1 latent"], camera: Cameras) -> dict[str, Tensor]:
    """Return what a run shows a camera of shape (1,), on the processor.

    They are the model's outputs, but `depth` (height, width) is the z-depth, and `accumulation` has the same
    shape.
    """
    outputs = {name: value.cpu().float() for name, value in run.render(code, camera).items()}
    depth = z_depth(outputs["depth"][..., 0], camera.to("cpu"))
    return {**outputs, "depth": depth, "accumulation": outputs["accumulation"][..., 0]}


TURN = 20.0
"""Turn in degrees to either side of two views of one object that are compared."""
COMPARED = 24
"""Objects whose two views are compared, at most."""
SAME_POINTS = f"the same surface points from {TURN:g}° to either side"


def view_pairs(
    run: Run, downscale_factor: float, progress: Progress, **options: Any
) -> Iterator[tuple[list[Cameras], list[dict[str, Tensor]]]]:
    """Yield two views of some identities of a run, to either side: cameras of shape (1,), and their outputs.

    Args:
        run: the trained run.
        downscale_factor: how many times smaller than photographs the views are.
        progress: called with the number of identities done and their total.
        options: of `NerfgenModel.render`.
    """
    size = round(float(run.cameras.width.float().median()) / downscale_factor)
    cameras = turned_cameras(run.cameras, np.array([[-TURN, 0.0], [TURN, 0.0]]), max(size, 2))
    pair = [cameras[:1], cameras[1:]]
    rows = evenly_spaced(len(run.codes), COMPARED).tolist()
    for done, row in enumerate(rows, start=1):
        views = [run.model.render_camera(camera, run.code(row), **options) for camera in pair]
        yield pair, [{name: value.cpu() for name, value in outputs.items()} for outputs in views]
        progress(done, len(rows))


class FolderRenders:
    """The judged photographs of a folder beside their renders.

    Codes are fitted and views are rendered at the first request, and kept.

    Args:
        run: the trained run.
        folder: the photographs.
        training: what the run was trained on.
        fit: how the codes of new objects are found.
        most: at most this many views of each kind, evenly spread; None: all.
        saved: keeps every render on disk; None: renders are not saved.
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
        """Return the judged photographs of some kinds."""
        return [view for view in self.views if view.kind in kinds]

    def render(self, views: Sequence[View], progress: Progress) -> list[Render]:
        """Render views, in their order.

        Raises:
            UsageError: codes cannot be fitted.
            NerfgenError: a photograph cannot be read, or renders cannot be saved.
        """
        self.fit_codes(views, progress)
        renders = []
        for done, view in enumerate(views, start=1):
            if view not in self._rendered:
                self._rendered[view] = self._render(view)
            renders.append(self._rendered[view])
            progress(done, len(views))
        return renders

    def fit_codes(self, views: Sequence[View], progress: Progress) -> None:
        """Fit the codes of views that have none yet; see `render`."""
        unknown = [
            view
            for view in views
            if view.kind in ("new identities", "new photographs")
            and view.number not in self._fitted
            and self.folder.codes is None
        ]
        if unknown:
            self._fitted |= fit_views(self._run, self.folder, unknown, self.fit, progress)

    def camera_of(self, view: View) -> Cameras:
        """Return the camera of a view, as training or its fit corrected it, of shape (1,)."""
        camera = self.folder.camera(view.number)
        if view.kind == "training photographs":
            # Its camera as training corrected it.
            camera.metadata = {**(camera.metadata or {}), "photograph": torch.tensor([[view.number]])}
        fitted = self._fitted.get(view.number)
        if fitted is not None and fitted.camera_to_world is not None:
            camera.camera_to_worlds = fitted.camera_to_world[None].to(camera.camera_to_worlds)
        return camera

    def _render(self, view: View) -> Render:
        folder, camera = self.folder, self.camera_of(view)
        outputs = outputs_of(self._run, self.code_of(view), camera)
        render = Render(
            view=view,
            file=folder.file_of(view.number),
            camera=camera,
            photograph=folder.dataset.get_numpy_image(view.number),
            matte=folder.matte(view.number),
            rgb=to_bytes(outputs["rgb"]),
            depth=outputs["depth"],
            accumulation=outputs["accumulation"],
            normals=outputs["normals"].float(),
        )
        if self._saved is not None:
            self._saved.keep(folder.name, render)
        return render

    def code_of(self, view: View) -> Float[Tensor, "1 latent"]:
        """Return the code of a view, which `fit_codes` has fitted where it is not known otherwise."""
        if self.folder.codes is not None:
            return self.folder.codes[view.number : view.number + 1]
        if view.kind == "training photographs":
            row = self.folder.camera(view.number).metadata["cam_idx"]  # type: ignore[index]
            return self._run.code(int(row))
        if view.kind == "seen identities":
            assert view.identity is not None
            return self._run.code(self.training.rows[view.identity])
        return self._fitted[view.number].code
