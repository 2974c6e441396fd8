"""Models of a few units, and rays, cameras and batches for them."""

import math
from functools import reduce

import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox

from nerfgen_ns.fields.background import BackgroundFieldConfig
from nerfgen_ns.fields.foreground import ForegroundFieldConfig
from nerfgen_ns.model.config import NerfgenModelConfig
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.rendering.ray_renderers import SamplerConfig

IDENTITIES = 5


def small_config(**options) -> NerfgenModelConfig:
    """A configuration of a few units; an option of a nested one is given as `sampler__kind="uniform"`."""
    config = NerfgenModelConfig(
        latent_dim=6,
        latent_init_std=1.0,
        foreground=ForegroundFieldConfig(hidden_dim=16, num_layers=3, skip_connection=1, num_frequencies=2),
        background=BackgroundFieldConfig(hidden_dim=16, num_layers=2, num_frequencies=1),
        sampler=SamplerConfig(num_samples=8, grid_resolution=8),
        use_bf16=False,
    )
    for name, value in options.items():
        *outer, last = name.split("__")
        part = reduce(getattr, outer, config)
        assert hasattr(part, last), name
        setattr(part, last, value)
    return config


def make_model(
    identities: int = IDENTITIES, device: str = "cpu", num_train_data: int = 99, **options
) -> NerfgenModel:
    """A model of `small_config` with other options."""
    box = SceneBox(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3]))
    return small_config(**options).setup(
        scene_box=box,
        num_train_data=num_train_data,
        metadata={"num_identities": identities},
        device=device,
    )


def make_rays(count: int = 10, **metadata) -> RayBundle:
    """Rays from in front of the box toward its middle."""
    origins = torch.tensor([[0.0, 0.0, 2.7]]).repeat(count, 1)
    targets = 0.5 * (torch.rand(count, 3) - 0.5)
    return RayBundle(
        origins=origins,
        directions=torch.nn.functional.normalize(targets - origins, dim=-1),
        pixel_area=torch.ones(count, 1),
        metadata=metadata,
    )


def make_camera(height: int = 6, width: int = 8, yaw: float = 0.0, **metadata) -> Cameras:
    sine, cosine = math.sin(yaw), math.cos(yaw)
    pose = [[cosine, 0, sine, 2.7 * sine], [0, 1, 0, 0], [-sine, 0, cosine, 2.7 * cosine]]
    return Cameras(
        camera_to_worlds=torch.tensor([pose]),
        fx=10.0, fy=10.0, cx=width / 2, cy=height / 2, width=width, height=height,
        camera_type=CameraType.PERSPECTIVE, metadata=metadata,
    )  # fmt: skip


def batch_for(rays: RayBundle) -> dict[str, torch.Tensor]:
    return {"image": torch.rand(len(rays), 3), "matte": torch.rand(len(rays), 1)}
