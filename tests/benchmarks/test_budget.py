"""The command that plots quality against time of training."""

from pathlib import Path

import pytest

from benchmarks.budget import Budget
from nerfgen_ns.runs import launch
from nerfgen_ns.utils.files import read_json


def test_every_budget_is_trained_judged_and_plotted_and_none_twice(
    small_heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, results = tmp_path / "out", tmp_path / "RESULTS.md"
    budget = Budget(
        small_heads / "train",
        out,
        methods=("nerfgen-tiny",),
        minutes=(0.01,),
        eval_fraction=0.25,
        photographs=3,
        results_path=results,
    )
    budget.run()
    trainings = read_json(out / "budget.json")["trainings"]
    assert [(one["method"], one["minutes"], one["size"]) for one in trainings] == [("nerfgen-tiny", 0.01, 32)]
    for one in trainings:
        assert one["steps"] > 0
        for protocol in ("training-reconstruction", "held-out"):
            figures = one["figures"][protocol]
            assert 0 < figures["PSNR inside the matte"] < 60 and -1 <= figures["SSIM inside the matte"] <= 1
    assert (out / "budget.png").stat().st_size > 0
    assert len(list(out.rglob("turning.png"))) == 1
    assert results.read_text().count("| nerfgen-tiny |") == 1

    monkeypatch.setattr(launch.Training, "run", lambda self: pytest.fail("trained twice"))
    budget.run()
    assert read_json(out / "budget.json")["trainings"] == trainings
