"""The model: latent table → samples → fields → compositing → losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.engine.callbacks import (
    TrainingCallback,
    TrainingCallbackAttributes,
    TrainingCallbackLocation,
)
from nerfstudio.model_components.scene_colliders import AABBBoxCollider
from nerfstudio.models.base_model import Model
from nerfstudio.utils import colormaps
from torch import Tensor, nn
from torch.nn import Parameter

from nerfgen_ns.errors import UsageError, exit_with_one_line
from nerfgen_ns.evaluation.image_metrics import image_metrics, mask_iou, psnr
from nerfgen_ns.fields.background import BackgroundField
from nerfgen_ns.fields.foreground import ForegroundField
from nerfgen_ns.fields.precision import has_fast_bf16
from nerfgen_ns.identity import codes_of_rays
from nerfgen_ns.latent_table import LatentTable
from nerfgen_ns.losses import hard_surface_loss, mask_loss, rgb_loss
from nerfgen_ns.mirroring import draw_mirrored, mirror_codes, mirror_rays
from nerfgen_ns.model_config import NerfgenModelConfig
from nerfgen_ns.normals import normal_colours
from nerfgen_ns.pose_correction import DRIFT_STEPS, PoseCorrection, pose_loss, turn_in_degrees
from nerfgen_ns.rendering import RayRenderer, make_ray_renderer
from nerfgen_ns.viewer_panel.panel import ViewerPanel


class NerfgenModel(Model):
    """The auto-decoder radiance field of a class: LOLNeRF (CVPR 2022)."""

    config: NerfgenModelConfig

    def populate_modules(self) -> None:
        """Make the latent table, the fields and the sampler."""
        super().populate_modules()
        config = self.config
        use_bf16 = config.use_bf16 and has_fast_bf16("cuda" if torch.cuda.is_available() else "cpu")
        metadata: Mapping[str, Any] = self.kwargs.get("metadata") or {}
        self.latent_table = LatentTable(
            metadata.get("num_identities", self.num_train_data), config.latent_dim, config.latent_init_std
        )
        if config.identity is not None:
            with exit_with_one_line():
                self.latent_table.row(config.identity)
        self.foreground_field = ForegroundField(
            config.latent_dim, config.width, config.layers, config.skip_layer, config.octaves, use_bf16
        )
        self.background_field = (
            BackgroundField(
                config.latent_dim,
                config.background_width,
                config.background_layers,
                config.background_octaves,
                use_bf16,
            )
            if config.use_background_field
            else None
        )
        # Photographs that share an identity have a camera each.
        self.pose_correction = PoseCorrection(self.num_train_data) if config.pose_correction else None
        self.collider = AABBBoxCollider(  # type: ignore[assignment]
            self.scene_box, near_plane=0.05
        )
        self.ray_renderer: RayRenderer = make_ray_renderer(config, self.foreground_field, self.latent_table)
        self.override_code: Tensor | None = None
        self.viewer_panel = ViewerPanel()

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """The networks, and the latent table, whose sparse gradients have an optimiser of their own."""
        fields: list[nn.Module] = [self.foreground_field]
        if self.background_field is not None:
            fields.append(self.background_field)
        groups = {
            "fields": [parameter for module in fields for parameter in module.parameters()],
            "latent_table": list(self.latent_table.parameters()),
        }
        if self.pose_correction is not None:
            groups["pose_correction"] = list(self.pose_correction.parameters())
        return groups

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Keep the sampler's grid up with the class, and the pose correction with its optimiser."""
        after, before = (
            TrainingCallbackLocation.AFTER_TRAIN_ITERATION,
            TrainingCallbackLocation.BEFORE_TRAIN_ITERATION,
        )
        callbacks = [TrainingCallback([after], self.ray_renderer.after_step, update_every_num_iters=1)]
        if self.pose_correction is not None:
            optimizers = training_callback_attributes.optimizers
            assert optimizers is not None
            (group,) = optimizers.optimizers["pose_correction"].param_groups
            callbacks += [
                TrainingCallback([before], self.pose_correction.follow, 1, kwargs={"group": group}),
                TrainingCallback([after], self.pose_correction.after_step, DRIFT_STEPS),
            ]
        return callbacks

    def forward(self, ray_bundle: RayBundle | Cameras) -> dict[str, Any]:
        """Render rays, those of a photograph as its corrected camera sends them."""
        assert isinstance(ray_bundle, RayBundle)
        if self.pose_correction is None:
            return super().forward(ray_bundle)
        ray_bundle, motions = self.pose_correction.move_rays(ray_bundle)
        outputs = super().forward(ray_bundle)
        if self.training and motions is not None:
            outputs["motions"] = motions
        return outputs

    def get_outputs(  # type: ignore[override]
        self, ray_bundle: RayBundle | Cameras
    ) -> dict[str, Tensor]:
        """One value a ray: colours and accumulation in [0, 1], depth along the ray in the class's units.

        Outside training also "normals", of the class frame, as colours in [0, 1].
        """
        assert isinstance(ray_bundle, RayBundle)
        shown = self.viewer_panel.shown(ray_bundle)
        override = shown.code if self.override_code is None else self.override_code
        codes = codes_of_rays(self.latent_table, ray_bundle, override, self.config.identity)
        background = self._background(ray_bundle.directions, codes, shown.background)
        if self.training and self.config.mirrored_share > 0:
            mirrored = draw_mirrored(ray_bundle, self.config.mirrored_share)
            ray_bundle = mirror_rays(ray_bundle, mirrored)
            codes = mirror_codes(codes, mirrored, self.config.lopsided_share)
        terms = self.foreground_field.latent_terms(codes)
        pixels, weights = self.ray_renderer(ray_bundle, terms, background)
        outputs = {**pixels._asdict(), "background": background}
        if self.training:
            outputs["weights"] = weights
        else:
            positions = ray_bundle.origins + ray_bundle.directions * pixels.depth
            outputs["normals"] = normal_colours(self.foreground_field, positions, terms, pixels.accumulation)
        return outputs

    def _background(
        self,
        directions: Float[Tensor, "rays 3"],
        codes: Float[Tensor, "codes latent"],
        solid: tuple[float, float, float] | None,
    ) -> Float[Tensor, "rays 3"]:
        if self.background_field is None or solid is not None:
            return directions.new_tensor(solid or self.config.solid_background).expand(len(directions), 3)
        return self.background_field(directions, codes)

    @torch.no_grad()
    def get_outputs_for_camera(
        self, camera: Cameras, obb_box: OrientedBox | None = None
    ) -> dict[str, Tensor]:
        """Render a camera; an identity that does not exist ends the command with one line."""
        with exit_with_one_line():
            return super().get_outputs_for_camera(camera, obb_box)

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """PSNR of the batch's pixels, in dB, and their mask IoU, where there are mattes; in training the
        hard-surface value; with corrected poses, by how many degrees cameras are turned.
        """
        metrics = {"psnr": psnr(outputs["rgb"].detach(), batch["image"])}
        if "matte" in batch:
            metrics["mask_iou"] = mask_iou(outputs["accumulation"].detach(), batch["matte"])
        if "weights" in outputs:
            metrics["hard_surface"] = hard_surface_loss(outputs["weights"])
        if "motions" in outputs:
            degrees = turn_in_degrees(outputs["motions"].detach())
            metrics |= {"pose_change_mean": degrees.mean(), "pose_change_median": degrees.median()}
        return metrics

    def get_loss_dict(
        self,
        outputs: dict[str, Tensor],
        batch: dict[str, Tensor],
        metrics_dict: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The three losses, and with corrected poses their prior, each with its weight.

        The hard-surface value is taken from the metrics where it is there: it is computed once a step.
        """
        config = self.config
        return self.weighted_losses(
            outputs, batch, config.mask_loss_mult, config.background_weight, metrics_dict
        )

    def weighted_losses(
        self,
        outputs: dict[str, Tensor],
        batch: dict[str, Tensor],
        mask_loss_mult: float,
        background_weight: float,
        metrics_dict: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The losses of `get_loss_dict` with other weights of mattes and backgrounds."""
        config = self.config
        colours = rgb_loss(outputs["rgb"], batch["image"], batch.get("matte"), background_weight)
        losses = {"rgb_loss": config.rgb_loss_mult * colours}
        if "matte" in batch and mask_loss_mult > 0:
            losses["mask_loss"] = mask_loss_mult * mask_loss(outputs["accumulation"], batch["matte"])
        if "weights" in outputs and config.hard_surface_loss_mult > 0:
            value = (metrics_dict or {}).get("hard_surface")
            if value is None:
                value = hard_surface_loss(outputs["weights"])
            losses["hard_surface_loss"] = config.hard_surface_loss_mult * value
        if "motions" in outputs:
            losses["pose_loss"] = config.pose_correction_mult * pose_loss(
                outputs["motions"], config.pose_correction_degrees
            )
        return losses

    def get_rgba_image(self, outputs: dict[str, Tensor], output_name: str = "rgb") -> Tensor:
        """The foreground with its accumulation as alpha: no background is exported as surface."""
        alpha = outputs["accumulation"]
        colour = (
            outputs["foreground"] / alpha.clamp(min=1e-6) if output_name == "rgb" else outputs[output_name]
        )
        return torch.cat([colour.clamp(0.0, 1.0), alpha], dim=-1)

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """PSNR, SSIM and, where there are mattes, mask IoU of a photograph; pictures of its reconstruction,
        accumulation, depth and normals.
        """
        image = batch["image"].to(self.device)
        metrics = image_metrics(outputs["rgb"], image)
        accumulation = colormaps.apply_colormap(outputs["accumulation"])
        depth = colormaps.apply_depth_colormap(outputs["depth"], accumulation=outputs["accumulation"])
        images = {
            "img": torch.cat([image, outputs["rgb"]], dim=1),
            "foreground": torch.cat([outputs["foreground"], outputs["background"]], dim=1),
            "accumulation": accumulation,
            "depth": depth,
            "normals": outputs["normals"],
        }
        if "matte" in batch:
            matte = batch["matte"].to(self.device)
            metrics["mask_iou"] = float(mask_iou(outputs["accumulation"], matte))
            images["accumulation"] = torch.cat([colormaps.apply_colormap(matte), accumulation], dim=1)
        return metrics, images

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a checkpoint.

        A checkpoint of another configuration ends the command with one line that names what differs. The grid
        of a sampler may differ: CUDA trains another than a CPU does, and without one samples fall evenly.
        """
        own = self.state_dict()
        fitting = {
            name: value
            for name, value in state_dict.items()
            if name in own and own[name].shape == value.shape
        }
        differing = sorted(
            name
            for name in (own.keys() | state_dict.keys()) - fitting.keys()
            if not name.startswith("ray_renderer.")
        )
        with exit_with_one_line():
            if differing:
                others = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
                raise UsageError(
                    f"the checkpoint was made with another configuration: {differing[0]}{others} does not "
                    "fit; use the config.yml beside it and the same --data"
                )
        return super().load_state_dict({**own, **fitting}, strict, assign)
