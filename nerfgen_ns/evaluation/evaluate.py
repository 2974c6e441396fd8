"""Run all protocols that the data allows, and write their results as JSON and as a page."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nerfgen_ns.dataset_format.transforms import TRANSFORMS, transforms_path
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.evaluation.folders import TestFolder, open_test_folder, open_training_folder
from nerfgen_ns.evaluation.protocol import (
    Evaluation,
    EvaluationConfig,
    EvaluationProtocol,
    Figure,
    ProtocolResult,
    without_value,
)
from nerfgen_ns.evaluation.protocols import PROTOCOLS
from nerfgen_ns.evaluation.renders import FolderRenders, SavedRenders, capture_photographs
from nerfgen_ns.inversion.config import FitConfig
from nerfgen_ns.inversion.inversion import Stages, looked_at_factor, silent
from nerfgen_ns.runs.run import Run
from nerfgen_ns.utils.files import write_text
from nerfgen_ns.utils.html_pages import page_template
from nerfgen_ns.utils.images import data_url
from nerfgen_ns.utils.machine import describe_machine, machine_sentence


@dataclass(frozen=True)
class NotRun:
    """A protocol that could not be run."""

    protocol: str
    """Its name."""
    data: str
    """On which test folder; empty for a protocol of the run alone."""
    reason: str
    """One line that names what is missing."""


@dataclass
class Outcome:
    """The results of an evaluation."""

    results: list[tuple[str, ProtocolResult]] = field(default_factory=list)
    """The protocols that ran, each with the name of its test folder; empty for one of the run alone."""
    not_run: list[NotRun] = field(default_factory=list)
    """Those that did not."""
    remarks: list[str] = field(default_factory=list)
    """Photographs that could not be used, and why."""
    folders: dict[str, str] = field(default_factory=dict)
    """The path of each test folder."""
    downscale_factor: int = 1
    """How many times smaller than stored everything was judged."""
    seconds: float = 0.0
    """How long the whole evaluation took."""


def evaluate(
    run: Run,
    data: Sequence[Path],
    config: EvaluationConfig,
    work: Path,
    save_renders: Path | None = None,
    stages: Stages = silent,
) -> Outcome:
    """Run the protocols on a run.

    Photographs set aside from training are one more test folder. A protocol that cannot run is
    reported, and the others still run.

    Args:
        run: the trained run.
        data: test folders, and folders of raw photographs.
        config: the options.
        work: an empty folder for files made from raw photographs.
        save_renders: keeps every scored render there; see `SavedRenders`.
        stages: shows progress.

    Raises:
        UsageError: an option makes no sense, a path does not exist, or the run's own data cannot be read.
    """
    config.check()
    for path in data:
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder; --data takes test folders and photographs")
    begin = time.perf_counter()
    fit = replace(config.fit, seed=config.seed)
    factor = config.downscale_factor or looked_at_factor(run, fit)
    outcome = Outcome(downscale_factor=factor)
    training = open_training_folder(run, factor)
    chosen = [protocol for protocol in PROTOCOLS if not config.protocol or protocol.name in config.protocol]
    saved = None if save_renders is None else SavedRenders(save_renders)
    setting = Evaluation(
        run=run,
        downscale_factor=factor,
        samples=config.samples,
        truncation=config.truncation,
        seed=config.seed,
        weights=config.weights,
    )

    def renders_of(folder: TestFolder, most: int) -> FolderRenders:
        return FolderRenders(run, folder, training, fit, most, saved)

    of_folders = [protocol for protocol in chosen if protocol.needs_test_folder]
    for name, path in _names(data).items():
        outcome.folders[name] = str(path)
        if not of_folders:
            continue
        try:
            folder = _open(run, path, name, factor, fit, work / name, outcome, stages)
        except NerfgenError as error:
            outcome.not_run += [NotRun(protocol.name, name, str(error)) for protocol in of_folders]
            continue
        own = replace(setting, test_folder=folder, renders=renders_of(folder, config.max_views))
        _run_all(of_folders, own, name, outcome, stages)
    if training.set_aside is not None:
        folder = training.set_aside
        outcome.folders[folder.name] = str(run.data)
        own = replace(setting, test_folder=folder, renders=renders_of(folder, config.max_views))
        _run_all(of_folders, own, folder.name, outcome, stages)
    elif not data:
        reason = "there is no test folder; give one as --data, or train with --eval-fraction"
        outcome.not_run += [NotRun(protocol.name, "", reason) for protocol in of_folders]
    alone = replace(setting, renders=renders_of(training.trained, config.training_views))
    _run_all([p for p in chosen if not p.needs_test_folder], alone, "", outcome, stages)
    outcome.seconds = time.perf_counter() - begin
    return outcome


def _run_all(
    protocols: Sequence[EvaluationProtocol], setting: Evaluation, name: str, outcome: Outcome, stages: Stages
) -> None:
    for protocol in protocols:
        try:
            reason = protocol.missing(setting)
            if reason is None:
                begin = time.perf_counter()
                with stages(f"{protocol.name} {name}".strip()) as progress:
                    result = protocol.run(setting, progress)
                result = replace(result, seconds=time.perf_counter() - begin)
                outcome.results.append((name, result))
        except NerfgenError as error:
            reason = str(error)
        if reason is not None:
            outcome.not_run.append(NotRun(protocol.name, name, reason))


def _open(
    run: Run,
    path: Path,
    name: str,
    factor: int,
    fit: FitConfig,
    work: Path,
    outcome: Outcome,
    stages: Stages,
) -> TestFolder:
    if transforms_path(path).is_file():
        return open_test_folder(path, name, factor)
    work.mkdir()
    folder, rejected = capture_photographs(run, path, name, factor, fit, work, stages)
    outcome.remarks += [f"{name}: {one.source}: {one.reason}; {one.mend}" for one in rejected]
    return folder


def _names(data: Sequence[Path]) -> dict[str, Path]:
    """Give each path its own name: that of the folder, with a number where several are alike."""
    names: dict[str, Path] = {}
    for path in data:
        folder = path.resolve().parent if path.name == TRANSFORMS else path.resolve()
        name, others = folder.name, 2
        while name in names or name in RESERVED:
            name, others = f"{folder.name}-{others}", others + 1
        names[name] = path
    return names


RESERVED = ("training", "set-aside")


PACKAGES = ("nerfgen-ns", "nerfstudio", "torch", "torchmetrics", "numpy", "scipy")


def as_json(run: Run, load_config: Path, config: EvaluationConfig, outcome: Outcome) -> dict[str, Any]:
    """Return everything but the pictures, as JSON can hold it."""
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
    """Return a value as JSON can hold it: paths become text, and numbers that are not finite None."""
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
        report: what `as_json` returned for the outcome.
        outcome: the results of the evaluation.

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
    """Format a value for the page: four digits of a number, and a dash for None."""
    if value is None:
        return "–"
    return f"{value:.4g}".replace("-", "−") if isinstance(value, float) else str(value)
