"""The report of all ablations in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.ablation.tables import LEGEND, ablation_table
from benchmarks.machine import RECORD, spoken_seconds
from nerfgen_ns.utils.machine import machine_sentence


def ablation_report(report: dict[str, Any], pictures: str = "", suffix: str = ".png") -> str:
    """Format all ablations of an `ablate.json`.

    Args:
        report: the contents of the file.
        pictures: folder of the plots and renders, relative to the report, with a slash at its end.
        suffix: of the renders.
    """
    first, *others = report["ablations"]
    baselines = [(first, report["baselines"]), *((ablation, ()) for ablation in others)]
    sections = []
    for ablation, added in baselines:
        heading, rest = ablation_section(ablation, added, pictures, suffix).split("\n\n", 1)
        sections.append(f"{heading}\n\n{settings_paragraph(report, ablation)}\n\n{rest}")
    return "\n\n".join(sections) + "\n"


def settings_paragraph(report: dict[str, Any], ablation: dict[str, Any]) -> str:
    """Say what was run for an ablation, on which machine and for how long."""
    settings = report["settings"]
    records = {
        (record["date"], record["command"]): record for row in ablation["rows"] for record in row["trainings"]
    }
    machines = {machine_sentence(record["machine"]) for record in records.values()}
    seconds = sum(record["seconds"] for record in records.values())
    return (
        f"`{report[RECORD]['command']}`: {len(records)} trainings of `{settings['method']}` of "
        f"{settings['minutes']:g} minutes each, {spoken_seconds(seconds)} in all, on "
        f"{' and on '.join(sorted(machines))}. {settings['images']} photographs of *{settings['data']}* at "
        f"{settings['pixels']} × {settings['pixels']} pixels unless the row says otherwise. The figures are "
        f"of the photographs of {settings['judged_identities']} identities and {settings['judged_views']} "
        f"new views of them from *{settings['test']}*."
    )


def ablation_section(
    ablation: dict[str, Any],
    baselines: Sequence[dict[str, Any]] = (),
    pictures: str | None = None,
    suffix: str = ".png",
) -> str:
    """Format one ablation: heading, question, table and, if `pictures` is given, its plot and renders.

    Args:
        ablation: as in `ablate.json`.
        baselines: rows for the table's end, explained below it.
        pictures: folder of the pictures, relative to the report; None: show none.
        suffix: of the renders.
    """
    name, title = ablation["name"], ablation["title"]
    parts = [
        f"### {title}",
        ablation["question"],
        ablation_table(ablation["rows"], ablation["reference"], baselines),
        LEGEND.format(reference=ablation["reference"]),
    ]
    if baselines:
        parts.append("\n".join(f"- *{baseline['name']}*: {baseline['note']}." for baseline in baselines))
    if pictures is not None:
        parts.append(f"![{title}: every dot is one seed]({pictures}{name}.png)")
        parts.append(
            f"![Renders of each variant: two identities turned to three sides, and normals]"
            f"({pictures}{name}_renders{suffix})"
        )
    return "\n\n".join(parts)
