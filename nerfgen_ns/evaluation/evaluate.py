"""All protocols that the data allows, one after another, and what came of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nerfgen_ns.dataset_format.transforms import TRANSFORMS, transforms_path
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.evaluation.folders import TestFolder, open_test_folder, open_training_folder
from nerfgen_ns.evaluation.protocol import Evaluation, EvaluationConfig, EvaluationProtocol, ProtocolResult
from nerfgen_ns.evaluation.protocols import PROTOCOLS
from nerfgen_ns.evaluation.renders import FolderRenders, SavedRenders, capture_photographs
from nerfgen_ns.inversion.config import FitConfig
from nerfgen_ns.inversion.inversion import Stages, looked_at_factor, silent
from nerfgen_ns.runs.run import Run


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
    """What came of an evaluation."""

    results: list[tuple[str, ProtocolResult]] = field(default_factory=list)
    """The protocols that ran, each with the name of its test folder; empty for one of the run alone."""
    not_run: list[NotRun] = field(default_factory=list)
    """Those that did not."""
    remarks: list[str] = field(default_factory=list)
    """Photographs that could not be used, and why."""
    folders: dict[str, str] = field(default_factory=dict)
    """Where each test folder lies."""
    downscale_factor: int = 1
    """How many times smaller than stored everything was judged."""
    seconds: float = 0.0
    """What all of it took."""


def evaluate(
    run: Run,
    data: Sequence[Path],
    config: EvaluationConfig,
    work: Path,
    save_renders: Path | None = None,
    stages: Stages = silent,
) -> Outcome:
    """Run the protocols on a run.

    Photographs set aside from training are one more test folder. What cannot be run is told, and stops
    nothing else.

    Args:
        run: the trained run.
        data: test folders, and folders of raw photographs.
        config: how.
        work: an empty folder for what is made of raw photographs.
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
    """A name of its own for each path: that of the folder, with a number where several are alike."""
    names: dict[str, Path] = {}
    for path in data:
        folder = path.resolve().parent if path.name == TRANSFORMS else path.resolve()
        name, others = folder.name, 2
        while name in names or name in RESERVED:
            name, others = f"{folder.name}-{others}", others + 1
        names[name] = path
    return names


RESERVED = ("training", "set-aside")
