"""Several photographs of one object: a CSV file that says whose photograph each is."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from nerfgen_ns.capture.csv_files import check_names, read_csv
from nerfgen_ns.capture.listing import names_in
from nerfgen_ns.errors import UsageError


def read_identity_file(
    path: Path, photographs: Sequence[Path], folder: Path | None = None
) -> Int[np.ndarray, "n"]:
    """The identity of each photograph, numbered from 0 in the order in which the photographs show them.

    The file has the columns `image` (name of a photograph, see `listing.name_in`) and `identity` (any name or
    number). A photograph that it does not list shows an object of its own.

    Args:
        folder: where the photographs are; None: they are called by their files' names alone.

    Raises:
        UsageError: the file is unreadable, names an image twice or one that is no photograph, or leaves an
            identity empty.
    """
    labels: dict[str, str] = {}
    rows: dict[str, str] = {}
    for number, row in read_csv(path, ("image", "identity")):
        image = row["image"]
        if not row["identity"]:
            raise UsageError(
                f"{path}: row {number}: {image!r} has no identity; give one or leave the row out"
            )
        if image in rows:
            raise UsageError(
                f"{path}: row {number}: {image!r} is listed in {rows[image]} already; leave one out"
            )
        labels[image], rows[image] = row["identity"], f"row {number}"
    names = names_in(folder, photographs)
    check_names(path, rows, names)
    numbers: dict[object, int] = {}
    return np.array(
        [
            # A photograph by itself is known by its place, which no text in the file can equal.
            numbers.setdefault(labels.get(name, place), len(numbers))
            for place, name in enumerate(names)
        ],
        dtype=np.int64,
    )
