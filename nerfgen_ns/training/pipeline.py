"""The pipeline: data manager and model, on one process or on several that train one model together."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from torch import Tensor
from torch.cuda.amp.grad_scaler import GradScaler
from torch.nn import Parameter
from torch.nn.parallel import DistributedDataParallel

from nerfgen_ns.datamanagers.data_manager import NerfgenDataManager, NerfgenDataManagerConfig
from nerfgen_ns.datamanagers.data_record import Fingerprint
from nerfgen_ns.errors import UsageError, check_options, exit_with_one_line
from nerfgen_ns.metrics.networks import SMALLEST, Unavailable, lpips_network
from nerfgen_ns.model.config import NerfgenModelConfig
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.rendering.ray_renderers import MARK_STEPS
from nerfgen_ns.training.adversarial import PARAMETERS, AdversarialConfig, AdversarialStage
from nerfgen_ns.training.checkpoints import CODES_IN_CHECKPOINT, POSE_DELTAS_IN_CHECKPOINT
from nerfgen_ns.training.distributed.ranks import copy_first, in_turn, keep_largest, share, tables_of
from nerfgen_ns.viewer.choice import ViewerPanelConfig

FINGERPRINT = "photographs."
"""Prefix of the names of the photographs' fingerprint in a checkpoint."""
MEANS_OVER = {"hard_surface_loss": "weights"}
"""The losses that are not means over the batch's rays, and the output whose values each is a mean over."""


@dataclass
class NerfgenPipelineConfig(VanillaPipelineConfig):
    """nerfstudio's pipeline, which several processes can share."""

    _target: type = field(default_factory=lambda: NerfgenPipeline)
    """Target class to instantiate."""
    viewer_panel: ViewerPanelConfig = field(default_factory=ViewerPanelConfig)
    """The controls of the class in nerfstudio's viewer."""
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    """Adversarial training of the networks on samples."""
    lpips_weights: Path | None = None
    """A file with AlexNet's weights as torchvision publishes them, for
    --pipeline.model.losses.perceptual-distance lpips; if not set, they are fetched."""


PATCHES = "--pipeline.datamanager.pixel-sampler.patch"
PERCEPTUAL = "--pipeline.model.losses.perceptual"
SMOOTHNESS = "--pipeline.model.losses.normal-smoothness-loss-mult"


def check_stages(config: NerfgenPipelineConfig, world_size: int) -> None:
    """Check the options of patches, of the perceptual loss and of adversarial training.

    Raises:
        UsageError: no training can use them together, or on this number of processes.
    """
    config.adversarial.check("--pipeline.adversarial")
    if config.adversarial.loss_mult > 0 and world_size > 1:
        raise UsageError("--pipeline.adversarial.loss-mult: it trains on one process alone; leave it out")
    manager, model = config.datamanager, config.model
    if not isinstance(manager, NerfgenDataManagerConfig) or not isinstance(model, NerfgenModelConfig):
        return
    sampler, losses, rays = manager.pixel_sampler, model.losses, manager.train_num_rays_per_batch
    lowest = {"patch_fraction": 0.0, "patch_size": 3, "patch_stride": 1}
    check_options(sampler, "--pipeline.datamanager.pixel-sampler", lowest, {"patch_fraction": 1.0})
    for_patches = losses.perceptual_loss_mult, losses.normal_smoothness_loss_mult
    if (sampler.patch_fraction > 0) != (max(for_patches) > 0):
        raise UsageError(
            f"{PATCHES}-fraction {sampler.patch_fraction} beside {PERCEPTUAL}-loss-mult {for_patches[0]} and "
            f"{SMOOTHNESS} {for_patches[1]}: patches need one of these losses, and these need patches"
        )
    if sampler.patch_fraction > 0 and sampler.patch_size**2 > rays:
        raise UsageError(
            f"{PATCHES}-size {sampler.patch_size}: a patch has {sampler.patch_size**2} rays and a step has "
            f"{rays}; give a smaller one, or more --pipeline.datamanager.train-num-rays-per-batch"
        )
    is_lpips = losses.perceptual_loss_mult > 0 and losses.perceptual_distance == "lpips"
    if is_lpips and sampler.patch_size < SMALLEST:
        raise UsageError(
            f"{PATCHES}-size {sampler.patch_size}: {PERCEPTUAL}-distance lpips needs {SMALLEST} or more"
        )


