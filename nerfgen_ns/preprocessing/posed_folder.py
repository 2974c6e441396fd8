"""A collection with known cameras becomes a prepared folder: photographs, cameras, mattes if it has any."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from PIL import Image

from nerfgen_ns.dataset_format.frame import Frame
from nerfgen_ns.dataset_format.transforms import TRANSFORMS, write_transforms
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.preprocessing.listing import read_identity_file
from nerfgen_ns.preprocessing.mattes import MatteOptions, MatteSource, read_matte
from nerfgen_ns.preprocessing.photographs import RejectedError, read_alpha, read_photograph, stamp_of
from nerfgen_ns.preprocessing.posed_images import Axis, KnownCameras, in_class_frame, read_known_cameras
from nerfgen_ns.preprocessing.report.prepare_report import (
    PAGE,
    PrepareReport,
    Rejection,
    inspect_folder,
    printable,
    write_report_page,
)
from nerfgen_ns.preprocessing.store import CaptureFiles
from nerfgen_ns.preprocessing.workers import capture_many
from nerfgen_ns.utils.console import progress_over
from nerfgen_ns.utils.files import hash_of, read_json, replace_file, replace_folder, write_json

FORMAT = 3
"""Increase this when existing folders must not be used any more."""
LOOKED_AT = 16
"""Number of photographs, evenly spread, that show whether the alpha channel is used."""


@dataclass(frozen=True)
class ConvertPhotograph:
    """Photograph and matte as a prepared folder has them; see `workers.CaptureOne`."""

    mattes: MatteOptions
    """Where the mattes come from, if not from `matte_files`."""
    matte_files: Path | None = None
    """JSON file that maps each photograph's path to that of its matte."""

    def __call__(self, photograph: Path, files: CaptureFiles) -> dict[str, Any]:
        """Write both; return `width` and `height`, or `reason` and `mend` of what cannot be used."""
        try:
            image = read_photograph(photograph)
            written = {files.image: image}
            if self.matte_files is not None:
                matte_file = Path(_read_matte_files(self.matte_files)[str(photograph)])
                written[files.matte] = read_matte(matte_file, photograph, image)
            elif (source := _open_mattes(self.mattes)) is not None:
                written[files.matte] = source.of_photograph(photograph, image)
        except RejectedError as rejected:
            return {"reason": rejected.reason, "mend": rejected.mend}
        for target, array in written.items():
            with replace_file(target) as temporary:
                Image.fromarray(array).save(temporary, compress_level=1)
        return {"width": image.shape[1], "height": image.shape[0]}


@lru_cache(maxsize=1)
def _open_mattes(options: MatteOptions) -> MatteSource | None:
    return options.open()


@lru_cache(maxsize=1)
def _read_matte_files(path: Path) -> dict[str, str]:
    return dict(read_json(path))


def prepare_known_cameras(
    data: Path,
    output_dir: Path,
    class_name: str = "objects",
    mattes: MatteOptions | None = None,
    identity_file: Path | None = None,
    views: int | None = None,
    up: Axis | None = None,
    forward: Axis | None = None,
    scale: float | None = None,
    workers: int | None = None,
) -> PrepareReport:
    """Make a prepared folder of a collection with known cameras, see `posed_images`; nothing is cropped.

    The folder appears when it is complete. One that was made of the same photographs with the same options is
    left as it is; one made of others is replaced.

    Args:
        mattes: None: those that the collection names, or else its alpha channel if that is not all opaque, or
            else none. A solid background needs none.
        identity_file: the identity of each photograph, see `read_identity_file`; None: the collection has it.
        views: at most this many photographs of each object.
        up, forward, scale: see `WorldConvention`; None: as usual for the collection's form.
        workers: worker processes; None: one for each processor.

    Raises:
        UsageError: a camera, a matte or an option is wrong, or `output_dir` holds something else.
        NerfgenError: no photograph can be used, or the folder cannot be written.
    """
    data, output_dir = Path(data), Path(output_dir)
    inside, outside = output_dir.resolve(), data.resolve()
    if inside == outside or inside in outside.parents or outside in inside.parents:
        raise UsageError(f"{output_dir}: overlaps with the photographs in {data}; choose one beside them")
    known = read_known_cameras(data, views)
    asked: dict[str, Any] = {"up": up, "forward": forward, "scale": scale}
    given = {name: value for name, value in asked.items() if value is not None}
    known = in_class_frame(known, replace(known.convention, **given))
    identities = _identities(known, identity_file)
    named = sum(matte is not None for matte in known.mattes)
    if mattes is None and named not in (0, len(known)):
        bare = known.where([matte is None for matte in known.mattes].index(True))
        raise UsageError(f"{bare}: has no mask_path, but {named} frames have; give one to each or to none")
    from_files = mattes is None and named > 0
    options = MatteOptions("none") if from_files else mattes or _mattes_of(known.images)
    names = [image.name for image in known.images]
    if options.folder is not None and len(set(names)) < len(names):
        raise UsageError("--matte-folder: several photographs have the same name; take other --mattes")
    if mattes is not None:
        options.check(known.images)
    fingerprint = _fingerprint(known, identities, options, class_name)
    finished = _finished(output_dir, fingerprint)
    if finished is not None:
        return finished
    with replace_folder(output_dir, _is_prepared) as making:
        matte_files = making / "matte_files.json" if from_files else None
        if matte_files is not None:
            pairs = zip(known.images, known.mattes, strict=True)
            write_json(matte_files, {str(image): str(matte) for image, matte in pairs})
        records = _convert(known, making, ConvertPhotograph(options, matte_files), workers)
        if matte_files is not None:
            matte_files.unlink()
        report = _write(known, identities, records, data, making, class_name, fingerprint)
    return replace(report, path=output_dir / "report.json")


