"""The reference implementation as a row beside the baselines, from what `benchmarks.throughput` measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.machine import shown_path
from nerfgen_ns.errors import UsageError
from nerfgen_ns.utils.files import read_json

NAME = "reference implementation"


def reference_row(throughput: Path) -> dict[str, Any]:
    """Make a row of the literal method (benchmarks/reference.py), judged on new views after its training.

    Args:
        throughput: the `throughput.json` of a call that trained it and judged it on a test folder.

    Returns:
        A row like those of the baselines: `name`, `note` and `figures`.

    Raises:
        UsageError: the file holds no such training.
    """
    figures = read_json(throughput)
    try:
        training, settings = figures["trainings"]["reference"], figures["settings"]
        _, psnr = training["new_view_psnr"][-1]
        note = (
            f"the literal method, uniform samples and fp32, after {training['seconds']:.0f} s of training on "
            f"{shown_path(settings['data'])}, judged on {settings['views']} new views from "
            f"{shown_path(settings['test'])} made smaller by {settings['downscale_factor']}"
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UsageError(
            f"{throughput}: holds no training of the reference that was judged on new views; "
            "run benchmarks.throughput with --test"
        ) from error
    return {"name": NAME, "note": note, "figures": {"new_views_foreground_psnr": [float(psnr)]}}
