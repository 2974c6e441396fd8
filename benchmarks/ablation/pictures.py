"""What the variants of an ablation look like: renders of the models alone, no photograph."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from nerfgen_ns.cameras.trajectories import turned_cameras, usual_angles
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.utils.images import contact_sheet, to_bytes

YAWS = (-40.0, 0.0, 40.0)
LABEL_CHARACTERS = 17


def variants_sheet(
    configs: Mapping[str, Path], identities: Sequence[int], size: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a row for each variant: every identity turned to three sides, and its normals turned to the last.

    Args:
        configs: the config.yml of a run by the variant's name.
        identities: as the data numbers them.
        size: width and height of each render in pixels.
    """
    sheet = {}
    for name, load_config in configs.items():
        run = load_run(load_config)
        rows = run.record.row_of_identity
        _, pitch = usual_angles(run.cameras)
        cameras = turned_cameras(run.cameras, np.array([[yaw, pitch] for yaw in YAWS]), size)
        pictures = []
        for identity in identities:
            code = run.code(rows[identity])
            renders = [run.render(code, cameras[view : view + 1]) for view in range(len(YAWS))]
            pictures += [to_bytes(outputs["rgb"]) for outputs in renders]
            pictures.append(to_bytes(renders[-1]["normals"]))
        sheet[textwrap.fill(name, LABEL_CHARACTERS, break_on_hyphens=False)] = pictures
    return contact_sheet(sheet)
