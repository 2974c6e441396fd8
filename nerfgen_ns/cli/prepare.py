"""`nerfgen prepare`: photographs → landmarks, mattes, cameras, crops and a report."""

import sys
from dataclasses import dataclass

from nerfgen_ns.capture.prepare import PrepareConfig, prepare

MOST_REJECTIONS_SHOWN = 5


@dataclass
class Prepare(PrepareConfig):
    """Make a prepared folder from photographs, one object each: landmarks, mattes, cameras and a report."""

    def run(self) -> None:
        """Prepare, and print what came of it.

        Raises:
            NerfgenError: see `nerfgen_ns.capture.prepare.prepare`.
            SystemExit: with status 130 when interrupted; the same command takes the work up again.
        """
        from rich.console import Console
        from rich.markup import escape

        console = Console(highlight=False)
        try:
            report = prepare(self)
        except KeyboardInterrupt:
            print("interrupted: run the same command again to go on from here", file=sys.stderr)
            raise SystemExit(130) from None
        console.print(f"[bold]{report.accepted}[/bold] photographs accepted, {len(report.rejected)} rejected")
        for rejection in report.rejected[:MOST_REJECTIONS_SHOWN]:
            console.print(escape(f"  {rejection.source}: {rejection.reason}; {rejection.mend}"))
        if len(report.rejected) > MOST_REJECTIONS_SHOWN:
            console.print(f"  and {len(report.rejected) - MOST_REJECTIONS_SHOWN} more, see the report")
        console.print(f"median reprojection error {100 * report.median_error:.2f} % of the face width")
        console.print(escape(f"report: {report.path}"), soft_wrap=True)
