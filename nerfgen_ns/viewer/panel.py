"""The panel in nerfstudio's viewer: what its controls do, and the camera that the viewer opens with."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.viewer.viewer_elements import ViewerControl
from torch import Tensor
from viser import ClientHandle, NotificationHandle

from nerfgen_ns.cameras.trajectories import turned_cameras, usual_angles
from nerfgen_ns.dataset_format.label_maps import BACKGROUND
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.fields.regions import RegionConfig
from nerfgen_ns.latents.code_files import fingerprint_of_model, read_codes, write_codes
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.latents.latent_table import LatentTable
from nerfgen_ns.model.class_view import ClassView, usual_luminance
from nerfgen_ns.model.conditioning import Shown
from nerfgen_ns.viewer.choice import Choice, CodesOfFile, ViewerPanelConfig
from nerfgen_ns.viewer.controls import Controls

YAW_ALL_AROUND = 40.0
"""Turn in degrees of the first camera for a class that is seen from all around: its front and a side."""
NEARER = 0.85
"""The first camera's distance from the object, as a share of the photographs'."""


class ViewerCamera(NamedTuple):
    """A camera that looks at the origin, y up."""

    position: Float[np.ndarray, "3"]
    """In the class frame."""
    field_of_view: float
    """From top to bottom, radians."""


def usual_view(photographs: Cameras) -> ViewerCamera:
    """Return a view from the front, with the object as large as in its photographs, but a little nearer.

    It is nearer because the viewer draws the photographs at their cameras: they would be in front of it.
    """
    all_around, pitch = usual_angles(photographs)
    yaw = YAW_ALL_AROUND if all_around else 0.0
    camera = turned_cameras(photographs.to("cpu"), np.array([[yaw, pitch]]), size=2)
    half = 1.0 / (NEARER * float(camera.fy[0]))
    return ViewerCamera(NEARER * camera.camera_to_worlds[0, :, 3].numpy(), 2.0 * math.atan(half))


def place_camera(client: ClientHandle, view: ViewerCamera, scale: float) -> None:
    """Put a browser's camera at a view.

    Args:
        client: the browser.
        view: the view.
        scale: units of the browser's scene to one of the class frame.
    """
    with client.atomic():
        client.camera.up_direction = (0.0, 1.0, 0.0)
        client.camera.position = scale * view.position
        client.camera.look_at = (0.0, 0.0, 0.0)
        client.camera.fov = view.field_of_view


MESSAGE_SECONDS = 10
"""How long a message is shown."""


class ViewerPanel(ViewerControl):
    """Chooses what nerfstudio's viewer shows of a model, and saves it.

    It is the `ViewerHook` of a model: nerfstudio finds it there and passes it the viewer; until then it is
    empty. It is not part of the model's state: a copy of the model has a new panel. The controls run in
    threads of the viewer. They set one immutable `Choice`, which rendering reads, so that an interrupted
    picture leaves nothing half done. A control that fails shows a message in the browser, and the picture
    stays as it was. Values that the panel itself assigns run no callback: the panel has already used them.
    """

    def __init__(self, config: ViewerPanelConfig) -> None:
        self.config = config
        self._controls: Controls | None = None
        self._choice = Choice()
        self._resolved: tuple[Choice, int, Tensor] | None = None
        self._space: LatentSpace | None = None
        self._luminances: dict[tuple[tuple[str, ...], float, float], float] = {}
        # Newer versions of viser run callbacks at once, in the thread that assigns a control's value.
        self._changing = threading.RLock()
        self._is_assigning = False
        self._heard_frustums: set[int] = set()

    def __reduce__(self) -> tuple[type[ViewerPanel], tuple[ViewerPanelConfig]]:
        return ViewerPanel, (self.config,)

    def shown(self, ray_bundle: RayBundle) -> Shown:
        """Return what rays show: the choice, if they are the viewer's; else nothing in particular.

        The viewer's cameras carry one number, those of data sets a row for each ray. So an evaluation while
        the viewer is open shows the identities of its photographs.
        """
        if self._controls is None or not isinstance(ray_bundle.metadata.get("cam_idx"), int):
            return Shown()
        choice, resolved = self._choice, self._resolved
        # A training step changes the table, and with it the code of a choice.
        version = self._table.codes.weight._version
        if resolved is None or resolved[0] is not choice or resolved[1] != version:
            resolved = (choice, version, choice.code(self._table, self._latent_space))
            self._resolved = resolved
        return Shown(resolved[2], choice.background, choice.region)

    def show_training(self, panel: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Show a picture of the class as it was at a training step; nothing without a viewer."""
        if self._controls is not None:
            self._controls.show_training(panel, step)

    def _setup(self, viewer: Any) -> None:
        super()._setup(viewer)
        table = self._table
        self._choice = self._first_choice()
        directions = max(min(self.config.max_directions, len(table) - 1, table.codes.embedding_dim), 0)
        parts = tuple(name for name in self._label_names if name != BACKGROUND)
        config = self.viewer.log_filename.parent / "config.yml"
        controls = Controls(self.viser_server.gui, len(table), directions, self._choice, parts, config)
        controls.source.on_update(self._guarded(self._change_source))
        for control in controls.values:
            control.on_update(self._guarded(self._change))
        controls.upload.on_upload(self._guarded(self._read_codes))
        controls.set_first.on_click(self._guarded(lambda _: self._set_end(first=True)))
        controls.set_second.on_click(self._guarded(lambda _: self._set_end(first=False)))
        controls.save_code.on_click(self._guarded(self._save_code))
        controls.save_mesh.on_click(self._guarded(self._save_mesh))
        controls.face.on_click(self._guarded(lambda event: self._place_camera(event.client)))
        controls.reset.on_click(self._guarded(self._reset))
        self._controls = controls
        # nerfstudio draws the photographs after it has set this panel up.
        if viewer.config.camera_frustum_scale == ViewerConfig().camera_frustum_scale:
            viewer.config.camera_frustum_scale = self.config.frustum_scale
        self.viser_server.scene.set_up_direction("+y")
        self.viser_server.on_client_connect(self._guarded(self._welcome))

    @property
    def _table(self) -> LatentTable:
        return self.viewer.get_model().latent_table  # type: ignore[return-value]

    @property
    def _label_names(self) -> tuple[str, ...]:
        """Return the labels of the class; none where it has none."""
        model: Any = self.viewer.get_model()
        return () if model.config.label_head is None else model.config.label_head.names

    def _model_fingerprint(self) -> str | None:
        """Return the model's fingerprint; None in training, when it changes with every step."""
        trainer: Any = self.viewer.trainer
        if trainer is not None and trainer.training_state != "completed":
            return None
        model: Any = self.viewer.get_model()
        return fingerprint_of_model(model.foreground_field)

    @property
    def _photographs(self) -> Any:
        return self.viewer.pipeline.datamanager.train_dataset.cameras  # type: ignore[union-attr]

    def _first_choice(self) -> Choice:
        model: Any = self.viewer.get_model()
        region = (model.config.region or RegionConfig()) if self._label_names else None
        return Choice(second=min(1, len(self._table) - 1), region=region)

    def _latent_space(self) -> LatentSpace:
        space = self._space
        if space is None:
            space = LatentSpace.of(self._table.codes.weight.detach().clone())
            self._space = space
        return space

    def _guarded(self, action: Callable[[Any], None]) -> Callable[[Any], None]:
        def callback(event: Any) -> None:
            try:
                action(event)
            except Exception as error:
                what = str(error) if isinstance(error, NerfgenError) else f"{type(error).__name__}: {error}"
                self._say(event, "That did not work", what, color="red")

        return callback

    def _say(self, event: Any, title: str, text: str, **options: Any) -> list[NotificationHandle]:
        client = getattr(event, "client", None)
        clients = self.viser_server.get_clients().values() if client is None else [client]
        options = {"auto_close": 1000 * MESSAGE_SECONDS, **options}
        return [client.add_notification(title, text, **options) for client in clients]

    @contextmanager
    def _assigning(self) -> Iterator[Controls]:
        """Yield the controls, to assign values that the panel has decided on."""
        assert self._controls is not None
        with self._changing:
            self._is_assigning = True
            try:
                yield self._controls
            finally:
                self._is_assigning = False

    def _change(self, event: Any) -> None:
        with self._changing:
            if not self._is_assigning:
                self._follow_controls()

    def _follow_controls(self) -> None:
        """Show what the controls choose."""
        assert self._controls is not None
        choice = self._with_luminance(self._controls.read(self._choice))
        with self._assigning() as controls:
            controls.update(choice)
        self._choose(choice)

    def _with_luminance(self, choice: Choice) -> Choice:
        """Return a choice that knows how bright a part usually is which gets another color."""
        region = choice.region
        if region is None or region.effect != "recolor":
            return choice
        part = (region.labels, region.min_probability, region.softness)
        if part not in self._luminances:
            with self._model_at_rest() as model:
                self._luminances[part] = usual_luminance(ClassView(model, self._photographs), region)
        return replace(choice, region=replace(region, luminance=self._luminances[part]))

    def _choose(self, choice: Choice) -> None:
        choice.code(self._table, self._latent_space)  # raises here, rather than where pictures are rendered
        self._choice = choice
        self._render_anew()

    def _change_source(self, event: Any) -> None:
        with self._changing:
            if not self._is_assigning:
                self._follow_source()

    def _follow_source(self) -> None:
        """Show what the controls choose, not moved along the directions."""
        with self._assigning() as controls:
            # Directions change in training, but they must not change while a slider is being moved.
            self._space = None
            controls.stand_still()
        self._follow_controls()

    def _set_end(self, first: bool) -> None:
        with self._assigning() as controls:
            end = self._choice.as_end(self._table, self._latent_space)
            self._choice = replace(self._choice, **{"first" if first else "second": end})  # type: ignore[arg-type]
            controls.update(self._choice)
            self._render_anew()

    def _reset(self, event: Any) -> None:
        with self._assigning() as controls:
            self._space = None
            controls.restart()
            controls.update(self._first_choice())
            self._choose(self._first_choice())

    def _read_codes(self, event: Any) -> None:
        assert self._controls is not None
        upload = self._controls.upload.value
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / (Path(upload.name).name or "codes.npz")
            path.write_bytes(upload.content)
            try:
                size, model = self._table.codes.embedding_dim, self._model_fingerprint()
                file = CodesOfFile(*read_codes(path, size, model))
            except UsageError as error:
                raise UsageError(str(error).replace(f"{folder}/", "")) from error
        with self._changing:
            with self._assigning() as controls:
                controls.choose_file()
            self._choice = replace(self._choice, file=file)
            self._follow_source()
        self._say(event, "Codes", f"{path.name}: {len(file.codes)} codes; number 0 is shown")

    def _save_code(self, event: Any) -> None:
        choice = self._choice
        path = self._free_path(choice.name(), ".npz")
        write_codes(
            path, choice.code(self._table, self._latent_space), [path.stem], self._model_fingerprint()
        )
        self._say(event, "Code saved", f"{path.name}, in {path.parent}")

    def _save_mesh(self, event: Any) -> None:
        from nerfgen_ns.meshing.extraction import save_mesh

        assert self._controls is not None
        controls, choice = self._controls, self._choice
        path = self._free_path(choice.name(), controls.mesh_kind.value)
        controls.save_mesh.disabled = True
        under_way = self._say(event, "Mesh", f"{path.name} is being made", loading=True, auto_close=False)
        try:
            with self._model_at_rest() as model:
                code = choice.code(self._table, self._latent_space)
                cells = int(controls.mesh_cells.value)
                save_mesh(model, code, path, cells, self._photographs, region=choice.region)
            self._say(event, "Mesh saved", f"{path.name}, in {path.parent}")
        finally:
            controls.save_mesh.disabled = False
            for notification in under_way:
                notification.remove()

    @contextmanager
    def _model_at_rest(self) -> Iterator[Any]:
        """Yield the model in evaluation mode, while neither training nor the viewer uses it."""
        with self.viewer.train_lock or nullcontext(), torch.no_grad():
            model = self.viewer.get_model()
            was_training = model.training
            model.eval()
            try:
                yield model
            finally:
                model.train(was_training)

    def _free_path(self, name: str, suffix: str) -> Path:
        folder = self.viewer.log_filename.parent / "viewer_panel"
        path, others = folder / f"{name}{suffix}", 1
        while path.exists():
            others += 1
            path = folder / f"{name}_{others}{suffix}"
        return path

    def _welcome(self, client: ClientHandle) -> None:
        self._place_camera(client)
        client.camera.on_update(self._guarded(lambda _: self._hear_frustums()))

    def _place_camera(self, client: ClientHandle) -> None:
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        place_camera(client, usual_view(self._photographs), VISER_NERFSTUDIO_SCALE_RATIO)

    def _hear_frustums(self) -> None:
        """Make a click on a photograph choose it. nerfstudio draws photographs after this panel's setup."""
        frustums = getattr(self.viewer, "camera_handles", {})
        if len(frustums) == len(self._heard_frustums):
            return
        rows = self._photographs.metadata["cam_idx"].flatten().tolist()
        with self._changing:
            for number, frustum in list(frustums.items()):
                if number not in self._heard_frustums:
                    self._heard_frustums.add(number)
                    choose = partial(self._choose_photograph, identity=rows[number])
                    frustum.on_click(self._guarded(choose))

    def _choose_photograph(self, event: Any, identity: int) -> None:
        # nerfstudio has put the camera at the photograph's own, inside the frustum that it draws.
        event.client.camera.position = NEARER * np.asarray(event.target.position)
        with self._changing:
            with self._assigning() as controls:
                controls.choose_photograph(identity)
            self._follow_source()

    def _render_anew(self) -> None:
        from nerfstudio.viewer.render_state_machine import RenderAction

        clients = self.viser_server.get_clients()
        for number, machine in self.viewer.render_statemachines.copy().items():
            if number in clients:
                machine.action(RenderAction("move", self.viewer.get_camera_state(clients[number])))
