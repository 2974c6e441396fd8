"""An evaluation as JSON and as a page: figures and pictures in one file that needs no network."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nerfgen_ns.evaluation.evaluate import Outcome
from nerfgen_ns.evaluation.protocol import EvaluationConfig, Figure, ProtocolResult, without_value
from nerfgen_ns.runs.run import Run
from nerfgen_ns.utils.files import write_text
from nerfgen_ns.utils.html_pages import page_template
from nerfgen_ns.utils.images import data_url
from nerfgen_ns.utils.machine import describe_machine, machine_sentence

PACKAGES = ("nerfgen-ns", "nerfstudio", "torch", "torchmetrics", "numpy", "scipy")


def as_json(run: Run, load_config: Path, config: EvaluationConfig, outcome: Outcome) -> dict[str, Any]:
    """Everything but the pictures, as JSON can hold it."""
    return {
        "run": {
            "config": str(load_config),
            "method": run.method_name,
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


MOST_ROWS = 400
"""Views of one protocol that the page lists; the JSON has them all."""


@dataclass(frozen=True)
class Section:
    """One protocol on one test folder, as the page shows it."""

    anchor: str
    data: str
    result: ProtocolResult
    pictures: list[tuple[str, str]]
    """Captions and pictures."""
    columns: list[str]
    """What is listed of each view."""
    without_value: dict[str, list[str]]
    """The figures that have no value, by the reason."""

    @property
    def leading(self) -> Figure | None:
        """The first figure that has a value."""
        return next((figure for figure in self.result.figures if figure.value is not None), None)


def write_page(path: Path, report: dict[str, Any], outcome: Outcome) -> None:
    """Write the page.

    Args:
        path: the file, an .html.
        report: what `as_json` made of the outcome.
        outcome: what came of the evaluation.

    Raises:
        NerfgenError: it cannot be written.
    """
    sections = [
        Section(
            anchor=f"result-{place}",
            data=name,
            result=result,
            pictures=[(picture.caption, data_url(picture.image)) for picture in result.pictures],
            columns=list(dict.fromkeys(key for view in result.views for key in view)),
            without_value=without_value(result.figures),
        )
        for place, (name, result) in enumerate(outcome.results)
    ]
    write_text(
        path,
        page_template("nerfgen_ns.evaluation", "evaluation.html.j2", figure=_figure).render(
            report=report,
            sections=sections,
            outcome=outcome,
            machine=machine_sentence(report["machine"]),
            most_rows=MOST_ROWS,
        ),
    )


def _figure(value: Any) -> str:
    """A value to be read: four digits of a number, and a dash for none."""
    if value is None:
        return "–"
    return f"{value:.4g}".replace("-", "−") if isinstance(value, float) else str(value)
