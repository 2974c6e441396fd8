"""The protocol `training-reconstruction`: photographs that trained, shown by their own codes and cameras."""

from __future__ import annotations

from typing import ClassVar

from nerfgen_ns.evaluation.protocol import Evaluation, Progress, ProtocolResult
from nerfgen_ns.evaluation.reconstruction import judge_reconstructions


class TrainingReconstruction:
    """How well the class model reconstructs what it was trained on.

    Source: Rebain et al., "LOLNeRF: Learn from One Look" (CVPR 2022), evaluation, reconstruction of a fixed
    subset of 200 training images by PSNR, SSIM and LPIPS. Here the subset is evenly spread over the training
    photographs, and the same in every call.
    """

    name: ClassVar[str] = "training-reconstruction"
    needs_test_folder: ClassVar[bool] = False

    def missing(self, setting: Evaluation) -> str | None:
        """It needs the training photographs."""
        if setting.renders is None or not setting.renders.of(["training photographs"]):
            return "there is no photograph that trained"
        return None

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Render, compare."""
        assert setting.renders is not None
        source = "LOLNeRF (CVPR 2022), reconstruction of training images"
        settings = {"of": len(setting.renders.folder.chosen)}
        return judge_reconstructions(self.name, source, "training photographs", settings, setting, progress)
