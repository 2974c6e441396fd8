"""The sections of docs/results.md, each from the JSON that one benchmark writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.ablation.report import ablation_report
from benchmarks.ablation.tables import markdown_table
from benchmarks.budget import budget_rows
from benchmarks.machine import RECORD, record_sentence, shown_path, shown_text, spoken_seconds
from benchmarks.result_pictures import ResultPictures
from nerfgen_ns.utils.files import read_json
from nerfgen_ns.utils.machine import machine_sentence

QUALITY = {
    "training_steps": ("steps of training", ",.0f"),
    "peak_resident_megabytes": ("peak of resident memory, MB", ",.0f"),
    "reconstruction_views": ("reconstruction: photographs", ".0f"),
    "reconstruction_psnr": ("reconstruction: PSNR, dB", ".2f"),
    "reconstruction_foreground_psnr": ("reconstruction: PSNR inside the matte, dB", ".2f"),
    "reconstruction_depth_correlation": ("reconstruction: depth correlation", ".3f"),
    "new_views_views": ("new views of the same identities", ".0f"),
    "new_views_psnr": ("new views: PSNR, dB", ".2f"),
    "new_views_foreground_psnr": ("new views: PSNR inside the matte, dB", ".2f"),
    "new_views_depth_correlation": ("new views: depth correlation", ".3f"),
}
"""What `quality.json` holds: its name on the page, and how it is written."""


def quality_section(path: Path, pictures: ResultPictures) -> str:
    """Write the section of `benchmarks.quality`: a method's defaults on one folder."""
    figures = read_json(path)
    rows = [[name, format(figures[key], form)] for key, (name, form) in QUALITY.items() if key in figures]
    title = f"`{figures['method']}` on {figures['data']}"
    caption = "Renders of the model alone: identities turned to several sides, and their normals"
    name = "quality_" + figures["data"].replace("/", "_") + ".jpg"
    return _joined(
        f"### {title}, {figures['training_minutes']:g} minutes",
        record_sentence(figures[RECORD]),
        markdown_table(["figure", "value"], rows),
        pictures.add(path.with_name("turning.png"), name, caption),
    )


def budget_section(path: Path, pictures: ResultPictures) -> str:
    """Write the section of `benchmarks.budget`: quality against time, and renders of its longest training."""
    report = read_json(path)
    head, *rows = budget_rows(report["trainings"])
    longest = max(report["trainings"], key=lambda training: training["minutes"])
    caption = f"Renders of `{longest['method']}` after {longest['minutes']:g} minutes, and their normals"
    return _joined(
        f"### {report['data']}, judged {report['judged_factor']} times smaller",
        record_sentence(report[RECORD]),
        markdown_table(head, rows),
        pictures.add(path.with_name("budget.png"), "budget.png", "Quality against minutes of training"),
        pictures.add(path.parent / longest["sheet"], "budget_renders.jpg", caption),
    )


def ablation_section(path: Path, pictures: ResultPictures) -> str:
    """Write the section of `benchmarks.ablate`: every ablation with its plot and renders."""
    report = read_json(path)
    for ablation in report["ablations"]:
        name = ablation["name"]
        pictures.add(path.with_name(f"{name}.png"), f"{name}.png", "")
        pictures.add(path.with_name(f"{name}_renders.png"), f"{name}_renders.jpg", "")
    return ablation_report(report, f"{pictures.folder.name}/", ".jpg").strip()