def _identities(known: KnownCameras, identity_file: Path | None) -> Int[np.ndarray, " n"]:
    if identity_file is None:
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(name, len(numbers)) for name in known.objects])
    names = [image.name for image in known.images]
    if len(set(names)) < len(names):
        raise UsageError(
            f"{identity_file}: several photographs have the same name; give every object a folder of its own"
        )
    return read_identity_file(identity_file, known.images)


def _mattes_of(images: Sequence[Path]) -> MatteOptions:
    """Choose the alpha channel if an even selection of the photographs shows that it is used, else none."""
    for image in images[:: max(1, len(images) // LOOKED_AT)]:
        try:
            alpha = read_alpha(image)
        except RejectedError:
            continue
        if alpha is not None and alpha.min() < 255:
            return MatteOptions("alpha")
    return MatteOptions("none")


def _convert(
    known: KnownCameras, making: Path, convert: ConvertPhotograph, workers: int | None
) -> list[dict[str, Any]]:
    digits = max(4, len(str(len(known) - 1)))
    tasks = []
    for row, image in enumerate(known.images):
        name = f"{row:0{digits}d}.png"
        tasks.append((name, image, CaptureFiles(making / "images" / name, making / "mattes" / name)))
    records: dict[str, dict[str, Any]] = {}
    with progress_over("photographs", len(tasks)) as advance:
        for name, record in capture_many(tasks, convert, workers):
            records[name] = record
            advance()
    return [records[name] | {"name": name} for name, _, _ in tasks]


def _write(
    known: KnownCameras,
    identities: Int[np.ndarray, " n"],
    records: list[dict[str, Any]],
    data: Path,
    making: Path,
    class_name: str,
    fingerprint: str,
) -> PrepareReport:
    frames: list[Frame] = []
    rejected: list[Rejection] = []
    numbers: dict[int, int] = {}
    for row, record in enumerate(records):
        source = printable(str(known.images[row].relative_to(data)))
        if "reason" in record:
            rejected.append(Rejection(source, record["reason"], record["mend"]))
            continue
        fl_x, fl_y, cx, cy, width, height = known.intrinsics[row].tolist()
        across, down = record["width"] / width, record["height"] / height
        matte = f"mattes/{record['name']}"
        frames.append(
            Frame(
                file_path=f"images/{record['name']}",
                mask_path=matte if (making / matte).exists() else None,
                transform_matrix=known.poses[row].round(9),
                fl_x=fl_x * across, fl_y=fl_y * down, cx=cx * across, cy=cy * down,
                w=record["width"], h=record["height"],
                distortion=known.distortion[row],
                identity=numbers.setdefault(int(identities[row]), len(numbers)),
                source=source,
            )
        )  # fmt: skip
    if not frames:
        raise NerfgenError(
            f"{data}: none of its {len(rejected)} photographs can be used; {rejected[0].source}: "
            f"{rejected[0].reason}; {rejected[0].mend}"
        )
    write_transforms(making, frames, {"class_name": class_name})
    inspection = inspect_folder(making, [entry.reason for entry in rejected])
    report = PrepareReport(
        making / "report.json", len(frames), len(numbers), rejected, concerns=inspection.concerns
    )
    report.write(report.path, fingerprint)
    write_report_page(making, inspection)
    return report


def _fingerprint(
    known: KnownCameras, identities: Int[np.ndarray, " n"], mattes: MatteOptions, class_name: str
) -> str:
    parts: list[bytes | str] = [repr((FORMAT, mattes, class_name, known.distortion))]
    parts += [array.tobytes() for array in (known.poses, known.intrinsics, identities)]
    for image, matte in zip(known.images, known.mattes, strict=True):
        for path in (image, matte or mattes.file_of(image)):
            if path is not None:
                parts.append(f"{path}|{stamp_of(path)}")
    return hash_of(parts)


def _finished(folder: Path, fingerprint: str) -> PrepareReport | None:
    """Read a finished run's report with this fingerprint; raise a UsageError for any other kind of folder."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not _is_prepared(folder):
        raise UsageError(
            f"{folder}: holds something that `nerfgen prepare` did not make; choose another --output-dir"
        )
    return PrepareReport.read(folder / "report.json", fingerprint) if (folder / PAGE).is_file() else None


def _is_prepared(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("report.json", TRANSFORMS))
