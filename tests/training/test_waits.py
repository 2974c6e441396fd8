"""A training step never waits for the GPU: checked without one, by fake tensors.

A fake tensor has no value to read, and no count of entries that would have to be found first: operations
that need one raise. Copies between processor and GPU, which wait too, are refused here.
"""

import copy
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from nerfgen_ns.configs import METHODS
from nerfgen_ns.datamanagers.landmark_points import LandmarkPoints
from nerfgen_ns.datamanagers.pixel_store import PixelStore
from nerfgen_ns.datamanagers.ray_generator import PixelRays
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.rendering.ray_renderers import MARK_STEPS, UPDATE_STEPS
from tests.helpers.small_models import make_camera

GPU = torch.device("cuda:0")
PHOTOGRAPHS, SIZE, RAYS = 4, 16, 96


class CopyError(Exception):
    """A tensor was copied between the processor and the GPU."""


class NoCopies(TorchDispatchMode):
    """Refuses copies between devices; numbers of the processor as operands need none."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            tensors = [part for part in tree_flatten((args, result))[0] if isinstance(part, Tensor)]
            devices = {tensor.device for tensor in tensors}
            if len(devices) > 1:
                raise CopyError(f"{func} from {args[0].device} to {result.device}")
        return result


@pytest.fixture
def gpu() -> Iterator[None]:
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


@pytest.mark.parametrize(
    "waiting",
    [
        lambda values: float(values.sum()),
        lambda values: bool((values > 0).any()),
        lambda values: values.nonzero(),
        lambda values: values[values > 0],
        lambda values: values.unique(),
        lambda values: values.cpu(),
        lambda values: torch.zeros(3).to(values.device),
        lambda values: values.copy_(torch.zeros(3)),
    ],
)
def test_what_waits_is_noticed(gpu: None, waiting: Callable[[Tensor], object]) -> None:
    values = torch.ones(3, device=GPU)
    with (
        NoCopies(),
        pytest.raises((CopyError, DataDependentOutputException, DynamicOutputShapeException)),
    ):
        waiting(values)


class Step:
    """What a step of a method on a GPU consists of, its data made up."""

    def __init__(self, config: Any) -> None:
        pixels = object.__new__(PixelStore)
        landmarks = object.__new__(LandmarkPoints)
        box = SceneBox(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3]))
        with GPU:
            pixels.device, pixels.has_mattes = GPU, True
            pixels.images = torch.arange(PHOTOGRAPHS)
            pixels.offsets = pixels.images * SIZE * SIZE
            pixels.heights = pixels.widths = torch.full((PHOTOGRAPHS,), SIZE)
            pixels.values = torch.zeros(PHOTOGRAPHS * SIZE * SIZE, 4, dtype=torch.uint8)
            landmarks.canonical, landmarks.basis = torch.rand(5, 3), torch.rand(2, 5, 3)
            landmarks.std, landmarks.coefficients = torch.rand(5), torch.rand(PHOTOGRAPHS, 2)
            landmarks.poses, landmarks.intrinsics = torch.rand(PHOTOGRAPHS, 3, 4), torch.rand(PHOTOGRAPHS, 6)
            self.model: NerfgenModel = config.pipeline.model.setup(
                scene_box=box,
                num_train_data=PHOTOGRAPHS,
                metadata={"num_identities": PHOTOGRAPHS},
                device=str(GPU),
            ).train()
        numbers = torch.zeros(1, 1, dtype=torch.long)
        self.rays = PixelRays(make_camera(SIZE, SIZE, cam_idx=numbers, photograph=numbers).to(GPU))
        self.pixels = pixels
        self.sampler = config.pipeline.datamanager.pixel_sampler.setup(num_rays_per_batch=RAYS)
        self.sampler.landmarks = landmarks
        groups = self.model.get_param_groups()
        self.optimizers = {
            name: config.optimizers[name]["optimizer"].setup(params=parameters)
            for name, parameters in groups.items()
        }
        for parameters in groups.values():
            for parameter in parameters:
                parameter.grad = torch.zeros_like(parameter)

    def take(self, step: int) -> set[str]:
        """Take a step, and return the names of its losses. Going backward would ask for a real GPU."""
        batch = self.sampler.sample(self.pixels)
        outputs = self.model(self.rays(batch["indices"]))
        losses = self.model.get_loss_dict(outputs, batch, self.model.get_metrics_dict(outputs, batch))
        torch.stack(list(losses.values())).sum()
        for optimizer in self.optimizers.values():
            optimizer.step()
        self.model.ray_renderer.after_step(step)
        if self.model.camera_optimizer is not None:
            self.model.camera_optimizer.after_step(step)
        return set(losses)


@pytest.mark.parametrize("options", ["as it is", "with everything", "before a color"])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_of_each_method_waits_for_nothing(
    gpu: None, monkeypatch: pytest.MonkeyPatch, method: str, options: str
) -> None:
    config: Any = copy.deepcopy(METHODS[method].config)
    model, sampler = config.pipeline.model, config.pipeline.datamanager.pixel_sampler
    if options == "with everything":
        sampler.landmark_fraction, sampler.background_redraw_fraction = 0.1, 0.8
        model.sampler.depth_memory, model.camera_optimizer.mode = True, "SO3xR3"
        model.symmetry.mirrored_share = model.losses.background_weight = 0.5
        # Some activations of these few rays are computed twice.
        model.foreground.activation_memory = 0.0
    elif options == "before a color":
        model.background.learned = False
    rows = torch.zeros(RAYS, dtype=torch.long, device=GPU)
    # Sparse gradients, of which torch has no fake ones.
    monkeypatch.setattr(FakeTensor, "_indices", lambda _: rows[None], raising=False)
    monkeypatch.setattr(
        FakeTensor, "_values", lambda table: table.new_zeros(RAYS, table.shape[1]), raising=False
    )
    with monkeypatch.context() as making:
        making.setattr(FakeTensor, "__bool__", lambda _: True, raising=False)
        step = Step(config)
    # The first step makes what later ones use; of the others one updates the sampler's grid, one marks it.
    step.take(1)
    with NoCopies():
        for number in (2, UPDATE_STEPS, MARK_STEPS):
            losses = step.take(number)
    assert losses >= {"rgb_loss", "mask_loss", "hard_surface_loss"}
    assert options != "with everything" or losses >= {"landmark_depth_loss", "pose_loss"}


def test_a_batch_that_was_read_ahead_is_copied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """From pinned memory a copy waits for nothing only if it is asked not to."""
    from nerfgen_ns.datamanagers.data_manager import NerfgenDataManager

    asked: list[bool] = []
    to = Tensor.to

    def noted(self: Tensor, *args: Any, **options: Any) -> Tensor:
        asked.append(options.get("non_blocking", False))
        return to(self, *args, **options)

    monkeypatch.setattr(Tensor, "to", noted)
    batch = {"indices": torch.zeros(5, 3, dtype=torch.long), "image": torch.rand(5, 3)}
    seen: list[Tensor] = []
    manager: Any = SimpleNamespace(
        train_count=0,
        training=True,
        device="cpu",
        train_batches=SimpleNamespace(next=lambda: batch),
        train_rays=lambda indices: seen.append(indices) or SimpleNamespace(metadata={}),
        _on_device=lambda given: NerfgenDataManager._on_device(manager, given),
    )
    _, served = NerfgenDataManager.next_train(manager, 0)
    assert asked == [True, True] and seen[0] is served["indices"]
