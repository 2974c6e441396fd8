"""Tables that people give as CSV files, read row by row."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from nerfgen_ns.errors import UsageError


def read_csv(
    path: Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with a header: the line number, counted from 1, and each column's field, stripped.

    Optional columns that the file lacks are left out; empty lines are passed over. UTF-8, with or without a
    byte order mark; fields may be quoted.

    Raises:
        UsageError: the file cannot be read, lacks a column, has one that means nothing here, or a row has too
            few or too many fields.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.reader(file)
            header = [name.strip().lower() for name in next(rows, [])]
            known = [*columns, *optional]
            if not set(columns) <= set(header) <= set(known) or len(set(header)) != len(header):
                expected = ",".join(columns) + "".join(f"[,{name}]" for name in optional)
                raise UsageError(
                    f"{path}: row 1 is {','.join(header)!r}; it has to name the columns {expected}"
                )
            for fields in rows:
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise UsageError(
                        f"{path}: row {rows.line_num} has {len(fields)} fields and not {len(header)}: "
                        f"{','.join(header)}"
                    )
                yield rows.line_num, dict(zip(header, map(str.strip, fields), strict=True))
    except (OSError, csv.Error) as error:
        raise UsageError(f"{path}: not a readable CSV file ({error})") from error


def check_names(path: Path, rows: dict[str, str], names: Sequence[str]) -> None:
    """Make sure that every image that a file names is one of the photographs.

    Args:
        rows: where in the file each image is named first, for the message.
        names: of the photographs.

    Raises:
        UsageError: an image is none of them.
    """
    strange = sorted(rows.keys() - set(names))
    if strange:
        more = f", and {len(strange) - 1} more images" if len(strange) > 1 else ""
        raise UsageError(
            f"{path}: {rows[strange[0]]}: no photograph is named {strange[0]!r}{more}; write names of "
            f"photographs, such as {names[0]!r}"
        )
