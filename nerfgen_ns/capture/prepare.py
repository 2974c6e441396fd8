"""`nerfgen prepare`: a folder of photographs becomes a prepared folder of crops, mattes and cameras.

In four stages: list the photographs, capture each by itself (`prepare_shard` does a part of them and stops
here), fit the cameras of all together, write the folder.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from nerfgen_ns.capture.camera_fitting import fit_cameras
from nerfgen_ns.capture.cameras import Cameras, first_guess, project
from nerfgen_ns.capture.canonical_landmarks import MOST_PHOTOGRAPHS, estimate_canonical_landmarks
from nerfgen_ns.capture.capture_pool import capture_many
from nerfgen_ns.capture.capture_store import Capture
from nerfgen_ns.capture.face_mesh import (
    LANDMARK_CENTRE,
    LANDMARK_RADIUS,
    face_width,
    mirror_partners,
)
from nerfgen_ns.capture.prepare_plan import Plan, PrepareConfig
from nerfgen_ns.capture.prepared_folder import Frame, PreparedFolder, PrepareReport, Rejection
from nerfgen_ns.capture.progress import progress_over
from nerfgen_ns.capture.shards import Shard, announce, check_agreement, note_finished, unfinished
from nerfgen_ns.errors import NerfgenError

FEWEST_PHOTOGRAPHS = 3
WORST_ERROR = 0.08
"""Photographs with a larger reprojection error than this part of the face width are rejected."""
FITTED_AT_ONCE = 1024
"""Photographs whose cameras are fitted in one go: their arrays take a hundred megabytes."""


@dataclass(frozen=True)
class ShardReport:
    """What came of one shard."""

    shard: Shard
    captured: int
    """Photographs of this shard with landmarks, a crop and a matte."""
    rejected: int
    """Photographs of this shard that cannot be used."""
    unfinished: list[str]
    """The other shards that are not finished, as `i/n`."""


def prepare(config: PrepareConfig) -> PrepareReport:
    """Prepare a folder of photographs, or report on it where it has been prepared with the same options.

    Raises:
        UsageError: the call cannot be right: no photographs, an output folder that belongs to something else,
            other options than those of the shards in it.
        NerfgenError: too few photographs were accepted, or the output cannot be written.
    """
    plan = Plan.of(config)
    folder = PreparedFolder(Path(config.output_dir))
    finished = folder.finished_report(plan.fingerprint)
    if finished is not None:
        return finished
    with folder.locked():
        finished = folder.finished_report(plan.fingerprint)
        if finished is not None:
            return finished
        check_agreement(folder.stores, plan.options, None)
        captures = _capture(plan, range(len(plan.keys)), folder, None, config.workers)
        names = [path.name for path in plan.photographs]
        rejected = [
            Rejection(name, capture.record["reason"], capture.record["mend"])
            for name, capture in zip(names, captures, strict=True)
            if capture.rejected
        ]
        found = [place for place, capture in enumerate(captures) if not capture.rejected]
        _check_enough(len(found), config, rejected)
        landmarks = folder.gather_landmarks([captures[place] for place in found])
        cameras, points, errors = _fit(
            landmarks, [captures[place].record["principal_point"] for place in found], config, plan.given
        )
        widths = face_width(landmarks[..., :2])
        accepted = errors <= WORST_ERROR * widths
        rejected += [
            Rejection(
                names[found[row]],
                "no camera explains where its landmarks lie",
                "use a photograph in which the face is whole and not in profile",
            )
            for row in np.flatnonzero(~accepted)
        ]
        _check_enough(int(accepted.sum()), config, rejected)
        matrices = cameras.camera_to_world()

        def frames() -> Iterator[tuple[str, Capture, Frame | None]]:
            rows = dict(zip(found, range(len(found)), strict=True))
            for place, (key, capture) in enumerate(zip(plan.keys, captures, strict=True)):
                row = rows.get(place)
                frame = None
                if row is not None and accepted[row]:
                    frame = Frame(
                        source=names[place],
                        camera_to_world=matrices[row],
                        focal=float(cameras.focal[row]),
                        centre=cameras.centre[row],
                        landmarks=landmarks[row, :, :2],
                        reprojection_rmse=float(errors[row]),
                        face_width=float(widths[row]),
                    )
                yield key, capture, frame

        canonical = {
            "class_name": config.class_name,
            "focal": cameras.focal[0] / config.size,
            "landmarks": points.round(6).tolist(),
            "mirror_partners": mirror_partners().tolist(),
        }
        return folder.write(
            config.class_name,
            config.size,
            frames(),
            int(accepted.sum()),
            rejected,
            canonical,
            plan.fingerprint,
        )


def prepare_shard(config: PrepareConfig, shard: Shard) -> ShardReport:
    """Capture one shard of the photographs, for `prepare` to go on from when all are there.

    Raises:
        UsageError: see `prepare`; or another shard was called with other options.
        NerfgenError: the output cannot be written.
    """
    plan = Plan.of(config)
    folder = PreparedFolder(Path(config.output_dir))
    finished = folder.finished_report(plan.fingerprint)
    if finished is not None:
        return ShardReport(shard, finished.accepted, len(finished.rejected), [])
    with folder.locked(shard):
        announce(folder.stores, plan.options, shard)
        places = shard.part_of(range(len(plan.keys)))
        captures = _capture(plan, places, folder, shard, config.workers)
        note_finished(folder.stores, plan.options, shard)
        rejected = sum(capture.rejected for capture in captures)
        return ShardReport(shard, len(captures) - rejected, rejected, unfinished(folder.stores, shard.count))


def _capture(
    plan: Plan, places: Sequence[int], folder: PreparedFolder, shard: Shard | None, workers: int | None
) -> list[Capture]:
    """The captures of the photographs at `places`: those that are there, and the others made."""
    known = folder.captures()
    store = folder.store(shard)
    tasks = [
        (plan.keys[place], plan.photographs[place], store.files(plan.keys[place]))
        for place in places
        if plan.keys[place] not in known
    ]
    if tasks:
        with (
            store,
            progress_over("landmarks and mattes", len(places), len(places) - len(tasks)) as advance,
        ):
            for key, record in capture_many(tasks, plan.capture, workers):
                store.append(key, record)
                advance()
        known.update(store.read())
    return [known[plan.keys[place]] for place in places]


def _fit(
    rows: Float[np.ndarray, "n m 4"],
    principal_points: list[list[float]],
    config: PrepareConfig,
    given: dict[str, Any] | None,
) -> tuple[Cameras, Float[np.ndarray, "m 3"], Float[np.ndarray, "n"]]:
    """Cameras, canonical landmarks and root mean square reprojection errors in pixels."""
    centre = np.array(principal_points)
    focal = np.full(len(rows), (given["focal"] if given else config.focal) * config.size)
    if given:
        points = np.array(given["landmarks"], dtype=np.float64)
    else:
        some = slice(None, None, -(-len(rows) // MOST_PHOTOGRAPHS))
        points = estimate_canonical_landmarks(
            rows[some, :, :3].astype(np.float64),
            focal[some],
            centre[some],
            mirror_partners(),
            LANDMARK_CENTRE,
            LANDMARK_RADIUS,
        )
    parts, errors = [], []
    for first in range(0, len(rows), FITTED_AT_ONCE):
        part = slice(first, first + FITTED_AT_ONCE)
        landmarks = rows[part, :, :3].astype(np.float64)
        guess = first_guess(landmarks, points, focal[part], centre[part])
        parts.append(fit_cameras(landmarks, points, guess))
        offsets = project(parts[-1], points) - landmarks[..., :2]
        errors.append(np.sqrt((offsets**2).sum(axis=2).mean(axis=1)))
    cameras = Cameras(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in Cameras.__dataclass_fields__)
    )
    return cameras, points, np.concatenate(errors)


def _check_enough(accepted: int, config: PrepareConfig, rejected: list[Rejection]) -> None:
    fewest = 1 if config.canonical_landmarks else FEWEST_PHOTOGRAPHS
    if accepted >= fewest:
        return
    why = f"; {rejected[0].source}: {rejected[0].reason}; {rejected[0].mend}" if rejected else ""
    if accepted == 0:
        raise NerfgenError(f"{config.data}: none of its {len(rejected)} photographs can be used{why}")
    raise NerfgenError(
        f"{config.data}: only {accepted} of its photographs can be used and a class needs at least {fewest}: "
        f"add more{why}"
    )
