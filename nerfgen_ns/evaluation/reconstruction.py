"""What the protocols that compare photographs with their reconstructions have in common."""

from __future__ import annotations

from typing import Any

from nerfgen_ns.evaluation.comparison_pictures import compared
from nerfgen_ns.evaluation.image_scores import image_figures, open_lpips, score_images, view_records
from nerfgen_ns.evaluation.protocol import Evaluation, Progress, ProtocolResult
from nerfgen_ns.evaluation.subjects import Kind


def judge_reconstructions(
    protocol: str, source: str, kind: Kind, settings: dict[str, Any], setting: Evaluation, progress: Progress
) -> ProtocolResult:
    """Render the photographs of a kind and compare them with their renders by PSNR, SSIM and LPIPS.

    Args:
        protocol: the name of the protocol.
        source: where it comes from.
        kind: of the photographs that it judges.
        settings: what the result is to say beside the number of photographs and their size.
        setting: what is evaluated.
        progress: told how many are rendered.
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
