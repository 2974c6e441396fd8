"""The protocols of photographs and renders: `training-reconstruction`, `held-out`, `novel-views`."""

from __future__ import annotations

from typing import Any, ClassVar

from nerfgen_ns.evaluation.comparisons import (
    compared,
    image_figures,
    open_lpips,
    part_figures,
    score_images,
    view_records,
)
from nerfgen_ns.evaluation.protocol import Evaluation, Figure, Picture, Progress, ProtocolResult
from nerfgen_ns.evaluation.renders import Kind, queries_of


def judge_reconstructions(
    protocol: str, source: str, kind: Kind, settings: dict[str, Any], setting: Evaluation, progress: Progress
) -> ProtocolResult:
    """Render the photographs of a kind and compare them with their renders by PSNR, SSIM and LPIPS.

    Args:
        protocol: the name of the protocol.
        source: where it comes from.
        kind: of the photographs that it judges.
        settings: what the result says besides the number of photographs and their size.
        setting: what is evaluated.
        progress: called with the number of photographs rendered and their total.
    """
    assert setting.renders is not None
    views = setting.renders.of([kind])
    renders = setting.renders.render(views, progress)
    lpips = open_lpips(setting.weights.lpips)
    scores = score_images(renders, lpips)
    return ProtocolResult(
        protocol=protocol,
        source=source,
        settings={"photographs": len(views), **settings, "downscale_factor": setting.downscale_factor},
        figures=image_figures(renders, scores, lpips),
        views=view_records(renders, scores),
        pictures=compared(renders, [own["psnr"] for own in scores], "PSNR", "dB"),
    )


class TrainingReconstruction:
    """How well the class model reconstructs what it was trained on.

    Source: Rebain et al., "LOLNeRF: Learn from One Look" (CVPR 2022), evaluation, reconstruction of a fixed
    subset of 200 training images by PSNR, SSIM and LPIPS. Here the subset is evenly spread over the training
    photographs, and the same in every call.
    """

    name: ClassVar[str] = "training-reconstruction"
    needs_test_folder: ClassVar[bool] = False

    def missing(self, setting: Evaluation) -> str | None:
        """Return None if there are training photographs; otherwise say that there are none."""
        if setting.renders is None or not setting.renders.of(["training photographs"]):
            return "there is no photograph that trained"
        return None

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Render the training photographs and compare."""
        assert setting.renders is not None
        source = "LOLNeRF (CVPR 2022), reconstruction of training images"
        settings = {"of": len(setting.renders.folder.chosen)}
        return judge_reconstructions(self.name, source, "training photographs", settings, setting, progress)


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
        """Return None if there are photographs to fit one by one; otherwise say what to give.

        Their identities neither trained nor have a view of their own to fit.
        """
        assert setting.renders is not None
        if setting.renders.of(["new photographs"]):
            return None
        return (
            "every photograph shows an identity that trained or one with views to fit; give single "
            "photographs of new objects"
        )

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Fit the photographs, render and compare."""
        assert setting.renders is not None
        source = "LOLNeRF (CVPR 2022), reconstruction of held-out images"
        settings = {"fit_steps": setting.renders.fit.steps}
        return judge_reconstructions(self.name, source, "new photographs", settings, setting, progress)


NOVEL: tuple[Kind, ...] = ("seen identities", "new identities")


class NovelViews:
    """How well an identity is shown in views that its code was not fitted to.

    Source: Rebain et al., "LOLNeRF: Learn from One Look" (CVPR 2022), evaluation, novel views on HUMBI:
    the code is found with some views of a subject and judged on the others by PSNR, SSIM and LPIPS, over the
    whole image and inside the matte. A training identity is shown by its row of the latent table. A new
    one is fitted to its frames of the role `query` jointly and judged on those of the role `target`.
    """

    name: ClassVar[str] = "novel-views"
    needs_test_folder: ClassVar[bool] = True

    def missing(self, setting: Evaluation) -> str | None:
        """Return None if there are other views of training identities or of new ones; otherwise say why not.

        New identities need frames with the roles `query` and `target`.
        """
        assert setting.renders is not None
        folder = setting.renders.folder
        if setting.renders.of(NOVEL):
            return None
        if setting.renders.of(["training photographs"]):
            return "its photographs are those that trained; give other views of them"
        if not folder.has_identities or folder.codes is not None:
            return 'its frames have no "identity": nothing says which of them show one object'
        identities = {folder.frames[number].identity for number in folder.chosen}
        return (
            f"none of its {len(identities)} identities trained, and none has frames of both roles; "
            'give "role": "query" to the frames to fit and "target" to those to judge'
        )

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Fit new identities, render and compare."""
        assert setting.renders is not None
        folder = setting.renders.folder
        lpips = open_lpips(setting.weights.lpips)
        figures: list[Figure] = []
        records: list[dict[str, Any]] = []
        pictures: list[Picture] = []
        settings: dict[str, Any] = {"downscale_factor": setting.downscale_factor}
        setting.renders.render(setting.renders.of(NOVEL), progress)
        for kind in NOVEL:
            views = setting.renders.of([kind])
            if not views:
                continue
            renders = setting.renders.render(views, progress)
            scores = score_images(renders, lpips)
            figures += image_figures(renders, scores, lpips, kind)
            figures += part_figures(folder, renders, kind)
            records += view_records(renders, scores)
            key = "psnr" if renders[0].matte is None else "psnr_inside"
            name = "PSNR" if renders[0].matte is None else "PSNR inside the matte"
            pictures += compared(renders, [own[key] for own in scores], name, "dB")
            identities = {view.identity for view in views}
            settings |= {kind: len(identities), f"views of {kind}": len(views)}
            if kind == "new identities":
                fitted = [
                    len(queries_of(folder, identity)) for identity in identities if identity is not None
                ]
                settings |= {
                    "query views of an identity": f"{min(fitted)} to {max(fitted)}",
                    "fit_steps": setting.renders.fit.steps,
                }
        return ProtocolResult(
            protocol=self.name,
            source="LOLNeRF (CVPR 2022), novel views on HUMBI",
            settings=settings,
            figures=figures,
            views=records,
            pictures=pictures,
        )
