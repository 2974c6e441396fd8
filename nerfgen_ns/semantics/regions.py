"""`nerfgen region`: a run in which a part of every object is removed, extracted or recolored."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from nerfgen_ns.errors import UsageError
from nerfgen_ns.fields.query import THRESHOLD
from nerfgen_ns.fields.regions import RegionConfig
from nerfgen_ns.model.class_view import usual_luminance
from nerfgen_ns.runs.derived_runs import derived_run_folder
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.training.checkpoints import CONFIG
from nerfgen_ns.utils.files import write_json

REPORT = "region.json"


def usual_threshold(labels: Sequence[str]) -> float:
    """Return the threshold of a region of labels or, without labels, of what was looked for."""
    return RegionConfig.threshold if labels else THRESHOLD


def with_region(run: Run, region: RegionConfig, option: str = "") -> Run:
    """Return a run in which a region of every object is edited; the networks are those of the given one.

    Args:
        run: a run with labels, or one of `nerfgen find`; it stays as it is. A region that it has is replaced.
        region: the region and the effect; for a new color, `luminance` is measured.
        option: what the names of the region's fields begin with in messages.

    Raises:
        UsageError: the run has neither labels nor a query, or a value of the region makes no sense.
        NerfgenError: no object shows a part that gets a new color.
    """
    region.check(option, *_parts_of(run, "the run"))
    if region.effect == "recolor":
        region = replace(region, luminance=usual_luminance(run, region))
    model = copy.deepcopy(run.model)
    model.config = replace(model.config, region=None if region.effect == "none" else region)
    return replace(run, model=model)


def edit_region(load_config: Path, output_dir: Path, region: RegionConfig) -> Path:
    """Write a run in which a region of every object is edited, whole or not at all.

    Args:
        load_config: the config.yml of a run with labels or of `nerfgen find`, or a packed run.
        output_dir: the run folder to make: new, empty, or one of an earlier call, which is then replaced.
        region: the region and the effect.

    Returns:
        The config.yml of the new run.

    Raises:
        UsageError: there is no such run; see `with_region`; or the folder holds something else.
        NerfgenError: see `with_region`; or the folder cannot be written.
    """
    run = load_run(load_config)
    _parts_of(run, str(load_config))
    edited = with_region(run, region, "--")
    with derived_run_folder(output_dir, is_edited_run, load_config, edited, ("region",)) as making:
        assert edited.model.config.region is not None
        write_json(making / REPORT, asdict(edited.model.config.region))
    return output_dir / CONFIG


def _parts_of(run: Run, name: str) -> tuple[tuple[str, ...], bool]:
    """Return the labels of a run, and whether something is looked for in its features."""
    config = run.model.config
    names = () if config.label_head is None else config.label_head.names
    has_query = config.feature_head is not None and config.feature_head.query is not None
    if not names and not has_query:
        raise UsageError(
            f"{name}: has neither labels nor anything that was looked for; make a run that has with nerfgen "
            "label or nerfgen find"
        )
    return names, has_query


def is_edited_run(folder: Path) -> bool:
    """Return whether `edit_region` made a folder."""
    return all((folder / name).is_file() for name in (CONFIG, REPORT))
