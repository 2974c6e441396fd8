"""The protocol `features`: known answers of its parts, and a run from features to figures."""

from pathlib import Path

import pytest
import torch

from nerfgen_ns.evaluation.evaluate import evaluate
from nerfgen_ns.evaluation.protocol import EvaluationConfig
from nerfgen_ns.evaluation.protocols.features import Agreements, retrieval_precision
from nerfgen_ns.runs.loading import load_run
from tests.helpers.feature_runs import Colors, offer


def test_retrieval_counts_points_of_other_objects_alone() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 0.2], [0.1, 1.0], [0.2, 1.0]])
    labels = torch.tensor([0, 0, 1, 0, 1, 0])
    identities = torch.tensor([0, 0, 0, 1, 1, 1])
    precision, chance = retrieval_precision(features, labels, identities, 1)
    # The last point looks like another label's: it retrieves one, and so does the third, which retrieves it
    # never, since another is nearer.
    assert precision == pytest.approx((3 / 4 + 1.0) / 2)
    assert chance == pytest.approx(((4 * 2 / 3) / 4 + (1 / 3 + 1 / 3) / 2) / 2)


def test_the_same_features_agree_and_are_found_again_and_others_are_not() -> None:
    generator = torch.Generator().manual_seed(0)
    view = torch.randn(20, 20, 8, generator=generator)
    rows, columns = torch.meshgrid(torch.arange(20), torch.arange(20), indexing="ij")
    place = torch.stack([columns, rows], dim=-1) + 0.5
    everything = torch.ones(20, 20, dtype=torch.bool)
    agreements = Agreements()
    agreements.add(view, 3.0 * view, everything, place, everything)
    agreements.add(view, torch.randn(20, 20, 8, generator=generator), everything, place, everything)
    agreements.add(view, view, ~everything, place, everything)
    assert agreements.same == pytest.approx([1.0, 0.0], abs=0.05)
    assert abs(agreements.different[0]) < 0.05
    assert agreements.found[0] == 1.0 and agreements.found[1] < 0.1


def test_a_run_gets_figures_beside_those_of_its_extractor(
    trained_config: Path, distilled_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = EvaluationConfig(protocol=("features",), downscale_factor=2)
    outcome = evaluate(load_run(trained_config), [], options, tmp_path)
    assert [one.protocol for one in outcome.not_run] == ["features"]
    assert "nerfgen distill" in outcome.not_run[0].reason
    alone = evaluate(load_run(distilled_config), [], options, tmp_path)
    offer(monkeypatch, colors=Colors)
    whole = evaluate(load_run(distilled_config), [], options, tmp_path)
    for outcome, has_extractor in ((alone, False), (whole, True)):
        assert outcome.not_run == []
        figures = {figure.name: figure for figure in outcome.results[0][1].figures}
        for name in (
            "agreement of two views",
            "points found again in the other view",
            "retrieval precision at 10",
        ):
            own, flat = figures[name], figures[f"{name}, of the 2D extractor"]
            assert own.value is not None and -1.0 <= own.value <= 1.0
            assert (flat.value is not None) is has_extractor
            assert has_extractor or "'colors'" in flat.note
