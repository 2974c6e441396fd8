"""Tables of figures over several seeds, in Markdown."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

HIGHER, LOWER = "▲", "▼"
LEGEND = (
    f"Mean ± standard deviation over the seeds. {HIGHER} {LOWER}: every seed is above, or below, all seeds "
    "of the row *{reference}*."
)


@dataclass(frozen=True)
class Column:
    """One figure of `benchmarks.ablation.runs.judge`."""

    key: str
    """Its name in the JSON."""
    label: str
    """The column's heading."""
    digits: int
    """Digits after the decimal point."""


COLUMNS = (
    Column("reconstruction_foreground_psnr", "reconstruction: PSNR inside the matte, dB", 2),
    Column("reconstruction_depth_correlation", "its depth correlation", 3),
    Column("new_views_foreground_psnr", "new views: PSNR inside the matte, dB", 2),
    Column("new_views_psnr", "PSNR of the whole image, dB", 2),
    Column("new_views_depth_correlation", "depth correlation", 3),
    Column("new_views_normal_error", "normal error, degrees", 1),
    Column("new_views_silhouette_iou", "silhouette IoU", 3),
    Column("rotation_error", "cameras: rotation error, median, degrees", 2),
    Column("one_alignment_foreground_psnr", "one alignment: PSNR inside the matte, dB", 2),
    Column("one_alignment_depth_correlation", "its depth correlation ", 3),
)
"""The figures that a table shows; empty columns are left out."""

Row = Mapping[str, Any]
"""`name`, and `figures`: for each figure a list with one value for each seed."""


def markdown_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], text_columns: Collection[int] = (0,)
) -> str:
    """Format a table in Markdown, with text columns aligned to the left and the others to the right."""
    sides = ["---" if column in text_columns else "---:" for column in range(len(headings))]
    lines = [headings, sides, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ablation_table(rows: Sequence[Row], reference: str, others: Sequence[Row] = ()) -> str:
    """Format a table of an ablation's variants, compared with the reference, and below them of `others`.

    Args:
        rows: the variants.
        reference: the name of the variant that the others are compared with.
        others: baselines, which are not compared.
    """
    everything = [*rows, *others]
    columns = [column for column in COLUMNS if any(column.key in row["figures"] for row in everything)]
    own: Mapping[str, list[float]] = next((row["figures"] for row in rows if row["name"] == reference), {})
    lines = [
        [
            row["name"],
            *(
                _cell(
                    row["figures"].get(column.key, []),
                    [] if row["name"] == reference or row in others else own.get(column.key, []),
                    column.digits,
                )
                for column in columns
            ),
        ]
        for row in everything
    ]
    return markdown_table(["", *(column.label.strip() for column in columns)], lines)


def _cell(values: Sequence[float], compared_with: Sequence[float], digits: int) -> str:
    if not values:
        return ""
    text = f"{np.mean(values):.{digits}f}"
    if len(values) > 1:
        text += f" ± {np.std(values, ddof=1):.{digits}f}"
    return f"{text} {verdict(values, compared_with)}".strip()


def verdict(values: Sequence[float], compared_with: Sequence[float]) -> str:
    """Return ▲ or ▼ if all values are above or below all others, else nothing; both sides need two values."""
    if min(len(values), len(compared_with)) < 2:
        return ""
    if min(values) > max(compared_with):
        return HIGHER
    return LOWER if max(values) < min(compared_with) else ""
