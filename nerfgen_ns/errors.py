"""The errors that reach a person: one line that names the input and the fix."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class NerfgenError(Exception):
    """The work failed. A command that raises it ends with exit status 1."""

    exit_status = 1


class UsageError(NerfgenError):
    """The call was wrong. A command that raises it ends with exit status 2."""

    exit_status = 2


def check_at_least(option: str, value: float, least: float) -> None:
    """Do nothing if the number that an option gives is large enough.

    Raises:
        UsageError: it is below `least`.
    """
    if value < least:
        raise UsageError(f"{option} {value}: give {least} or more")


def check_options(
    config: object, prefix: str, lowest: Mapping[str, float], highest: Mapping[str, float] | None = None
) -> None:
    """Do nothing if the numbers of a config are large enough; those that are None are skipped.

    Args:
        config: holds the numbers.
        prefix: what its options begin with on the command line, for messages.
        lowest: the smallest value of each field.
        highest: the largest value of some fields: beyond it a file asks for more memory than there is.

    Raises:
        UsageError: one is smaller or larger; the line names its option.
    """
    for name, least in lowest.items():
        if (value := getattr(config, name)) is not None:
            option, most = f"{prefix}.{name.replace('_', '-')}", (highest or {}).get(name, math.inf)
            check_at_least(option, value, least)
            if not value <= most:
                raise UsageError(f"{option} {value}: give {most} or less")


@contextmanager
def exit_with_one_line() -> Iterator[None]:
    """Run the block, and turn a NerfgenError into one line on stderr and its exit status.

    Use it where a command of nerfstudio's calls this package; the command would print a traceback instead.
    """
    try:
        yield
    except NerfgenError as error:
        print(f"nerfgen: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from error


def check_picture_size(size: int) -> None:
    """Check that pictures `size` pixels wide and high can be drawn, and filmed, which needs an even number.

    Raises:
        UsageError: they cannot.
    """
    if size < 16 or size % 2:
        raise UsageError(f"--picture-size must be even and at least 16, got {size}")
