"""Counted operations against those that torch counts while it runs a step."""

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from torch.utils.flop_counter import FlopCounterMode, addmm_flop

from benchmarks import products
from benchmarks.products import measured_peak, own_operations, reference_operations
from benchmarks.reference import Reference, ReferenceSettings, even_bounds
from nerfgen_ns.fields.background import BackgroundFieldConfig
from nerfgen_ns.fields.foreground import ForegroundFieldConfig
from nerfgen_ns.model.config import NerfgenModelConfig
from nerfgen_ns.rendering.ray_renderers import SamplerConfig

RAYS, SAMPLES = 10, 6


def make_rays() -> tuple[torch.Tensor, torch.Tensor]:
    origins = torch.tensor([[0.0, 0.0, 2.7]]).repeat(RAYS, 1)
    directions = torch.nn.functional.normalize(0.5 * (torch.rand(RAYS, 3) - 0.5) - origins, dim=-1)
    return origins, directions


def addmm_operations(bias, first, second, *, out_shape, **_) -> int:
    """Count a product with a bias and an activation, which torch's counter does not know."""
    return addmm_flop.__wrapped__(bias, first, second, out_shape)


def counted(step) -> int:
    fused = {torch.ops.aten._addmm_activation: addmm_operations}
    with FlopCounterMode(display=False, custom_mapping=fused) as counter:
        step()
    # Weighting the samples by a batched product is compositing; it is no layer.
    layers = [operation for operation in counter.get_flop_counts()["Global"] if "bmm" not in str(operation)]
    return sum(counter.get_flop_counts()["Global"][operation] for operation in layers)


@pytest.mark.parametrize(("width", "layers"), [(24, 4), (16, 6)])
def test_the_reference_does_the_operations_that_are_counted(width, layers):
    settings = ReferenceSettings(width=width, layers=layers, latent_dim=7, samples=SAMPLES)
    reference, (origins, directions) = Reference(4, settings), make_rays()

    def step() -> None:
        bounds = even_bounds(origins, directions, SAMPLES, stratified=False)
        pixels = reference(origins, directions, torch.zeros(RAYS, dtype=torch.long), bounds)
        sum(reference.loss(pixels, torch.rand(RAYS, 3), torch.rand(RAYS, 1)).values()).backward()

    assert counted(step) == reference_operations(settings).of(RAYS * SAMPLES, RAYS)


@pytest.mark.parametrize("in_every_layer", [False, True])
@pytest.mark.parametrize(("width", "background"), [(24, True), (16, False)])
def test_the_fast_path_does_the_operations_that_are_counted(width, background, in_every_layer):
    config = NerfgenModelConfig(
        latent_dim=7,
        foreground=ForegroundFieldConfig(
            hidden_dim=width,
            num_layers=4,
            skip_connection=2,
            num_frequencies=3,
            code_in_every_layer=in_every_layer,
        ),
        background=BackgroundFieldConfig(learned=background, hidden_dim=12, num_layers=4),
        sampler=SamplerConfig("uniform", num_samples=SAMPLES),
        use_bf16=False,
    )
    box = SceneBox(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3]))
    model = config.setup(scene_box=box, num_train_data=4, metadata={"num_identities": 4})
    origins, directions = make_rays()

    def step() -> None:
        metadata = {"cam_idx": torch.zeros(RAYS, 1, dtype=torch.long)}
        rays = RayBundle(origins, directions, torch.ones(RAYS, 1), metadata=metadata)
        batch = {"image": torch.rand(RAYS, 3), "matte": torch.rand(RAYS, 1)}
        sum(model.get_loss_dict(model(rays), batch).values()).backward()

    assert counted(step) == own_operations(config).of(RAYS * SAMPLES, RAYS)


def test_large_products_run_at_some_rate(monkeypatch):
    monkeypatch.setattr(products, "SECONDS_EACH_SIZE", 0.01)
    assert measured_peak(torch.device("cpu"), torch.float32) > 0
