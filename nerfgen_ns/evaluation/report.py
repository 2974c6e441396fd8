"""An evaluation as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nerfgen_ns.evaluation.config import EvaluationConfig
from nerfgen_ns.evaluation.evaluate import Outcome
from nerfgen_ns.machine import describe_machine
from nerfgen_ns.run import Run

PACKAGES = ("nerfgen-ns", "nerfstudio", "torch", "torchmetrics", "numpy", "scipy")


def as_json(run: Run, load_config: Path, config: EvaluationConfig, outcome: Outcome) -> dict[str, Any]:
    """Everything but the pictures, as JSON can hold it."""
    return {
        "run": {
            "config": str(load_config),
            "method": run.config.method_name,
            "step": run.step,
            "identities": len(run.codes),
            "data": str(run.data),
        },
        "data": outcome.folders,
        "results": [
            {
                "protocol": result.protocol,
                "data": name or None,
                "source": result.source,
                "settings": plain(result.settings),
                "seconds": round(result.seconds, 2),
                "figures": [asdict(figure) for figure in result.figures],
                "views": plain(result.views),
            }
            for name, result in outcome.results
        ],
        "not_run": [asdict(one) for one in outcome.not_run],
        "remarks": outcome.remarks,
        "settings": plain({**asdict(config), "downscale_factor": outcome.downscale_factor}),
        "versions": {package: version(package) for package in PACKAGES},
        "machine": describe_machine(),
        "seconds": round(outcome.seconds, 1),
    }


def plain(value: Any) -> Any:
    """A value of which JSON can hold every part: paths as text, and nothing where a number is not finite."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
