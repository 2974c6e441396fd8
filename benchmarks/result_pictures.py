"""The pictures of docs/results.md: copies of what the benchmarks drew, small enough for a repository."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from nerfgen_ns.errors import UsageError
from nerfgen_ns.utils.files import replace_file

WIDEST = 1200
"""Pixels; a wider picture is made smaller."""


class ResultPictures:
    """A folder beside the page, with the pictures that the page shows."""

    def __init__(self, page: Path) -> None:
        self.folder = page.with_suffix("")

    def add(self, picture: Path, name: str, caption: str) -> str:
        """Copy a picture, and return the line of Markdown that shows it.

        Args:
            picture: the file; plots are taken as PNG, and with a `name` that ends in .jpg renders as JPEG.
            name: the copy's name.
            caption: what it shows.

        Raises:
            UsageError: there is no such picture.
            NerfgenError: the copy cannot be written.
        """
        try:
            with Image.open(picture) as file:
                image = file.convert("RGB")
        except OSError as error:
            raise UsageError(
                f"{picture}: not a readable picture ({error}); run its benchmark again"
            ) from error
        if image.width > WIDEST:
            image = image.resize((WIDEST, round(image.height * WIDEST / image.width)), Image.Resampling.BOX)
        with replace_file(self.folder / name) as temporary:
            image.save(temporary, quality=85, optimize=True)
        return f"![{caption}]({self.folder.name}/{name})"