def evaluation_section(path: Path, pictures: ResultPictures) -> str:
    """Write the section of `nerfgen evaluate`: every protocol with its source, and what could not be run."""
    report = read_json(path)
    run, folders = report["run"], report["data"]
    judged = ", ".join(f"*{name}*" for name in folders) or "no test folder"
    parts = [
        f"### `{run['method']}`, {run['identities']:,} identities of {shown_path(run['data'])}",
        f"`nerfgen evaluate` after step {run['step']:,} on {judged}: {spoken_seconds(report['seconds'])}, on "
        f"{machine_sentence(report['machine'])}. Everything made smaller by "
        f"{report['settings']['downscale_factor']:g}.",
    ]
    for result in report["results"]:
        where = f" on {result['data']}" if result["data"] else ""
        rows = [_figure_row(figure) for figure in result["figures"]]
        parts += [
            f"#### {result['protocol']}{where}",
            f"{shown_text(result['source']).rstrip('.')}; {spoken_seconds(result['seconds'])}.",
            markdown_table(["figure", "value", "of", "note"], rows, text_columns=(0, 3)),
        ]
    if report["not_run"]:
        reasons = [
            f"- {one['protocol']}{' on ' + one['data'] if one['data'] else ''}: {shown_text(one['reason'])}"
            for one in report["not_run"]
        ]
        parts.append("Not run:\n\n" + "\n".join(reasons))
    return _joined(*parts)


def _figure_row(figure: dict[str, Any]) -> list[str]:
    better = {"higher": " ↑", "lower": " ↓"}.get(figure["better"], "")
    unit = "" if figure["unit"] == "" else f" {figure['unit']}"
    value = "not available" if figure["value"] is None else f"{figure['value']:.4g}{unit}"
    note = shown_text(figure["note"]).replace("|", "\\|")
    return [figure["name"].replace("|", "\\|") + better, value, f"{figure['count']:,}", note]


def cameras_section(path: Path, pictures: ResultPictures) -> str:
    """Write the section of `benchmarks.cameras`: fitted cameras against true ones, and the fit's time."""
    figures = read_json(path)
    tables = [_measured(figures[part]) for part in ("accuracy", "scale") if figures.get(part)]
    return _joined("### The joint fit of cameras", record_sentence(figures[RECORD]), *tables)


def throughput_section(path: Path, pictures: ResultPictures) -> str:
    """Write the section of `benchmarks.throughput`: the reference implementation and ours, side by side."""
    figures = read_json(path)
    machine, settings = figures["machine"], figures["settings"]
    parts = [
        f"### On {machine['device']}",
        f"`benchmarks.throughput` on {shown_path(settings['data'])}, {machine['threads']} threads, torch "
        f"{machine['torch']}: the reference implementation (benchmarks/reference.py, the literal method) and "
        "ours train in turns, for the same time.",
    ]
    trainings = dict(figures["trainings"])
    if trainings:
        columns = {name: _throughput_column(name, training, figures) for name, training in trainings.items()}
        parts.append(_measured(columns))
    ratio = figures["target"]["ratio"]
    if ratio is not None:
        parts.append(f"Ours reached {figures['target']['psnr']:.2f} dB {ratio:.1f} times sooner.")
    plot = path.with_name("throughput.png")
    if plot.exists():
        name = f"throughput_{machine['kind']}.png"
        parts.append(pictures.add(plot, name, "PSNR on new views over the seconds of training"))
    return _joined(*parts)


def _throughput_column(name: str, training: dict[str, Any], figures: dict[str, Any]) -> dict[str, float]:
    column = {
        "seconds of training": training["seconds"],
        "steps a second": training["steps_per_second"],
        "rays a second": training["rays_per_second"],
        "samples a second": training["samples_per_second"],
        "frames a second, one identity at 128 × 128": training["frames_per_second"],
        "peak of resident memory, MB": training["peak_megabytes"]["resident"],
    }
    if training["new_view_psnr"]:
        column["new views: PSNR inside the matte, dB"] = training["new_view_psnr"][-1][1]
    reached = figures["target"]["seconds"].get(name)
    if reached is not None:
        column[f"seconds to {figures['target']['psnr']:.2f} dB"] = reached
    return column


def _measured(columns: dict[str, dict[str, float]]) -> str:
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = [[name, *(_number(column.get(name)) for column in columns.values())] for name in names]
    return markdown_table(["measured", *columns], rows)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _joined(*parts: str) -> str:
    return "\n\n".join(parts)
