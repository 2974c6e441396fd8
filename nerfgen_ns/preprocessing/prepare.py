"""`nerfgen prepare`: a folder of photographs becomes a prepared folder of crops, mattes and cameras.

There are four stages: list the photographs, capture each by itself (`prepare_shard` does a part of them and
stops here), fit the cameras of all together, write the folder. If the cameras are known, see `posed_folder`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.preprocessing.camera_fitting.fit import Collection, CollectionFit, fit_collection
from nerfgen_ns.preprocessing.landmarks.models import LandmarkScheme
from nerfgen_ns.preprocessing.photographs import readable_now
from nerfgen_ns.preprocessing.plan import Plan, PrepareConfig
from nerfgen_ns.preprocessing.posed_folder import prepare_known_cameras
from nerfgen_ns.preprocessing.posed_images import has_known_cameras
from nerfgen_ns.preprocessing.prepared_folder import (
    PlacedPhotograph,
    PreparedFolder,
    Shard,
    announce,
    check_agreement,
    note_finished,
    unfinished,
)
from nerfgen_ns.preprocessing.report.prepare_report import PrepareReport, Rejection, by_reason, printable
from nerfgen_ns.preprocessing.store import Capture
from nerfgen_ns.preprocessing.workers import capture_many
from nerfgen_ns.utils.console import progress_over

__all__ = ["PrepareConfig", "ShardReport", "prepare", "prepare_shard"]
FEWEST_PHOTOGRAPHS = 3
WORST_ERROR = 0.08
"""Photographs with a larger reprojection error than this part of the object's extent are rejected."""
MEASURED_AT_ONCE = 4096
MOST_REASONS = 3
"""How many reasons for rejection the message about too few photographs names."""


