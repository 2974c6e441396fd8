"""Which photographs are judged, and by which code."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nerfgen_ns.evaluation.folders import TrainingFolder, open_test_folder, open_training_folder
from nerfgen_ns.evaluation.renders import evenly, queries_of, views_of
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from tests.helpers.prepared_contents import record_of

Changed = Callable[..., Path]


@pytest.fixture(scope="module")
def run(trained_config: Path) -> Run:
    return load_run(trained_config)


@pytest.fixture(scope="module")
def training(run: Run) -> TrainingFolder:
    return open_training_folder(run, 1)


def kinds(folder: Path, training: TrainingFolder) -> list[tuple[str, Any]]:
    return [(view.kind, view.identity) for view in views_of(open_test_folder(folder, "test"), training)]


def test_further_views_of_training_identities_are_all_judged(
    seen_heads: Path, training: TrainingFolder
) -> None:
    assert kinds(seen_heads, training) == [
        ("seen identities", identity) for identity in (0, 0, 0, 1, 1, 1, 2, 2, 2)
    ]


def test_new_identities_are_judged_on_their_targets(new_heads: Path, training: TrainingFolder) -> None:
    assert kinds(new_heads, training) == [("new identities", identity) for identity in (3, 3, 4, 4)]
    folder = open_test_folder(new_heads, "test")
    assert [folder.frames[number].role for number in queries_of(folder, 4)] == ["query"]


def test_photographs_without_identity_are_objects_of_their_own(
    seen_heads: Path, training: TrainingFolder, changed: Changed
) -> None:
    nameless = changed(
        seen_heads, lambda frames: [{k: v for k, v in f.items() if k != "identity"} for f in frames]
    )
    assert kinds(nameless, training) == [("new photographs", None)] * 9


def test_new_identities_without_roles_are_fitted_view_by_view(
    new_heads: Path, training: TrainingFolder, changed: Changed
) -> None:
    roleless = changed(
        new_heads, lambda frames: [{k: v for k, v in f.items() if k != "role"} for f in frames]
    )
    assert kinds(roleless, training) == [("new photographs", identity) for identity in (3, 3, 3, 4, 4, 4)]


def test_seen_and_new_identities_may_share_a_folder(
    seen_heads: Path, new_heads: Path, training: TrainingFolder, changed: Changed
) -> None:
    def both(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for frame in frames[3:]:
            frame["identity"] += 10
        return frames

    assert kinds(changed(seen_heads, both), training) == [
        *[("seen identities", 0)] * 3,
        *[("new identities", 11)] * 2,
        *[("new identities", 12)] * 2,
    ]


def test_the_training_folder_is_recognized(heads: Path, training: TrainingFolder) -> None:
    assert kinds(heads, training) == [("training photographs", identity) for identity in range(3)]


def test_at_most_so_many_are_taken_evenly(seen_heads: Path, training: TrainingFolder) -> None:
    views = views_of(open_test_folder(seen_heads, "test"), training)
    assert [view.number for view in evenly(views, 3)] == [0, 3, 6]
    assert evenly(views, 100) == views


def test_photographs_set_aside_are_new_and_their_rows_mean_nothing(heads: Path) -> None:
    own: Any = SimpleNamespace(photographs=heads, record=record_of(heads), eval_fraction=0.34)
    training = open_training_folder(own, 1)
    assert training.rows == {0: 0, 2: 2}
    assert training.set_aside is not None
    views = views_of(training.set_aside, training)
    assert [(view.kind, view.identity) for view in views] == [("new photographs", 1)]
    assert [view.identity for view in views_of(training.trained, training)] == [0, 2]