class NerfgenPipeline(VanillaPipeline):
    """nerfstudio's pipeline, whose model any number of processes train together, on GPUs or processors.

    nerfstudio's commands use the data manager and the model through it. It turns their errors into one line
    and an exit status.

    Each rank draws its own rays, as many as every other. torch's DDP averages the gradients of the networks;
    those of the tables, which are sparse, are left to `RankOptimizers`. The ranks then take the same steps
    as one process with all their rays. A checkpoint has the same names as that of one process.

    Args:
        config: the data manager's and the model's.
        device: of this rank.
        test_mode: see nerfstudio's.
        world_size: the number of ranks. If it is not 1, torch's process group exists.
        local_rank: the number of this rank among those of its machine.
        grad_scaler: the trainer's.
    """

    def __init__(
        self,
        config: VanillaPipelineConfig,
        device: str,
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        grad_scaler: GradScaler | None = None,
    ) -> None:
        # Photographs that are not prepared yet are prepared once. nerfstudio itself connects only GPUs.
        with exit_with_one_line(), nullcontext() if world_size == 1 else in_turn(local_rank, device):
            super().__init__(config, device, test_mode, 1, local_rank, grad_scaler)
        # A pipeline for inference has no viewer: it starts faster without the imports of the panel.
        if isinstance(config, NerfgenPipelineConfig) and test_mode != "inference":
            self.model.viewer_panel = config.viewer_panel.setup()
        self.adversarial: AdversarialStage | None = None
        """What trains the networks on samples too. It is no part of the model, and only training has it."""
        if isinstance(config, NerfgenPipelineConfig) and test_mode == "val":
            with exit_with_one_line():
                self._make_stages(config)
        if world_size > 1:
            self.world_size = world_size
            self._link(local_rank)

    def _make_stages(self, config: NerfgenPipelineConfig) -> None:
        """Make the networks that only training needs.

        Raises:
            UsageError: there are no weights for LPIPS.
        """
        model: Any = self.model
        losses = model.config.losses
        if losses.perceptual_loss_mult > 0 and losses.perceptual_distance == "lpips":
            try:
                network = lpips_network(config.lpips_weights, "--pipeline.lpips-weights").to(self.device)
            except Unavailable as error:
                raise UsageError(
                    f"--pipeline.model.losses.perceptual-distance lpips: {error}, or choose ssim"
                ) from error
            model.patch_distance = lambda *patches: network(*patches, normalize=True).mean()
        if config.adversarial.loss_mult > 0:
            self.adversarial = config.adversarial.setup().to(self.device)

    def _link(self, local_rank: int) -> None:
        """Give all ranks the same start, and average the networks' gradients from now on."""
        model = self.model
        with torch.no_grad():
            for values in (*self.tables.values(), *self.grid):
                copy_first(values)
        # nerfstudio reads the model's device from this parameter; DDP waits for every gradient that may come.
        model.device_indicator_param.requires_grad_(False)
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, list(self.tables))
        self._model = DistributedDataParallel(  # type: ignore[assignment]
            model,
            device_ids=[local_rank] if model.device.type == "cuda" else None,
            broadcast_buffers=False,
        )

    @property
    def tables(self) -> dict[str, Parameter]:
        """Return the model's parameters with sparse gradients, by name."""
        return tables_of(self.model)

    @property
    def grid(self) -> list[Tensor]:
        """Return what the model's sampler knows of where the class is, as a checkpoint holds it."""
        renderer = self.model.ray_renderer
        kept = renderer.state_dict().keys()
        return [values for name, values in renderer.named_buffers() if name in kept]

    def state_dict(  # type: ignore[override]
        self, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Return what a checkpoint holds; its names do not depend on the number of processes."""
        state = super().state_dict(*args, **kwargs)
        state = {name.replace("_model.module.", "_model.", 1): value for name, value in state.items()}
        if isinstance(self.datamanager, NerfgenDataManager):
            state |= self.datamanager.fingerprint.tensors(FINGERPRINT)
        return state

    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        """Load a checkpoint; one of other identities ends the command with one line."""
        own = {name: value for name, value in loaded_state.items() if not name.startswith(FINGERPRINT)}
        with exit_with_one_line():
            self._check_identities(loaded_state)
            has_discriminator = any(name.startswith("adversarial.") for name in own)
            if self.test_mode == "val" and self.adversarial is None and has_discriminator:
                raise UsageError(
                    "--pipeline.adversarial.loss-mult 0: the checkpoint has a discriminator, which "
                    "continues to train; give the weight that it had"
                )
            super().load_pipeline(own, step)

    def _check_identities(self, loaded_state: dict[str, Any]) -> None:
        """Do nothing if the rows of a checkpoint's latent table belong to the photographs that are there."""
        rows, expected = loaded_state.get(CODES_IN_CHECKPOINT), len(self.model.latent_table)
        ways = (
            "give the photographs that it was trained on, find the codes of others with `nerfgen fit`, or "
            "train on these from the beginning, without --load-dir"
        )
        if rows is not None and len(rows) != expected:
            raise UsageError(
                f"the checkpoint has {len(rows)} identities and the data has {expected}: a run continues "
                f"with its own identities; {ways}"
            )
        pose_deltas, photographs = loaded_state.get(POSE_DELTAS_IN_CHECKPOINT), self.model.num_train_data
        if pose_deltas is not None and len(pose_deltas) != photographs:
            raise UsageError(
                f"the checkpoint refines the cameras of {len(pose_deltas)} photographs and the data has "
                f"{photographs}; {ways}"
            )
        manager, before = self.datamanager, Fingerprint.of_tensors(loaded_state, FINGERPRINT)
        if before is None or not isinstance(manager, NerfgenDataManager):
            return
        others = manager.fingerprint.rows_of_others(before)
        if others:
            record = manager.dataparser.record
            first = record.sources[record.rows.tolist().index(others[0])]
            raise UsageError(
                f"{record.data}: {len(others)} of its {expected} identities show other photographs than the "
                f"checkpoint was trained on, {first} first, and would be given their codes; {ways}"
            )

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Return the model's groups, and the discriminator's, where there is one."""
        groups = super().get_param_groups()
        if self.adversarial is not None:
            groups[PARAMETERS] = list(self.adversarial.parameters())
        return groups

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """Return outputs, losses and metrics of this rank's rays; the loss is the mean over the ranks."""
        with exit_with_one_line():
            outputs, losses, metrics = super().get_train_loss_dict(step)
            if self.adversarial is not None and self.adversarial.is_learning:
                model, manager = self.model, self.datamanager
                assert isinstance(model, NerfgenModel) and isinstance(manager, NerfgenDataManager)
                of_samples, scores = self.adversarial.losses(model, manager, step)
                losses, metrics = {**losses, **of_samples}, {**metrics, **scores}
        if self.world_size > 1:
            for loss, output in MEANS_OVER.items():
                if loss in losses:
                    losses[loss] = losses[loss] * share(outputs[output].numel(), self.device)
        return outputs, losses, metrics

    def get_eval_loss_dict(self, step: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """Evaluate rays as nerfstudio does; an unreadable photograph ends the command with one line."""
        with exit_with_one_line():
            return super().get_eval_loss_dict(step)

    def get_eval_image_metrics_and_images(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Evaluate an image as nerfstudio does; an unreadable one ends the command with one line."""
        with exit_with_one_line():
            return super().get_eval_image_metrics_and_images(step)

    def get_average_eval_image_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Evaluate all images as nerfstudio does; missing photographs end the command with one line."""
        with exit_with_one_line():
            return super().get_average_eval_image_metrics(*args, **kwargs)

    def get_training_callbacks(self, attributes: TrainingCallbackAttributes) -> list[TrainingCallback]:
        """Return nerfstudio's callbacks, and after them the exchange of what the ranks' samplers found."""
        callbacks = super().get_training_callbacks(attributes)
        if self.adversarial is not None:
            assert attributes.optimizers is not None
            (group,) = attributes.optimizers.optimizers[PARAMETERS].param_groups
            before = TrainingCallbackLocation.BEFORE_TRAIN_ITERATION
            callbacks.append(TrainingCallback([before], self.adversarial.follow, 1, kwargs={"group": group}))
        if self.world_size > 1:
            after = TrainingCallbackLocation.AFTER_TRAIN_ITERATION
            callbacks.append(TrainingCallback([after], self.share_grid, update_every_num_iters=MARK_STEPS))
        return callbacks

    def share_grid(self, step: int) -> None:
        """Let the grid of every rank's sampler hold what any rank found.

        A grid keeps the largest values of its samples, lets them decay by a factor, and marks what exceeds a
        threshold. The largest of the ranks' grids is thus the grid of one process with all their samples.
        """
        for values in self.grid:
            keep_largest(values)
