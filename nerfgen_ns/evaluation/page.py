"""The page of an evaluation: figures and pictures in one file that needs no network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfgen_ns.evaluation.evaluate import Outcome
from nerfgen_ns.evaluation.figures import without_value
from nerfgen_ns.evaluation.protocol import Figure, ProtocolResult
from nerfgen_ns.files import write_text
from nerfgen_ns.machine import machine_sentence
from nerfgen_ns.page_template import page_template
from nerfgen_ns.pictures import data_url

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
