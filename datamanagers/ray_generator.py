"""Fast rays of single pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Int
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.model_components.ray_generators import RayGenerator
from torch import Tensor, nn


class PixelRays(nn.Module):
    """The ray bundle of pixels given by (image, row, column).

    Camera fitting makes cameras without distortion. For these, a direct computation builds only what the
    model reads. It agrees with nerfstudio's ray generator, which makes the rays of every other camera.

    Args:
        cameras: one camera for each image.
    """

    def __init__(self, cameras: Cameras) -> None:
        super().__init__()
        assert cameras.metadata is not None
        self.cameras = cameras
        self.carried = {
            name: cameras.metadata[name] for name in ("cam_idx", "photograph") if name in cameras.metadata
        }
        distorted = cameras.distortion_params is not None and bool(cameras.distortion_params.any())
        perspective = bool((cameras.camera_type == CameraType.PERSPECTIVE.value).all())
        self.generator = RayGenerator(cameras) if distorted or not perspective else None

    def forward(self, indices: Int[Tensor, "rays 3"]) -> RayBundle:
        """Make rays with origins and unit directions in the class frame, and the cameras' metadata.

        These are rows of the latent table as "cam_idx" and perhaps numbers of photographs as "photograph".
        "pixel" (rays, 2) says where in the image a ray is: from 0 to 1 downward, and to the right.
        """
        if self.generator is not None:
            return self.generator(indices)
        cameras = self.cameras
        indices = indices.to(cameras.device)
        image, row, column = indices.unbind(-1)
        fx, fy = cameras.fx[image], cameras.fy[image]
        x = (column[:, None] + 0.5 - cameras.cx[image]) / fx
        y = -(row[:, None] + 0.5 - cameras.cy[image]) / fy
        in_camera = torch.cat([x, y, -torch.ones_like(x)], dim=-1)
        camera_to_world = cameras.camera_to_worlds[image]
        # Not a matrix product: within an autocast that would round rays to half precision.
        direction = (camera_to_world[:, :, :3] * in_camera[:, None]).sum(dim=-1)
        return RayBundle(
            origins=camera_to_world[:, :, 3],
            directions=F.normalize(direction, dim=-1),
            pixel_area=1.0 / (fx * fy),
            camera_indices=image[:, None],
            metadata={
                "directions_norm": direction.norm(dim=-1, keepdim=True),
                "pixel": torch.cat(
                    [
                        (row[:, None] + 0.5) / cameras.height[image],
                        (column[:, None] + 0.5) / cameras.width[image],
                    ],
                    dim=-1,
                ),
                **{name: values[image] for name, values in self.carried.items()},
            },
        )
