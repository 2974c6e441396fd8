"""What came of a call of `nerfgen prepare`, as a person and `report.json` are told."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from nerfgen_ns.capture.preflight import Concern
from nerfgen_ns.capture.report_page import PAGE
from nerfgen_ns.errors import UsageError
from nerfgen_ns.files import read_json, write_json


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
            value["rejected"] = [Rejection(**entry) for entry in value["rejected"]]
            value["concerns"] = [
                Concern(**entry | {"photographs": tuple(entry["photographs"])}) for entry in value["concerns"]
            ]
            return cls(path, **value)
        except (UsageError, AttributeError, KeyError, TypeError):
            return None


def printable(name: str) -> str:
    """A file name that may hold bytes which are no UTF-8, as text that can be written as such."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
