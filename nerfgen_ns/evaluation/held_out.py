"""The protocol `held-out`: photographs that did not train, fitted, and then compared with their renders."""

from __future__ import annotations

from typing import ClassVar

from nerfgen_ns.evaluation.protocol import Evaluation, Progress, ProtocolResult
from nerfgen_ns.evaluation.reconstruction import judge_reconstructions


class HeldOutPhotographs:
    """How well the class model reconstructs photographs that it has not seen.

    Source: Rebain et al., "LOLNeRF: Learn from One Look" (CVPR 2022), evaluation, reconstruction of held-out
    images: the code of each is found with the networks frozen, and its render is compared with it by PSNR,
    SSIM and LPIPS. The photographs are those set aside by `--eval-fraction`, single views of a test folder,
    or raw photographs.
    """

    name: ClassVar[str] = "held-out"
    needs_test_folder: ClassVar[bool] = True

    def missing(self, setting: Evaluation) -> str | None:
        """It needs photographs of identities that neither trained nor have a view of their own to fit."""
        assert setting.renders is not None
        if setting.renders.of(["new photographs"]):
            return None
        return (
            "every photograph shows an identity that trained or one with views to fit; give single "
            "photographs of new objects"
        )

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Fit, render, compare."""
        assert setting.renders is not None
        source = "LOLNeRF (CVPR 2022), reconstruction of held-out images"
        settings = {"fit_steps": setting.renders.fit.steps}
        return judge_reconstructions(self.name, source, "new photographs", settings, setting, progress)
