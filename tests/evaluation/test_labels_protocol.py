"""The protocol `labels`: known answers of its parts, and a run from label maps to figures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nerfgen_ns.evaluation.evaluate import evaluate
from nerfgen_ns.evaluation.folders import open_test_folder
from nerfgen_ns.evaluation.protocol import EvaluationConfig, Figure, FittingConfig
from nerfgen_ns.evaluation.protocols.labels import camera_of_labels
from nerfgen_ns.runs.loading import load_run
from tests.helpers.small_models import make_camera


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_rays_go_through_the_middles_of_the_pixels_whose_labels_are_judged(factor: int) -> None:
    stored = make_camera(12, 24)
    small = make_camera(12, 24)
    small.rescale_output_resolution(1.0 / factor)
    rays = camera_of_labels(small, 24).generate_rays(camera_indices=0, keep_shape=True)
    whole = stored.generate_rays(camera_indices=0, keep_shape=True).directions
    rows, columns = (
        torch.from_numpy(np.floor((np.arange(side // factor) + 0.5) * factor).astype(int))
        for side in (12, 24)
    )
    torch.testing.assert_close(rays.directions, whole[rows][:, columns])


def figures_of(config: Path, folders: list[Path], work: Path) -> dict[str, Figure]:
    options = EvaluationConfig(protocol=("labels",), fit=FittingConfig(steps=3, rays=8), downscale_factor=2)
    outcome = evaluate(load_run(config), folders, options, work)
    assert outcome.not_run == []
    return {figure.name: figure for _, result in outcome.results for figure in result.figures}


def test_seen_and_new_identities_get_figures_beside_their_baselines(
    labeled_config: Path, seen_heads: Path, new_heads: Path, tmp_path: Path
) -> None:
    figures = figures_of(labeled_config, [seen_heads, new_heads], tmp_path)
    for of in ("seen identities", "new identities", "new identities from label maps alone"):
        figure = figures[f"mIoU, {of}"]
        assert figure.value is not None and 0.0 <= figure.value <= 1.0
        known = [
            own for name, own in figures.items() if name.startswith("IoU of") and name.endswith(f", {of}")
        ]
        assert len(known) >= 4
        values = [own.value for own in known if own.value is not None]
        assert figure.value == pytest.approx(float(np.mean(values)))
    for of in ("seen identities", "new identities"):
        for baseline in ("the label map with the nearest camera", "a 2D network on the renders"):
            assert figures[f"mIoU of {baseline}, {of}"].value is not None
    agreement = figures["agreement of two views"]
    assert agreement.value is not None and 0.0 <= agreement.value <= 1.0
    views = len(open_test_folder(seen_heads, "seen", 2).frames)
    assert figures["mIoU, seen identities"].count == views * 16 * 16


def test_a_run_without_labels_and_a_folder_without_truth_are_named(
    trained_config: Path, labeled_config: Path, seen_heads: Path, changed, tmp_path: Path
) -> None:
    options = EvaluationConfig(protocol=("labels",))
    outcome = evaluate(load_run(trained_config), [seen_heads], options, tmp_path)
    assert [one.protocol for one in outcome.not_run] == ["labels"]
    assert "nerfgen label" in outcome.not_run[0].reason

    def without(frames):
        for frame in frames:
            del frame["semantic_path"]
        return frames

    outcome = evaluate(load_run(labeled_config), [changed(seen_heads, without)], options, tmp_path)
    assert "semantic_path" in outcome.not_run[0].reason
