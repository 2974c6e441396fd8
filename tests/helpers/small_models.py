"""Models of a few units, and rays, cameras and batches for them."""

import math

import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox

from nerfgen_ns.model.config import NerfgenModelConfig
from nerfgen_ns.model.model import NerfgenModel

IDENTITIES = 5


def make_model(identities: int = IDENTITIES, device: str = "cpu", **options) -> NerfgenModel:
    config = NerfgenModelConfig(
        **{
            "latent_dim": 6, "width": 16, "layers": 3, "skip_layer": 1, "octaves": 2, "num_samples": 8,
            "background_width": 16, "background_layers": 2, "background_octaves": 1, "grid_resolution": 8,
            "latent_init_std": 1.0, "use_bf16": False, **options,
        }
    )  # fmt: skip
    box = SceneBox(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3]))
    return config.setup(
        scene_box=box, num_train_data=99, metadata={"num_identities": identities}, device=device
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
