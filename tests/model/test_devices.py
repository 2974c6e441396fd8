"""Devices: everything of a model on the one it is given, checked without a GPU by torch's fake tensors."""

import copy
from collections.abc import Iterator
from contextlib import nullcontext
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from nerfgen_ns.cli import doctor
from nerfgen_ns.configs import METHODS
from nerfgen_ns.datamanagers.pixel_sampler import ImagewisePixelSamplerConfig
from nerfgen_ns.datamanagers.pixel_store import PixelStore
from nerfgen_ns.datamanagers.ray_generator import PixelRays
from nerfgen_ns.errors import UsageError
from nerfgen_ns.inversion.config import FitConfig
from nerfgen_ns.inversion.latent_fit import tune
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.rendering.ray_renderers import check_volumetric
from nerfgen_ns.training.adversarial import AdversarialConfig
from nerfgen_ns.training.optimizers import Muon, RowAdam
from nerfgen_ns.utils import machine
from tests.helpers.small_models import make_camera, make_model

GPU = torch.device("cuda:0")


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors without values on a GPU that is not there; an operation that mixes devices raises.

    How many rays meet the class depends on values, so all of them do; numbers that are read on the processor
    are zero.
    """

    def every(self: torch.Tensor, as_tuple: bool = False) -> object:
        places = torch.zeros(len(self), self.ndim, dtype=torch.long, device=self.device)
        return tuple(places.T) if as_tuple else places

    def numpy(self: torch.Tensor, force: bool = False) -> np.ndarray:
        if self.device.type != "cpu" and not force:
            raise TypeError(f"a tensor on {self.device} has no numpy array")
        return np.zeros(tuple(self.shape), dtype=str(self.dtype).removeprefix("torch."))

    monkeypatch.setattr(FakeTensor, "nonzero", every, raising=False)
    monkeypatch.setattr(FakeTensor, "numpy", numpy, raising=False)
    monkeypatch.setattr(FakeTensor, "__bool__", lambda _: True, raising=False)
    monkeypatch.setattr(FakeTensor, "unique", lambda tensor: tensor[:1], raising=False)
    monkeypatch.setattr(torch, "equal", lambda *_: False)
    # Going backwards would ask for a real GPU.
    monkeypatch.setattr(torch.Tensor, "backward", lambda _: None)
    monkeypatch.setattr(torch.autograd, "grad", lambda _, inputs: (torch.zeros_like(inputs),))
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def model_of(method: str) -> NerfgenModel:
    """The model of a method as nerfstudio makes it for a GPU."""
    box = SceneBox(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3]))
    config = METHODS[method].config.pipeline.model
    with GPU:
        return config.setup(scene_box=box, num_train_data=4, metadata={"num_identities": 4}, device=str(GPU))  # type: ignore[no-any-return]


def training_rays(pixels: int = 64):
    """Rays of random pixels of photographs, as the data manager gives them for a GPU."""
    cameras = make_camera(16, 16, cam_idx=torch.tensor([[1]])).to(GPU)
    indices = torch.zeros(pixels, 3, dtype=torch.long)
    batch = {"image": torch.rand(pixels, 3, device=GPU), "matte": torch.rand(pixels, 1, device=GPU)}
    return PixelRays(cameras)(indices), batch


def test_a_batch_is_drawn_where_the_pixels_are(fake_gpu: None) -> None:
    pixels = object.__new__(PixelStore)
    pixels.device, pixels.has_mattes = GPU, True
    with GPU:
        pixels.images, pixels.offsets = torch.arange(2), torch.tensor([0, 256])
        pixels.heights = pixels.widths = torch.full((2,), 16)
        pixels.values = torch.zeros(512, 4, dtype=torch.uint8)
    sampler = ImagewisePixelSamplerConfig(
        background_redraw_fraction=0.5, patch_fraction=0.5, patch_size=4
    ).setup(num_rays_per_batch=64)
    batch = sampler.sample(pixels)
    assert {name: value.device for name, value in batch.items()} == dict.fromkeys(
        ("image", "matte", "indices", "patches"), GPU
    )


def test_the_losses_of_patches_and_of_samples_stay_on_their_device(fake_gpu: None) -> None:
    model = model_of("nerfgen-small").train()
    rays, batch = training_rays(128)
    batch["patches"] = torch.arange(128, device=GPU).view(2, 8, 8)
    model.config = copy.deepcopy(model.config)
    model.config.losses.perceptual_loss_mult = 1.0
    losses = model.get_loss_dict(model(rays), batch)
    with GPU:
        stage = AdversarialConfig(patches=2, patch_size=8, gradient_penalty_mult=0.0).setup()
    stage._codes = torch.zeros(1024, model.config.latent_dim, device=GPU)
    manager: Any = SimpleNamespace(next_patches=lambda *_: (rays, batch))
    of_samples, scores = stage.losses(model, manager, 1)
    assert "perceptual_loss" in losses
    assert {value.device for value in (*losses.values(), *of_samples.values(), *scores.values())} == {GPU}


class OneView:
    """A view of one object, for fits whose rays are given."""

    objects, count_objects = torch.zeros(1, dtype=torch.long), 1
    labels, has_colors = None, True

    def __len__(self) -> int:
        return 1

    def select(self, _: object) -> "OneView":
        return self


@pytest.mark.parametrize("method", METHODS)
def test_a_step_of_each_method_stays_on_its_device(fake_gpu: None, method: str) -> None:
    model = model_of(method).train()
    assert {parameter.device for parameter in model.parameters()} == {GPU}
    rays, batch = training_rays()
    outputs = model(rays)
    losses = model.get_loss_dict(outputs, batch, model.get_metrics_dict(outputs, batch))
    assert {value.device for value in (*outputs.values(), *losses.values())} == {GPU}
    for step in (0, 4, 16):
        model.ray_renderer.after_step(step)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("of_data_set", [False, True])
def test_an_evaluation_image_of_each_method_stays_on_its_device(
    fake_gpu: None, monkeypatch: pytest.MonkeyPatch, method: str, of_data_set: bool
) -> None:
    model = model_of(method).eval()
    with GPU:
        rays, _ = training_rays(256)
        rays = rays.reshape((16, 16))
    if not of_data_set:
        rays.metadata["cam_idx"] = 2
    monkeypatch.setattr(Cameras, "generate_rays", lambda *_, **__: rays)
    camera = make_camera(16, 16).to(GPU)
    outputs = model.get_outputs_for_camera(camera)
    assert {value.device for value in outputs.values()} == {GPU}
    assert outputs["normals"].shape == (16, 16, 3)
    rendered = model.render_camera(camera, model.latent_table.row(1), (0.0, 1.0, 0.0))
    assert rendered["rgb"].device == model.get_rgba_image(outputs).device == GPU


def test_an_inversion_step_and_a_tuning_step_stay_on_their_device(
    fake_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nerfgen_ns.inversion import latent_fit as code_fit
    from nerfgen_ns.inversion import latent_fit as tuning

    model = model_of("nerfgen-tiny").eval()
    rays, batch = training_rays(6)
    sampler = lambda: (rays, batch, torch.zeros(6, dtype=torch.long, device=GPU))  # noqa: E731
    for module in (code_fit, tuning):
        monkeypatch.setattr(module, "ViewSampler", lambda *_: sampler)
    views = OneView()
    codes = model.latent_table.codes.weight.detach()
    space = LatentSpace(codes[0], codes[:2], codes[0, :2])
    monkeypatch.setattr(code_fit, "_parts", lambda *_: [torch.zeros(1, dtype=torch.long)])
    config = FitConfig(steps=1, tune_steps=1)
    # Copies of fake tensors make the interpreter crash when they are collected.
    other = model_of("nerfgen-tiny")
    monkeypatch.setattr(tuning, "copy", SimpleNamespace(deepcopy=lambda _: other))
    forked: list[object] = []
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext(forked.extend(devices)))
    fitted = code_fit.fit_codes(model, space, views, config)
    assert fitted.amounts.device == fitted.motions.device == GPU
    assert {value.device for value in tune(model, views, codes[:1], config).values()} == {GPU}
    assert forked and set(forked) == {GPU}


@pytest.mark.parametrize("optimizer", [Muon, RowAdam])
def test_an_optimizer_step_stays_on_its_device(
    fake_gpu: None, monkeypatch: pytest.MonkeyPatch, optimizer: type
) -> None:
    with GPU:
        weights = torch.nn.Parameter(torch.zeros(16, 16))
    weights.grad = torch.zeros(16, 16, device=GPU)
    if optimizer is RowAdam:
        indices, values = torch.zeros(1, 2, dtype=torch.long, device=GPU), torch.zeros(2, 16, device=GPU)
        # torch has no fake sparse tensors.
        monkeypatch.setattr(FakeTensor, "_indices", lambda _: indices, raising=False)
        monkeypatch.setattr(FakeTensor, "_values", lambda _: values, raising=False)
    stepping = optimizer([weights])
    for _ in range(2):
        stepping.step()
    moments = [value for name, value in stepping.state[weights].items() if name != "step"]
    assert {value.device for value in moments if isinstance(value, torch.Tensor)} == {GPU}


def test_the_field_of_an_object_stays_on_its_device(fake_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    meshing = import_module("nerfgen_ns.meshing.field")
    from nerfgen_ns.meshing.field import colors_at, surface_colors

    monkeypatch.setattr(meshing, "copy", SimpleNamespace(deepcopy=lambda field: field))
    model = model_of("nerfgen-tiny").eval()
    field = meshing.object_field(model, torch.zeros(model.config.latent_dim))
    positions = np.zeros((5, 3), dtype=np.float32)
    assert field.density(torch.zeros(5, 3, device=GPU)).device == GPU
    assert field.near_class is not None and field.near_class(torch.zeros(5, 3, device=GPU)).device == GPU
    assert colors_at(field, positions).shape == surface_colors(field, positions, positions).shape == (5, 3)


def test_a_gpu_that_is_there_and_not_asked_for_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_: object) -> None:
        raise AssertionError("the GPU was asked for something")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", touched)
    monkeypatch.setattr(torch.cuda, "_lazy_init", touched)
    model = make_model(use_bf16=True)
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    outputs = model.eval().get_outputs_for_camera(make_camera(cam_idx=1))
    assert outputs["rgb"].device.type == "cpu"


def test_the_kernels_of_nerfacc_are_refused_in_one_line_where_they_do_not_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UsageError, match=r"sampler.kind volumetric.*CUDA.*cpu"):
        check_volumetric(torch.device("cpu"))

    class Grid(SimpleNamespace):
        binaries = torch.zeros(1)

        def __init__(self, **_: object) -> None:
            pass

        def to(self, _: object) -> "Grid":
            return self

        def sampling(self, *_: object, **__: object) -> None:
            raise Grid.error

    monkeypatch.setattr("nerfacc.OccGridEstimator", Grid)
    on_gpu = SimpleNamespace(type="cuda")
    monkeypatch.setattr(torch, "tensor", lambda *_, **__: torch.ones(1, 3))
    for error, named in (
        (AttributeError("'NoneType' object has no attribute 'ray_aabb_intersect'"), "nvcc"),
        (RuntimeError("Error building extension\nscan.cu: error: no Equality in cub"), "NVCC_PREPEND_FLAGS"),
        (ImportError("/ext/nerfacc_cuda.so: cannot open shared object file"), "/ext "),
        (RuntimeError("warnings\nCUDA error: no kernel image is available"), "no kernel image"),
    ):
        Grid.error = error
        with pytest.raises(UsageError, match=named) as raised:
            check_volumetric(on_gpu)  # type: ignore[arg-type]
        assert "\n" not in str(raised.value)


def test_a_driver_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_old() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nMore.")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine.cuda_problem() is None or any(machine.Path("/dev").glob("nvidia[0-9]*"))
    monkeypatch.setattr(machine.Path, "glob", lambda *_: iter(["nvidia0"]))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", too_old)
    assert machine.cuda_problem() == "The NVIDIA driver on your system is too old (found version 11040)."
    (check,) = (check for check in doctor.CHECKS if check.what == "gpu")
    finding = doctor.examine(check)
    assert not finding.works and finding.needed and "too old" in finding.found
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.cuda_problem() is None


def test_a_kernel_that_fails_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", fail)
    assert "no kernel image" in str(machine.cuda_problem())
