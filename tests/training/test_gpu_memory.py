"""How much memory the methods for a GPU take, at their own sizes: counted without a GPU, by fake tensors."""

import copy
from typing import Any

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from torch._subclasses.fake_tensor import FakeTensorMode

from nerfgen_ns.configs import METHODS, RENDER_MEMORY
from nerfgen_ns.model.model import NerfgenModel
from tests.helpers.fake_memory import LiveMemory

IDENTITIES = 10_000
CARD = 24e9
"""Bytes of the smallest card that `nerfgen-hq` is made for."""
OTHERS = 3e9
"""Of the card: pixels (`--pipeline.datamanager.pixel-memory`), CUDA itself, its libraries, other programs."""


def make_model(config: Any) -> NerfgenModel:
    """A model as on a GPU; fake tensors of the processor go backward, those of a GPU do not."""
    box = SceneBox(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3]))
    model = config.setup(
        scene_box=box, num_train_data=IDENTITIES, metadata={"num_identities": IDENTITIES}, device="cpu"
    )
    model.foreground_field.use_bf16 = model.background_field.use_bf16 = True
    return model  # type: ignore[no-any-return]


def make_rays(count: int) -> RayBundle:
    numbers = torch.zeros(count, 1, dtype=torch.long)
    return RayBundle(
        origins=torch.rand(count, 3),
        directions=torch.rand(count, 3),
        pixel_area=torch.rand(count, 1),
        camera_indices=numbers,
        metadata={"cam_idx": numbers, "photograph": numbers, "pixel": torch.rand(count, 2)},
    )


def memory_of_step(method: str, rays_times: int = 1, **foreground: Any) -> float:
    """The most bytes that are in use in a training step: networks, table, their optimizers, activations."""
    config: Any = copy.deepcopy(METHODS[method].config)
    for name, value in foreground.items():
        setattr(config.pipeline.model.foreground, name, value)
    rays = rays_times * config.pipeline.datamanager.train_num_rays_per_batch
    with FakeTensorMode(allow_non_fake_inputs=True), LiveMemory() as memory:
        model = make_model(config.pipeline.model).train()
        batch = {"image": torch.rand(rays, 3), "matte": torch.rand(rays, 1)}
        outputs = model(make_rays(rays))
        losses = model.get_loss_dict(outputs, batch, model.get_metrics_dict(outputs, batch))
        torch.stack(list(losses.values())).sum().backward()
    # The two moments that Adam keeps of each number of the networks and of the table.
    return memory.peak + 2 * 4 * sum(parameter.numel() for parameter in model.parameters())


def test_a_step_of_nerfgen_hq_fits_a_card_of_24_gigabytes() -> None:
    assert memory_of_step("nerfgen-hq") < min(CARD - OTHERS, 15e9)


def test_a_step_of_nerfgen_fits_a_card_of_8_gigabytes() -> None:
    assert memory_of_step("nerfgen") < 8e9 - OTHERS


def test_four_times_as_many_rays_hardly_take_more_where_activations_are_computed_twice() -> None:
    kept = 1.0
    once, four_times = (memory_of_step("nerfgen", times, activation_memory=kept) for times in (1, 4))
    assert four_times < 2 * once < memory_of_step("nerfgen", 1)


@pytest.mark.parametrize("method", ["nerfgen", "nerfgen-hq"])
def test_a_rendered_chunk_takes_the_memory_that_it_is_made_for(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config: Any = METHODS[method].config.pipeline.model
    with FakeTensorMode(allow_non_fake_inputs=True), LiveMemory() as memory, torch.no_grad():
        model = make_model(config).eval()
        rays = model.collider(make_rays(config.eval_num_rays_per_chunk))
        terms = model.foreground_field.latent_terms(torch.rand(1, config.latent_dim))
        renderer: Any = model.ray_renderer
        before = memory.now
        # As if all rays met the object: how many do depends on values.
        renderer._render(rays, terms, rays.directions, *renderer.sampler.look_up(rays), False, renderer.field)
    assert 0.25 * RENDER_MEMORY < (memory.peak - before) / 1e9 < 1.25 * RENDER_MEMORY
