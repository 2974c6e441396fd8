"""Which photographs of a folder are judged, and how the latent code of each comes about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from nerfgen_ns.evaluation.test_folder import TestFolder
from nerfgen_ns.evaluation.training_folder import TrainingFolder

Kind = Literal["training photographs", "seen identities", "new identities", "new photographs"]
"""Photographs that the run was trained on, each shown by its row; other views of those identities; views of
new identities, fitted to other photographs of them; photographs that are themselves what is fitted."""
KINDS: tuple[Kind, ...] = ("training photographs", "seen identities", "new identities", "new photographs")
Anything = TypeVar("Anything")


@dataclass(frozen=True)
class View:
    """One photograph that is judged."""

    number: int
    """Its place in the folder."""
    kind: Kind
    """How the code of its object comes about."""
    identity: int | str | None
    """Its object, as the folder calls it."""


def views_of(folder: TestFolder, training: TrainingFolder, most: int | None = None) -> list[View]:
    """The photographs of a folder that are judged.

    An identity that the run was trained on is known by its number, the same in both folders. A photograph
    without an identity is an object of its own. Those with the role `query` are there to be fitted, and are
    not judged where their identity has a `target`.

    Args:
        most: of each kind so many, evenly spread; if not set, all.
    """
    trained = training.files
    roles: dict[int | str | None, set[str | None]] = {}
    for number in folder.chosen:
        frame = folder.frames[number]
        roles.setdefault(frame.get("identity"), set()).add(frame.get("role"))
    views: dict[Kind, list[View]] = {kind: [] for kind in KINDS}
    for number in folder.chosen:
        frame = folder.frames[number]
        identity = frame.get("identity")
        kind: Kind
        if folder.dataset.image_filenames[number].resolve() in trained:
            kind = "training photographs"
        elif folder.codes is not None or identity is None:
            kind = "new photographs"
        elif identity in training.rows:
            kind = "seen identities"
        elif {"query", "target"} <= roles[identity]:
            if frame.get("role") == "query":
                continue
            kind = "new identities"
        else:
            kind = "new photographs"
        views[kind].append(View(number, kind, identity))
    return [view for kind in KINDS for view in evenly(views[kind], most)]


def evenly(these: Sequence[Anything], most: int | None) -> list[Anything]:
    """At most so many of these, evenly spread; None: all."""
    count = min(most or len(these), len(these))
    return [these[place * len(these) // count] for place in range(count)]


def queries_of(folder: TestFolder, identity: int | str) -> list[int]:
    """The photographs that an identity is fitted to."""
    return [
        number
        for number in folder.chosen
        if folder.frames[number]["identity"] == identity and folder.frames[number].get("role") == "query"
    ]
