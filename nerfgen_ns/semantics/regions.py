"""`nerfgen region`: a run in which a part of every object is removed, extracted or recolored."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from pathlib import Path

from nerfgen_ns.errors import UsageError
from nerfgen_ns.fields.regions import RegionConfig
from nerfgen_ns.model.class_view import usual_luminance
from nerfgen_ns.runs.derived_runs import derived_run_folder
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.training.checkpoints import CONFIG
from nerfgen_ns.utils.files import write_json

REPORT = "region.json"


def with_region(run: Run, region: RegionConfig, option: str = "") -> Run:
    """Return a run in which a region of every object is edited; the networks are those of the given one.

    Args:
        run: a run with labels; it stays as it is. A region that it has is replaced.
        region: the region and the effect; for a new color, `luminance` is measured.
        option: what the names of the region's fields begin with in messages.

    Raises:
        UsageError: the run has no labels, or a value of the region makes no sense.
        NerfgenError: no object shows a part that gets a new color.
    """
    region.check(option, run.legend.names)
    if region.effect == "recolor":
        region = replace(region, luminance=usual_luminance(run, region))
    model = copy.deepcopy(run.model)
    model.config = replace(model.config, region=None if region.effect == "none" else region)
    return replace(run, model=model)


def edit_region(load_config: Path, output_dir: Path, region: RegionConfig) -> Path:
    """Write a run in which a region of every object is edited, whole or not at all.

    Args:
        load_config: the config.yml of a run with labels, or a packed run.
        output_dir: the run folder to make: new, empty, or one of an earlier call, which is then replaced.
        region: the region and the effect.

    Returns:
        The config.yml of the new run.

    Raises:
        UsageError: there is no such run, it has no labels, a value of the region makes no sense, or the
            folder holds something else.
        NerfgenError: see `with_region`; or the folder cannot be written.
    """
    run = load_run(load_config)
    if run.model.label_head is None:
        raise UsageError(f"{load_config}: has no labels; make a run that has them with nerfgen label")
    edited = with_region(run, region, "--")
    with derived_run_folder(output_dir, is_edited_run, load_config, edited, ("region",)) as making:
        assert edited.model.config.region is not None
        write_json(making / REPORT, asdict(edited.model.config.region))
    return output_dir / CONFIG


def is_edited_run(folder: Path) -> bool:
    """Return whether `edit_region` made a folder."""
    return all((folder / name).is_file() for name in (CONFIG, REPORT))
