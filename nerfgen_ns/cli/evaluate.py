"""`nerfgen evaluate`: evaluate a trained run by the protocols that the data allows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.evaluation.protocol import EvaluationConfig

if TYPE_CHECKING:
    from nerfgen_ns.evaluation.evaluate import Outcome


MOST_REMARKS = 12


@dataclass(kw_only=True)
class Evaluate(EvaluationConfig):
    """Evaluate a trained run, and write the figures as JSON and as a page to look at.

    The contents of the data decide which protocols are run; for the others the report says why not. The
    page, `metrics.html` beside `metrics.json`, holds its pictures and needs no network.
    """

    load_config: Path
    """The config.yml of a trained run."""
    output_path: Path
    """The figures, a .json; the page goes beside it."""
    data: Annotated[tuple[tuple[Path, ...], ...], tyro.conf.UseAppendAction] = ()
    """Test folders. They have cameras in the class frame, and frames with `identity`, `role` (query or
    target), `depth_path`, `semantic_path`, `landmarks3d` and `true_transform_matrix` where these are known;
    or they hold raw photographs, which are fitted. Photographs set aside by --eval-fraction are evaluated
    without this option."""
    save_renders: Path | None = None
    """Folder for every scored render, as PNG, and its depth, as .npz, named after its photograph."""

    def run(self) -> None:
        """Evaluate, write, and print a table.

        Raises:
            UsageError: an option makes no sense, or there is no such run or path.
            NerfgenError: no protocol could be run, or the output cannot be written.
        """
        import tempfile

        from nerfgen_ns.evaluation.evaluate import as_json, evaluate, write_page
        from nerfgen_ns.runs.loading import load_run
        from nerfgen_ns.utils.console import progress_bar
        from nerfgen_ns.utils.files import write_json

        if self.output_path.suffix != ".json":
            raise UsageError(f"--output-path {self.output_path}: choose a name that ends in .json")
        config = EvaluationConfig(
            **{field.name: getattr(self, field.name) for field in fields(EvaluationConfig)}
        )
        config.check()
        run = load_run(self.load_config)
        with tempfile.TemporaryDirectory(prefix="nerfgen-evaluate-") as work:
            outcome = evaluate(
                run, list(chain(*self.data)), config, Path(work), self.save_renders, progress_bar
            )
        report = as_json(run, self.load_config, config, outcome)
        write_json(self.output_path, report)
        page = self.output_path.with_suffix(".html")
        write_page(page, report, outcome)
        self._report(outcome, page)
        if not outcome.results:
            first = outcome.not_run[0]
            raise NerfgenError(f"no protocol could be run; {first.protocol}: {first.reason}")

    def _report(self, outcome: Outcome, page: Path) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        from nerfgen_ns.evaluation.protocol import without_value

        console = Console(highlight=False)
        table = Table("figure", "value", "of", "note")
        for name, result in outcome.results:
            table.add_section()
            table.add_row(f"[bold]{escape(result.protocol)}[/bold] {escape(name)}", "", "", "")
            for figure in result.figures:
                if figure.value is not None:
                    value = f"{figure.value:.4g} {figure.unit}".strip()
                    table.add_row(f"  {escape(figure.name)}", value, str(figure.count), escape(figure.note))
        if outcome.results:
            console.print(table)
        for name, result in outcome.results:
            for note, names in without_value(result.figures).items():
                what = f"{result.protocol}{f' on {name}' if name else ''}: {'; '.join(names)}"
                console.print(escape(f"no value: {what}: {note}"), soft_wrap=True)
        for one in outcome.not_run:
            console.print(
                escape(f"not run: {one.protocol}{f' on {one.data}' if one.data else ''}: {one.reason}"),
                soft_wrap=True,
            )
        for remark in outcome.remarks[:MOST_REMARKS]:
            console.print(escape(f"not used: {remark}"), soft_wrap=True)
        console.print(f"{outcome.seconds:.0f} s")
        for path in (self.output_path, page, self.save_renders):
            if path is not None:
                console.print(str(path), soft_wrap=True, markup=False)
