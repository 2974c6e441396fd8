"""What only a GPU can show: skipped where there is none."""

import copy

import pytest
import torch

from nerfgen_ns.errors import UsageError
from nerfgen_ns.rendering.ray_renderers import VolumetricRenderer, check_volumetric
from nerfgen_ns.training.optimizers import Muon, RowAdam
from tests.helpers.small_models import IDENTITIES, batch_for, make_camera, make_model, make_rays

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def steps(model, count: int, *, mixed: bool = False) -> list[float]:
    """Losses of training steps on rays of one picture."""
    groups = model.get_param_groups()
    optimizers = [Muon(groups["fields"], lr=5e-3), RowAdam(groups["latent_table"], lr=1e-2)]
    scaler = torch.amp.GradScaler("cuda", enabled=mixed)
    rays = make_rays(256, cam_idx=torch.randint(IDENTITIES, (256, 1))).to(model.device)
    batch = {name: value.to(model.device) for name, value in batch_for(rays).items()}
    losses = []
    for step in range(count):
        for optimizer in optimizers:
            optimizer.zero_grad()
        with torch.autocast("cuda", enabled=mixed):
            outputs = model(copy.copy(rays))
            loss = sum(model.get_loss_dict(outputs, batch).values())
        scaler.scale(loss).backward()
        for optimizer in optimizers:
            scaler.step(optimizer)
        scaler.update()
        model.ray_renderer.after_step(step)
        losses.append(float(loss))
    return losses


@pytest.mark.parametrize("sampler", ["importance", "pdf", "uniform", "volumetric"])
@pytest.mark.parametrize("use_bf16", [False, True])
def test_training_on_a_gpu_learns_and_renders(sampler, use_bf16):
    if sampler == "volumetric":
        try:
            check_volumetric(torch.device("cuda"))
        except UsageError as error:
            pytest.skip(str(error))
    model = make_model(sampler__kind=sampler, use_bf16=use_bf16, device="cuda").cuda().train()
    assert isinstance(model.ray_renderer, VolumetricRenderer) == (sampler == "volumetric")
    losses = steps(model, 60)
    assert losses[-1] < losses[0]
    outputs = model.eval().get_outputs_for_camera(make_camera(32, 32, cam_idx=1).to("cuda"))
    assert all(value.isfinite().all() and value.device.type == "cuda" for value in outputs.values())


@pytest.mark.parametrize("use_bf16", [False, True])
def test_mixed_precision_with_a_gradient_scaler_learns_on_a_gpu(use_bf16):
    model = make_model(use_bf16=use_bf16, device="cuda").cuda().train()
    losses = steps(model, 60, mixed=True)
    assert all(loss == loss for loss in losses) and losses[-1] < losses[0]


def test_a_checkpoint_shows_the_same_picture_on_a_gpu_and_on_a_processor():
    on_gpu = make_model(device="cuda").cuda().train()
    steps(on_gpu, 40)
    on_cpu = make_model()
    on_cpu.load_state_dict({name: value.cpu() for name, value in on_gpu.state_dict().items()})
    camera = make_camera(32, 32, cam_idx=1)
    expected = on_gpu.eval().get_outputs_for_camera(camera.to("cuda"))["rgb"].cpu()
    torch.testing.assert_close(
        on_cpu.eval().get_outputs_for_camera(camera)["rgb"], expected, rtol=0, atol=2e-3
    )
    back = make_model(device="cuda").cuda()
    back.load_state_dict(on_cpu.state_dict())
    again = back.eval().get_outputs_for_camera(camera.to("cuda"))["rgb"].cpu()
    torch.testing.assert_close(again, expected, rtol=0, atol=1e-5)
