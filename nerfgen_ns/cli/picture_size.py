"""The option `--picture-size` of the commands that draw a contact sheet and a video."""

from nerfgen_ns.errors import UsageError


def check_picture_size(size: int) -> None:
    """See that pictures `size` pixels wide and high can be drawn, and filmed, which takes an even number.

    Raises:
        UsageError: they cannot.
    """
    if size < 16 or size % 2:
        raise UsageError(f"--picture-size must be even and at least 16, got {size}")
