"""The ablation command: its switches, what it keeps, and what it writes."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tyro

from benchmarks import ablate
from benchmarks.ablation import reference, runs
from benchmarks.ablation.runs import Judging, Training, judged, method_config, trained
from benchmarks.ablation.variants import DEFAULTS, Variant, ablations
from nerfgen_ns.configs import nerfgen, nerfgen_tiny
from nerfgen_ns.errors import NerfgenError, UsageError


def training(small_heads: Path) -> Training:
    return Training(small_heads / "train", "nerfgen-tiny", 0.01, 1, 4)


def chosen_pipeline(variant: Variant) -> Any:
    """The pipeline's configuration as `ns-train` makes it of the variant's options."""
    default = nerfgen_tiny.config
    options = tyro.conf.SuppressFixed[tyro.conf.FlagConversionOff[type(default)]]
    return tyro.cli(options, default=default, args=list(variant.options)).pipeline


def chosen_model(variant: Variant) -> Any:
    return chosen_pipeline(variant).model


def test_every_switch_is_an_option_of_the_method_and_changes_it() -> None:
    for ablation in ablations(256, (32,), 96, (8,)).values():
        for variant in ablation.variants:
            chosen, usual = chosen_pipeline(variant), nerfgen_tiny.config.pipeline
            samplers = chosen.datamanager.pixel_sampler, usual.datamanager.pixel_sampler
            same = chosen.model == usual.model and samplers[0] == samplers[1]
            assert same == (not variant.options), variant.name


def test_each_loss_is_switched_off_and_the_mirror_on() -> None:
    _, hard, mask, background, heavier, mirror = ablations(256, (), 96, ())["losses"].variants
    assert (
        chosen_model(hard).losses.hard_surface_loss_mult
        == 0
        < chosen_model(mask).losses.hard_surface_loss_mult
    )
    assert chosen_model(mask).losses.mask_loss_mult == 0 < chosen_model(hard).losses.mask_loss_mult
    assert not chosen_model(background).background.learned and chosen_model(hard).background.learned
    for name in ("mask_loss_mult", "hard_surface_loss_mult", "background_weight"):
        weights = [getattr(model.losses, name) for model in (chosen_model(background), chosen_model(heavier))]
        assert weights[0] < weights[1] == getattr(nerfgen.config.pipeline.model.losses, name)
    assert chosen_model(hard).symmetry.mirrored_share == 0 < chosen_model(mirror).symmetry.mirrored_share


def test_the_defaults_are_a_row_of_each_ablation_of_true_cameras_and_one_training_for_all(
    small_heads: Path,
) -> None:
    settings = []
    for ablation in ablations(4, (2, 3), method_config("nerfgen-tiny").latent_dim, (8,)).values():
        (own,) = [variant for variant in ablation.variants if variant.name == ablation.reference]
        if own.cameras == "true":
            settings.append(runs.settings_of(training(small_heads), own, 0))
    assert len(settings) == 5 and all(one == settings[0] for one in settings)


@pytest.mark.parametrize("change", ["seed", "minutes", "options", "images", "cameras", "data"])
def test_what_decides_the_outcome_makes_another_run(change: str, small_heads: Path) -> None:
    base, variant, seed = training(small_heads), Variant(DEFAULTS), 0
    before = runs.settings_of(base, variant, seed)
    assert runs.settings_of(base, replace(variant, name="another name"), seed) == before
    if change == "seed":
        seed = 1
    elif change == "minutes":
        base = replace(base, minutes=2.0)
    elif change == "data":
        base = replace(base, data=small_heads / "test")
    else:
        value = {"options": ("--a", "1"), "images": 2, "cameras": "exact landmarks"}[change]
        variant = replace(variant, **{change: value})  # type: ignore[arg-type]
    assert runs.settings_of(base, variant, seed) != before


def test_a_run_is_trained_once_and_found_again(
    small_heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = Variant("without mask loss", ("--pipeline.model.losses.mask-loss-mult", "0"))
    load_config = trained(tmp_path, training(small_heads), variant, seed=3)
    written = yaml_of(load_config)
    assert "mask_loss_mult: 0.0" in written and "seed: 3" in written
    judging = Judging(small_heads / "test", (0, 1, 2), 3)
    figures = judged(load_config, training(small_heads), judging)
    assert figures["steps"] >= 1
    for prefix in ("reconstruction", "new_views"):
        for name in ("psnr", "foreground_psnr", "depth_correlation", "silhouette_iou"):
            assert f"{prefix}_{name}" in figures

    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError("is trained or judged again")

    monkeypatch.setattr(runs.launch.Training, "start", fail)
    monkeypatch.setattr(runs, "judge", fail)
    assert trained(tmp_path, training(small_heads), variant, seed=3) == load_config
    assert judged(load_config, training(small_heads), judging) == figures
    with pytest.raises(AssertionError, match="again"):
        judged(load_config, training(small_heads), replace(judging, views=2))


def yaml_of(load_config: Path) -> str:
    return load_config.read_text()


def test_a_training_that_fails_says_where_the_reason_is(
    small_heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In place of ns-train, whose start takes long.
    monkeypatch.setattr(runs.launch, "NS_TRAIN", (sys.executable, "-c", "exit('--no-such-option')"))
    with pytest.raises(NerfgenError, match=r"train\.log: .*--no-such-option"):
        trained(tmp_path, training(small_heads), Variant("wrong", ("--no-such-option", "1")), seed=0)
    assert not list(tmp_path.rglob("training.json"))


def test_the_command_writes_tables_plots_and_renders_and_keeps_former_ablations(
    small_heads: Path, begun_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (begun_run.parents[3] / "training.json").write_text(json.dumps({"record": a_record()}))
    monkeypatch.setattr(ablate, "trained", lambda *arguments: begun_run)
    options = ["--data", str(small_heads / "train"), "--test", str(small_heads / "test")]
    options += ["--output-dir", str(tmp_path), "--downscale-factor", "1", "--images", "4", "--seeds", "2"]
    options += ["--views", "2", "--numbers-of-images", "2"]
    ablate.main([*options, "--only", "images"])
    ablate.main([*options, "--only", "losses"])
    report = json.loads((tmp_path / "ablate.json").read_text())
    assert [ablation["name"] for ablation in report["ablations"]] == ["images", "losses"]
    assert report["settings"]["judged_identities"] == 2
    row = report["ablations"][1]["rows"][0]
    assert row["name"] == DEFAULTS and len(row["figures"]["new_views_psnr"]) == 2
    text = (tmp_path / "ablate.md").read_text()
    assert "mean image" in text and "without mask loss" in text and "2 photographs" in text
    for name in ("losses", "losses_renders", "images", "images_renders"):
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


def a_record() -> dict:
    machine = {"processor": "P", "cores": 2, "accelerator": None, "fast_bf16": False, "torch": "2"}
    return {"command": "python", "seconds": 7.0, "date": "2024-01-01", "machine": machine}


def test_test_views_of_others_are_a_wrong_call(
    small_heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transforms = json.loads((small_heads / "test" / "transforms.json").read_text())
    for frame in transforms["frames"]:
        frame["identity"] += 100
    (tmp_path / "transforms.json").write_text(json.dumps(transforms))
    options = ["--data", str(small_heads / "train"), "--test", str(tmp_path), "--images", "4"]
    with pytest.raises(SystemExit) as ended:
        ablate.main([*options, "--only", "losses", "--output-dir", str(tmp_path / "out")])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}: " in error and str(small_heads / "train") in error


def test_a_method_that_does_not_exist_is_a_wrong_call() -> None:
    with pytest.raises(UsageError, match=r"--method nerfacto: .*nerfgen-tiny"):
        method_config("nerfacto")


def test_the_reference_implementation_joins_from_its_own_figures(tmp_path: Path) -> None:
    path = tmp_path / "throughput.json"
    training_figures = {"seconds": 60.0, "new_view_psnr": [[0.0, 9.0], [60.0, 16.8]]}
    settings = {
        "data": "/far/heads/train",
        "test": "/far/heads/test_seen",
        "views": 48,
        "downscale_factor": 2,
    }
    path.write_text(json.dumps({"trainings": {"reference": training_figures}, "settings": settings}))
    row = reference.reference_row(path)
    assert row["figures"] == {"new_views_foreground_psnr": [16.8]}
    assert "60 s" in row["note"] and "heads/test_seen" in row["note"] and "/far" not in row["note"]
    path.write_text(json.dumps({"trainings": {}, "settings": settings}))
    with pytest.raises(UsageError, match=r"throughput\.json: .*--test"):
        reference.reference_row(path)
