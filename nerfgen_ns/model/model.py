"""The model: latent table → samples → fields → compositing → losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.model_components import renderers
from nerfstudio.model_components.scene_colliders import AABBBoxCollider
from nerfstudio.models.base_model import Model
from nerfstudio.utils import colormaps
from torch import Tensor, nn
from torch.nn import Parameter

from nerfgen_ns.errors import UsageError, exit_with_one_line
from nerfgen_ns.fields.background import BackgroundField
from nerfgen_ns.fields.foreground import ForegroundField
from nerfgen_ns.fields.heads import FeatureHead, LabelHead
from nerfgen_ns.fields.query import Query, similarity
from nerfgen_ns.fields.regions import EditedField, RegionConfig, ShownField, edited_field
from nerfgen_ns.latents.latent_table import LatentTable
from nerfgen_ns.metrics.images import image_metrics, mask_iou, psnr
from nerfgen_ns.model.camera_optimizer import DRIFT_STEPS, CameraOptimizer, rotation_degrees
from nerfgen_ns.model.conditioning import Shown, ViewerHook, codes_of_rays
from nerfgen_ns.model.config import NerfgenModelConfig
from nerfgen_ns.model.losses import (
    LossConfig,
    PatchDistance,
    hard_surface_loss,
    landmark_depth_loss,
    mask_loss,
    normal_smoothness_loss,
    perceptual_loss,
    rgb_loss,
    ssim_distance,
)
from nerfgen_ns.model.symmetry import draw_mirrored, mirror_codes, mirror_rays
from nerfgen_ns.rendering.ray_renderers import RayRenderer, make_ray_renderer
from nerfgen_ns.rendering.volume_rendering import SeenSamples, normal_colors
from nerfgen_ns.utils.machine import has_fast_bf16


class NerfgenModel(Model):
    """The auto-decoder radiance field of a class: LOLNeRF (CVPR 2022)."""

    config: NerfgenModelConfig

    def populate_modules(self) -> None:
        """Make the latent table, the fields and the sampler.

        Raises:
            UsageError: an option makes no model.
        """
        super().populate_modules()
        config = self.config
        config.check()
        # nerfstudio makes the model on the processor and moves it; `device` is where it will run.
        device = torch.device(self.kwargs.get("device", "cpu"))
        use_bf16 = config.use_bf16 and has_fast_bf16(device)
        metadata: Mapping[str, Any] = self.kwargs.get("metadata") or {}
        self.latent_table = LatentTable(
            metadata.get("num_identities", self.num_train_data), config.latent_dim, config.latent_init_std
        )
        if config.identity is not None:
            self.latent_table.row(config.identity)
        sizes = {"latent_dim": config.latent_dim, "use_bf16": use_bf16}
        self.foreground_field: ForegroundField = config.foreground.setup(**sizes)
        self.background_field: BackgroundField | None = (
            config.background.setup(**sizes) if config.background.learned else None
        )
        # Photographs that share an identity have a camera each.
        self.camera_optimizer: CameraOptimizer | None = (
            config.camera_optimizer.setup(num_cameras=self.num_train_data)
            if config.camera_optimizer.mode != "off"
            else None
        )
        self.label_head: LabelHead | None = (
            config.label_head.setup(features=config.foreground.hidden_dim) if config.label_head else None
        )
        """What tells the label of a sample; training leaves it as it is."""
        self.feature_head: FeatureHead | None = (
            config.feature_head.setup(features=config.foreground.hidden_dim) if config.feature_head else None
        )
        """The same for its features."""
        self.collider = AABBBoxCollider(  # type: ignore[assignment]
            self.scene_box, near_plane=0.05
        )
        self.ray_renderer: RayRenderer = make_ray_renderer(
            config.sampler, self.foreground_field, self.latent_table, device, self.num_train_data
        )
        self.patch_distance: PatchDistance | None = (
            ssim_distance if config.losses.perceptual_distance == "ssim" else None
        )
        """The distance of the perceptual loss. A training gives the model one whose network it has loaded."""
        self.viewer_panel: ViewerHook | None = None
        """What the viewer's controls ask for. nerfstudio's viewer finds its controls as attributes."""

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Return the networks, and the latent table, whose sparse gradients have their own optimizer."""
        fields: list[nn.Module] = [self.foreground_field]
        if self.background_field is not None:
            fields.append(self.background_field)
        groups = {
            "fields": [parameter for module in fields for parameter in module.parameters()],
            "latent_table": list(self.latent_table.parameters()),
        }
        if self.camera_optimizer is not None:
            groups["camera_opt"] = list(self.camera_optimizer.parameters())
        return groups

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Return what updates the sampler's grid, and what the camera optimizer does in each step."""
        after, before = (
            TrainingCallbackLocation.AFTER_TRAIN_ITERATION,
            TrainingCallbackLocation.BEFORE_TRAIN_ITERATION,
        )
        callbacks = [TrainingCallback([after], self.ray_renderer.after_step, update_every_num_iters=1)]
        if self.camera_optimizer is not None:
            optimizers = training_callback_attributes.optimizers
            assert optimizers is not None
            (group,) = optimizers.optimizers["camera_opt"].param_groups
            callbacks += [
                TrainingCallback([before], self.camera_optimizer.follow, 1, kwargs={"group": group}),
                TrainingCallback([after], self.camera_optimizer.after_step, DRIFT_STEPS),
            ]
        return callbacks

    def forward(self, ray_bundle: RayBundle | Cameras) -> dict[str, Any]:
        """Render rays, those of a photograph from its refined camera."""
        assert isinstance(ray_bundle, RayBundle)
        if self.camera_optimizer is None:
            return super().forward(ray_bundle)
        # Products of rays keep their precision within an autocast.
        with torch.autocast(self.device.type, enabled=False):
            ray_bundle, pose_deltas = self.camera_optimizer.move_rays(ray_bundle)
        outputs = super().forward(ray_bundle)
        if self.training and pose_deltas is not None:
            outputs["pose_deltas"] = pose_deltas
        return outputs

    def get_outputs(  # type: ignore[override]
        self, ray_bundle: RayBundle | Cameras
    ) -> dict[str, Tensor]:
        """Render rays that carry their own identity, as those of nerfstudio's commands and viewer do.

        Which code a ray shows is decided in `codes_of_rays`, and what is behind the object in this order: the
        viewer's panel, nerfstudio's background of a crop, the background field. See `render` for the outputs.
        """
        assert isinstance(ray_bundle, RayBundle)
        shown = Shown() if self.viewer_panel is None else self.viewer_panel.shown(ray_bundle)
        codes = codes_of_rays(self.latent_table, ray_bundle, shown.code, self.config.identity)
        background: Sequence[float] | Tensor | None = shown.background
        if background is None and not self.training and renderers.BACKGROUND_COLOR_OVERRIDE is not None:
            background = renderers.BACKGROUND_COLOR_OVERRIDE
        return self.render(ray_bundle, codes, background, region=shown.region, query=shown.query)

    def render(
        self,
        rays: RayBundle,
        codes: Float[Tensor, "codes latent"],
        background: Sequence[float] | Float[Tensor, "3"] | None = None,
        probabilities: bool = False,
        region: RegionConfig | None = None,
        query: Query | None = None,
        raw_features: bool = False,
    ) -> dict[str, Tensor]:
        """Render rays through the class as latent codes make it.

        It does not change the model: threads may share one in evaluation mode.

        Args:
            rays: of the class frame. Without near and far ends they get those of the class's box.
            codes: one for all rays, or one each.
            background: a color, red, green, blue in [0, 1], in place of the background field's.
            probabilities: whether to return the probability of each label.
            region: what is done to parts of objects; if not set, what the configuration says. Training, and
                fitting, which renders in training mode, see whole objects.
            query: what "similarity" looks for, and a region without labels is, in place of the run's own.
            raw_features: whether to return features as numbers.

        Returns:
            One value a ray: "rgb", "foreground" and "background", colors in [0, 1]; "accumulation" in [0, 1];
            "depth" along the ray in the class's units. In training also "weights", of the samples, and, for
            the smoothness of normals, "points" of the surface; otherwise also "normals", of the class frame,
            as colors in [0, 1], and of a model with labels "labels", the color of the most probable label,
            and "label_confidence", its probability. If asked for, "label_probabilities" (rays, labels). Of a
            model with features also "features", colors, and where there is a query "similarity" to it, in
            [0, 1]. If asked for, "raw_features" (rays, dims), of the length of the accumulation.
        """
        rays = self._with_ends(rays)
        behind = self._background(rays.directions, codes, background)
        seen = rays
        if self.training and self.config.symmetry.mirrored_share > 0:
            mirrored = draw_mirrored(rays, self.config.symmetry.mirrored_share)
            seen = mirror_rays(rays, mirrored)
            codes = mirror_codes(codes, mirrored, self.config.symmetry.lopsided_share)
        terms = self.foreground_field.latent_terms(codes)
        has_labels = self.label_head is not None and (probabilities or not self.training)
        has_features = self.feature_head is not None and not self.training
        field = self.shown_field(region, query)
        pixels, weights, samples = self.ray_renderer(seen, terms, behind, has_labels or has_features, field)
        outputs = {**pixels._asdict(), "background": behind}
        points = rays.origins + rays.directions * pixels.depth
        if not self.training:
            outputs["normals"] = normal_colors(field, points, terms, pixels.accumulation)
        else:
            outputs["weights"] = weights
            if self.config.losses.normal_smoothness_loss_mult > 0:
                outputs["points"] = points
        if samples is not None and has_labels:
            outputs |= self._label_outputs(samples, len(behind), probabilities, field)
        if samples is not None and has_features:
            outputs |= self._feature_outputs(samples, len(behind), query, raw_features)
        return outputs

    def shown_field(self, region: RegionConfig | None = None, query: Query | None = None) -> ShownField:
        """Return the foreground field as it is shown: in training as it is, else with the effect on a region.

        Args:
            region: if not set, that of the configuration.
            query: what a region without labels is; if not set, the run's own query.
        """
        if self.training:
            return self.foreground_field
        region = self.config.region if region is None else region
        return edited_field(self.foreground_field, region, self.label_head, self.feature_head, query)

    @torch.no_grad()
    def seen_samples(self, rays: RayBundle, codes: Float[Tensor, "codes latent"]) -> SeenSamples:
        """Return the samples that show in the pixels of rays, with their hidden features; see `render`.

        Objects are whole, whatever the configuration does to regions of them.
        """
        rays = self._with_ends(rays)
        terms = self.foreground_field.latent_terms(codes)
        behind = torch.zeros_like(rays.directions)
        samples = self.ray_renderer(rays, terms, behind, keep_samples=True).seen
        assert samples is not None
        return samples

    def _with_ends(self, rays: RayBundle) -> RayBundle:
        """Return rays with near and far ends, those of the class's box where they have none."""
        if rays.nears is None or rays.fars is None:
            rays = self.collider(rays)  # type: ignore[misc]
        assert rays.nears is not None and rays.fars is not None
        if not self.training:
            # Looking for the photograph nearest to a camera, nerfstudio gives whole numbers for the ends, and
            # between a camera and itself no direction.
            rays = replace(
                rays,
                directions=rays.directions.nan_to_num(),
                nears=rays.nears.to(rays.origins),
                fars=rays.fars.to(rays.origins),
            )
        return rays

    def _label_outputs(
        self, samples: SeenSamples, rays: int, probabilities: bool, field: ShownField
    ) -> dict[str, Tensor]:
        head = self.label_head
        assert head is not None
        of_samples = head(samples.features, samples.positions)
        if isinstance(field, EditedField):
            of_samples = field.labels(of_samples)
        values = samples.composite(of_samples, rays)
        of_labels = head.with_background(values)
        outputs = {"label_probabilities": of_labels} if probabilities else {}
        if not self.training:
            outputs["labels"], outputs["label_confidence"] = head.shown(of_labels)
        return outputs

    def _feature_outputs(
        self, samples: SeenSamples, rays: int, query: Query | None, raw: bool
    ) -> dict[str, Tensor]:
        head = self.feature_head
        assert head is not None
        values = samples.composite(head(samples.features, samples.positions), rays)
        outputs = {"features": head.shown(values)}
        query = query or head.query
        if query is not None:
            # Faint rays have a direction too, and it means little.
            accumulation = samples.composite(values.new_ones(len(samples.weights), 1), rays)
            outputs["similarity"] = similarity(values, query)[:, None] * accumulation.clamp(max=1.0)
        return outputs | ({"raw_features": values} if raw else {})

    @torch.no_grad()
    def render_camera(
        self,
        camera: Cameras,
        code: Float[Tensor, "1 latent"],
        background: Sequence[float] | None = None,
        probabilities: bool = False,
        region: RegionConfig | None = None,
        query: Query | None = None,
        raw_features: bool = False,
    ) -> dict[str, Float[Tensor, "height width channels"]]:
        """Render all pixels of a camera, of shape (1,), with one latent code; see `render`."""
        rays = camera.to(self.device).generate_rays(camera_indices=0, keep_shape=True)
        height, width = rays.origins.shape[:2]
        size = self.config.eval_num_rays_per_chunk
        chunks = [
            self.render(
                rays.get_row_major_sliced_ray_bundle(start, start + size),
                code,
                background,
                probabilities,
                region,
                query,
                raw_features,
            )
            for start in range(0, height * width, size)
        ]
        return {
            name: torch.cat([chunk[name] for chunk in chunks]).view(height, width, -1) for name in chunks[0]
        }

    def _background(
        self,
        directions: Float[Tensor, "rays 3"],
        codes: Float[Tensor, "codes latent"],
        color: Sequence[float] | Float[Tensor, "3"] | None,
    ) -> Float[Tensor, "rays 3"]:
        if self.background_field is not None and color is None:
            return self.background_field(directions, codes)
        color = self.config.background.solid_color if color is None else color
        # Filled where they are: a copy from the processor would wait for the GPU in every step.
        return torch.cat([torch.full_like(directions[:, :1], float(share)) for share in color], dim=-1)

    @torch.no_grad()
    def get_outputs_for_camera(
        self, camera: Cameras, obb_box: OrientedBox | None = None
    ) -> dict[str, Tensor]:
        """Render a camera for nerfstudio's commands; an identity that does not exist ends them with one line.

        Our own code calls `render_camera`.
        """
        with exit_with_one_line():
            return super().get_outputs_for_camera(camera, obb_box)

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the metrics of a batch.

        They are the PSNR of its pixels, in dB, and their mask IoU, where there are mattes; in training the
        hard-surface value; with a camera optimizer, by how many degrees cameras are rotated.
        """
        metrics = {"psnr": psnr(outputs["rgb"].detach(), batch["image"])}
        if "matte" in batch:
            metrics["mask_iou"] = mask_iou(outputs["accumulation"].detach(), batch["matte"])
        if "weights" in outputs:
            metrics["hard_surface"] = hard_surface_loss(outputs["weights"])
        if "pose_deltas" in outputs:
            degrees = rotation_degrees(outputs["pose_deltas"].detach())
            metrics |= {"camera_opt_rotation": degrees.mean(), "camera_opt_rotation_median": degrees.median()}
        return metrics

    def get_loss_dict(
        self,
        outputs: dict[str, Tensor],
        batch: dict[str, Tensor],
        metrics_dict: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return the losses, and with a camera optimizer its prior, each with its weight.

        The hard-surface value is taken from the metrics where it is there: it is computed once a step.
        """
        return self.weighted_losses(outputs, batch, self.config.losses, metrics_dict)

    def weighted_losses(
        self,
        outputs: dict[str, Tensor],
        batch: dict[str, Tensor],
        config: LossConfig,
        metrics_dict: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return the losses of `get_loss_dict` with other weights."""
        colors = rgb_loss(outputs["rgb"], batch["image"], batch.get("matte"), config.background_weight)
        losses = {"rgb_loss": config.rgb_loss_mult * colors}
        if "matte" in batch and config.mask_loss_mult > 0:
            losses["mask_loss"] = config.mask_loss_mult * mask_loss(outputs["accumulation"], batch["matte"])
        if "weights" in outputs and config.hard_surface_loss_mult > 0:
            value = (metrics_dict or {}).get("hard_surface")
            if value is None:
                value = hard_surface_loss(outputs["weights"])
            losses["hard_surface_loss"] = config.hard_surface_loss_mult * value
        if "distance" in batch and config.landmark_depth_loss_mult > 0:
            value = landmark_depth_loss(outputs["depth"], batch["distance"], batch["distance_std"])
            losses["landmark_depth_loss"] = config.landmark_depth_loss_mult * value
        if "patches" in batch and config.perceptual_loss_mult > 0 and self.patch_distance is not None:
            value = perceptual_loss(
                outputs["rgb"],
                batch["image"],
                batch["patches"],
                self.patch_distance,
                batch.get("matte"),
                config.background_weight,
            )
            losses["perceptual_loss"] = config.perceptual_loss_mult * value
        if "patches" in batch and "points" in outputs and config.normal_smoothness_loss_mult > 0:
            value = normal_smoothness_loss(outputs["points"], outputs["accumulation"], batch["patches"])
            losses["normal_smoothness_loss"] = config.normal_smoothness_loss_mult * value
        if "pose_deltas" in outputs:
            assert self.camera_optimizer is not None
            losses["pose_loss"] = self.camera_optimizer.loss(outputs["pose_deltas"])
        return losses

    def get_rgba_image(self, outputs: dict[str, Tensor], output_name: str = "rgb") -> Tensor:
        """Return the foreground with its accumulation as alpha: no background is exported as surface."""
        alpha = outputs["accumulation"]
        color = (
            outputs["foreground"] / alpha.clamp(min=1e-6) if output_name == "rgb" else outputs[output_name]
        )
        return torch.cat([color.clamp(0.0, 1.0), alpha], dim=-1)

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Return the metrics of a photograph, and pictures of its reconstruction.

        The metrics are PSNR, SSIM and, where there are mattes, mask IoU. The pictures show the
        reconstruction, its accumulation, depth and normals.
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

        The grid of a sampler may differ: the importance sampler takes over the volumetric one's, where it has
        as many cells; otherwise samples may fall anywhere until it has learned its own.

        Raises:
            UsageError: it is of another configuration; the line names what differs.
        """
        own = self.state_dict()
        state_dict = {**state_dict, **self.ray_renderer.converted(state_dict, "ray_renderer.")}
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
        if differing:
            others = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
            raise UsageError(
                f"the checkpoint was made with another configuration: {differing[0]}{others} does not fit; "
                "use the config.yml beside it and the same --data"
            )
        return super().load_state_dict({**own, **fitting}, strict, assign)
