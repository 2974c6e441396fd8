"""What came of a call of `nerfgen prepare`, as a person and `report.json` are told."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.report.page import PAGE
from nerfgen_ns.preprocessing.report.preflight import Concern
from nerfgen_ns.utils.files import read_json, write_json

MOST_REASONS_SHOWN, MOST_NAMES_SHOWN, MOST_NOTES_SHOWN = 12, 5, 5
"""So many are printed; report.json and report.html have more."""


@dataclass(frozen=True)
class Rejection:
    """A photograph that was not used."""

    source: str
    """Name of the file."""
    reason: str
    """Why it was not used."""
    mend: str
    """What to do about it."""


@dataclass
class PrepareReport:
    """What came of the photographs; `report.json` holds the same."""

    path: Path
    """The report file."""
    accepted: int
    """Number of frames."""
    identities: int
    """Number of objects that they show."""
    rejected: list[Rejection]
    """The photographs that were not used."""
    median_error: float | None = None
    """Median over the photographs of the root mean square reprojection error, as a part of the object's
    extent (see `LandmarkScheme.extent`); None where the cameras do not come from landmarks."""
    notes: dict[str, list[str]] = field(default_factory=dict)
    """Remarks on photographs that were used, by file name."""
    concerns: list[Concern] = field(default_factory=list)
    """What a person should know before training."""
    left_out: list[Rejection] = field(default_factory=list)
    """The files and folders beside the photographs that were not taken for any."""

    @property
    def page(self) -> Path:
        """The report to look at."""
        return self.path.with_name(PAGE)

    def write(self, path: Path, fingerprint: str) -> None:
        """Write it to `path`, with what tells of which photographs and options it is."""
        value = {**asdict(self), "fingerprint": fingerprint}
        value.pop("path")
        write_json(path, value)

    @classmethod
    def read(cls, path: Path, fingerprint: str) -> "PrepareReport | None":
        """The report at `path` if it has this fingerprint."""
        try:
            value = read_json(path)
            if value.pop("fingerprint") != fingerprint:
                return None
            for name in ("rejected", "left_out"):
                value[name] = [Rejection(**entry) for entry in value.get(name, [])]
            value["concerns"] = [
                Concern(**entry | {"photographs": tuple(entry["photographs"])}) for entry in value["concerns"]
            ]
            return cls(path, **value)
        except (UsageError, AttributeError, KeyError, TypeError):
            return None


def summary(report: PrepareReport) -> list[str]:
    """Say in a few lines, with rich's markup, what came of the photographs."""
    from rich.markup import escape

    objects = f" of {report.identities} objects" if report.identities < report.accepted else ""
    left_out = f", {len(report.left_out)} left out" if report.left_out else ""
    counts = f"[bold]{report.accepted}[/bold] photographs{objects} accepted, {len(report.rejected)} rejected"
    lines = [f"{counts}{left_out}"]
    lines += lines_of_unused(report.rejected, report.left_out)
    notes = [f"{source}: {note}" for source, several in report.notes.items() for note in several]
    lines += [f"  [yellow]note:[/yellow] {escape(note)}" for note in notes[:MOST_NOTES_SHOWN]]
    if len(notes) > MOST_NOTES_SHOWN:
        lines.append(f"  and {len(notes) - MOST_NOTES_SHOWN} more notes, see the report")
    if report.median_error is not None:
        lines.append(f"median reprojection error {100 * report.median_error:.2f} % of the object's extent")
    for concern in report.concerns:
        lines.append(f"[yellow]warning:[/yellow] {escape(f'{concern.text} {concern.mend}')}")
    return [*lines, escape(f"look at it: {report.page}")]


def lines_of_unused(rejected: Sequence[Rejection], left_out: Sequence[Rejection]) -> list[str]:
    """Say why files are not used, with rich's markup: first those rejected, then those left out."""
    from rich.markup import escape

    lines = [*by_reason(rejected), *(f"left out: {line}" for line in by_reason(left_out))]
    return [escape(f"  {line}") for line in lines]


def by_reason(entries: Sequence[Rejection]) -> list[str]:
    """A line with names for each reason, the most common first; of many reasons or names only some."""
    named: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        named.setdefault((entry.reason, entry.mend), []).append(_on_one_line(entry.source))
    kinds = sorted(named.items(), key=lambda kind: -len(kind[1]))
    lines = []
    for (reason, mend), names in kinds[:MOST_REASONS_SHOWN]:
        more = f" and {len(names) - MOST_NAMES_SHOWN} more" if len(names) > MOST_NAMES_SHOWN else ""
        lines.append(f"{', '.join(names[:MOST_NAMES_SHOWN])}{more}: {reason}; {mend}")
    if len(kinds) > MOST_REASONS_SHOWN:
        further = sum(len(names) for _, names in kinds[MOST_REASONS_SHOWN:])
        lines.append(f"and {further} for other reasons, see the report")
    return lines


def _on_one_line(name: str) -> str:
    """A name without characters that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)


def printable(name: str) -> str:
    """A file name that may hold bytes which are no UTF-8, as text that can be written as such."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
