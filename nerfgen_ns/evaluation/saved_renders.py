"""Every scored render on disk, so that anyone can compute the scores again with other tools."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from nerfgen_ns.files import replace_file
from nerfgen_ns.pictures import write_image

if TYPE_CHECKING:
    from nerfgen_ns.evaluation.renders import Render


class SavedRenders:
    """A folder of renders, for each test folder one within it.

    Each render is named after its photograph: NAME.png is the picture as it was judged, and NAME.npz holds
    `depth` (z-depth in the camera's frame, the class's units), `accumulation` and `normals` (as colours in
    [0, 1]), float32. Files of an earlier call are replaced.

    Args:
        folder: where; made when the first render is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, folder_name: str, render: Render) -> None:
        """Write one render.

        Raises:
            NerfgenError: it cannot be written.
        """
        stem = self.folder / folder_name / _name(render.file)
        write_image(stem.with_name(f"{stem.name}.png"), render.rgb)
        with replace_file(stem.with_name(f"{stem.name}.npz")) as temporary:
            np.savez_compressed(
                temporary,
                depth=render.depth.numpy(),
                accumulation=render.accumulation.numpy(),
                normals=render.normals.numpy(),
            )


def _name(file: str) -> str:
    """`images/0007.png` as `0007`; other folders become a part of the name, and none leads elsewhere."""
    parts = [part for part in PurePosixPath(file).with_suffix("").parts if part not in ("/", "..", ".")]
    return "-".join(parts[1:] if len(parts) > 1 and parts[0] == "images" else parts)