@dataclass(frozen=True)
class ShardReport:
    """The result of one shard."""

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
        UsageError: the call is wrong: no photographs, options that contradict each other, a file with
            something wrong in it, an output folder that belongs to something else, other options than those
            of the shards in it.
        NerfgenError: too few photographs were accepted, or the output cannot be written.
    """
    if has_known_cameras(config.data):
        return _prepare_known_cameras(config)
    plan = Plan.of(config)
    folder = PreparedFolder(Path(config.output_dir))
    finished = _finished(folder, plan)
    if finished is not None and finished.left_out == plan.left_out:
        return finished
    with folder.locked():
        finished = _finished(folder, plan)
        if finished is not None:
            return folder.note_left_out(finished, plan.left_out, plan.fingerprint)
        check_agreement(folder.stores, plan.options, None)
        plan = plan.with_given_landmarks(folder.stores)
        captures = _capture(plan, range(len(plan.keys)), folder, None, config.workers)
        rejected = [
            Rejection(name, capture.record["reason"], capture.record["mend"])
            for name, capture in zip(plan.names, captures, strict=True)
            if capture.rejected
        ]
        found = [place for place, capture in enumerate(captures) if not capture.rejected]
        _check_enough(len(found), config, rejected)
        landmarks = folder.gather_landmarks([captures[place] for place in found])
        # Where the focal length is free, no angle of view has to be guessed to place the principal point.
        axis = "principal_point" if config.focal_mode == "fixed" else "middle"
        centers = np.array([captures[place].record[axis] for place in found])
        fit = _fit(landmarks, centers, found, plan, config)
        extents = _extents(landmarks, plan.scheme)
        accepted = fit.error <= WORST_ERROR * extents
        rejected += [
            Rejection(
                plan.names[found[row]],
                "no camera explains where its landmarks are",
                "check its landmarks, or use a photograph of the whole object, less from the side",
            )
            for row in np.flatnonzero(~accepted)
        ]
        _check_enough(int(accepted.sum()), config, rejected)
        rows = {place: row for row, place in enumerate(found) if accepted[row]}
        partners = plan.scheme.mirror_partners
        canonical = {
            "class_name": plan.class_name,
            "focal": round(float(np.median(fit.cameras.focal)) / config.size, 6),
            "names": plan.scheme.names,
            "mirror_partners": None if partners is None else partners.tolist(),
            **fit.model.as_dict(),
        }
        return folder.write(
            plan.class_name,
            config.size,
            _frames(plan, captures, rows, fit, landmarks, extents),
            len(rows),
            rejected,
            canonical,
            plan.fingerprint,
            plan.left_out,
        )


def _prepare_known_cameras(config: PrepareConfig) -> PrepareReport:
    config.check(known_cameras=True)
    asked = config.matte_options if config.asks_for_mattes else None
    return prepare_known_cameras(
        config.data,
        config.output_dir,
        class_name=config.class_name or "objects",
        mattes=asked,
        identity_file=config.identity,
        views=config.views,
        up=config.up,
        forward=config.forward,
        scale=config.world_scale,
        workers=config.workers,
    )


def prepare_shard(config: PrepareConfig, shard: Shard) -> ShardReport:
    """Capture one shard of the photographs, for `prepare` to continue from when all are done.

    Raises:
        UsageError: see `prepare`; or another shard was called with other options.
        NerfgenError: the output cannot be written.
    """
    if has_known_cameras(config.data):
        raise UsageError(
            f"--shard {shard}: the cameras of {config.data} are known, which leaves no work to divide; "
            "leave it out"
        )
    plan = Plan.of(config)
    folder = PreparedFolder(Path(config.output_dir))
    finished = _finished(folder, plan)
    if finished is not None:
        return ShardReport(shard, finished.accepted, len(finished.rejected), [])
    with folder.locked(shard):
        announce(folder.stores, plan.options, shard)
        plan = plan.with_given_landmarks(folder.stores)
        places = shard.part_of(range(len(plan.keys)))
        captures = _capture(plan, places, folder, shard, config.workers)
        note_finished(folder.stores, plan.options, shard)
        rejected = sum(capture.rejected for capture in captures)
        return ShardReport(shard, len(captures) - rejected, rejected, unfinished(folder.stores, shard.count))


def _finished(folder: PreparedFolder, plan: Plan) -> PrepareReport | None:
    """Return the report of a folder that already holds what the plan asks for; None if it does not."""
    finished = folder.finished_report(plan.fingerprint)
    if finished is None:
        return None
    paths = dict(zip(map(printable, plan.names), plan.photographs, strict=True))
    again = any(readable_now(paths[rejection.source], rejection.reason) for rejection in finished.rejected)
    return None if again else finished


def _capture(
    plan: Plan, places: Sequence[int], folder: PreparedFolder, shard: Shard | None, workers: int | None
) -> list[Capture]:
    """Return the captures of the photographs at `places`; make those that are not there yet."""
    known = folder.captures(shard)
    store = folder.store(shard)
    tasks = []
    for place in places:
        key, photograph = plan.keys[place], plan.photographs[place]
        if key not in known or readable_now(photograph, known[key].record.get("reason", "")):
            tasks.append((key, photograph, store.files(key)))
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
    landmarks: Float[np.ndarray, "n m 4"],
    centers: Float[np.ndarray, "n 2"],
    found: list[int],
    plan: Plan,
    config: PrepareConfig,
) -> CollectionFit:
    """Fit the cameras of the captured photographs, at the places `found`, and the shape of their class."""
    collection = Collection(
        landmarks=landmarks[..., :3],
        confidence=landmarks[..., 3],
        focal=np.full(len(found), plan.focal * config.size),
        center=centers,
        identity=None if plan.identity is None else plan.identity[found],
    )
    return fit_collection(collection, plan.scheme, config.focal_mode, plan.given)


def _frames(
    plan: Plan,
    captures: list[Capture],
    rows: dict[int, int],
    fit: CollectionFit,
    landmarks: Float[np.ndarray, "n m 4"],
    extents: Float[np.ndarray, " n"],
) -> Iterator[tuple[str, Capture, PlacedPhotograph | None]]:
    """Yield key and capture of every photograph, and a frame of those with a row of the fit in `rows`."""
    matrices = fit.cameras.camera_to_world()
    for place, (key, capture) in enumerate(zip(plan.keys, captures, strict=True)):
        row = rows.get(place)
        frame = None
        if row is not None:
            frame = PlacedPhotograph(
                source=plan.names[place],
                identity=place if plan.identity is None else int(plan.identity[place]),
                camera_to_world=matrices[row],
                focal=float(fit.cameras.focal[row]),
                center=fit.cameras.center[row],
                landmarks=_known(landmarks[row]),
                coefficients=fit.coefficients[row],
                reprojection_rmse=float(fit.error[row]),
                extent=float(extents[row]),
            )
        yield key, capture, frame


def _known(landmarks: Float[np.ndarray, "*n m 4"]) -> Float[np.ndarray, "*n m 2"]:
    """Return the pixels of the landmarks, NaN where one is missing."""
    return np.where(landmarks[..., 3:] > 0, landmarks[..., :2], np.nan)


def _extents(landmarks: Float[np.ndarray, "n m 4"], scheme: LandmarkScheme) -> Float[np.ndarray, " n"]:
    """Return the size of each object in pixels."""
    parts = []
    for first in range(0, len(landmarks), MEASURED_AT_ONCE):
        parts.append(scheme.extent(_known(landmarks[first : first + MEASURED_AT_ONCE])))
    return np.concatenate(parts).astype(np.float64)


def _check_enough(accepted: int, config: PrepareConfig, rejected: list[Rejection]) -> None:
    fewest = 1 if config.canonical_landmarks else FEWEST_PHOTOGRAPHS
    if accepted >= fewest:
        return
    why = "".join(f"; {line}" for line in by_reason(rejected)[:MOST_REASONS])
    if accepted == 0:
        raise NerfgenError(f"{config.data}: none of its {len(rejected)} photographs can be used{why}")
    raise NerfgenError(
        f"{config.data}: only {accepted} of its photographs can be used and a class needs at least {fewest}: "
        f"add more{why}"
    )
