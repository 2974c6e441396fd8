"""The tests' run with labels, from the label maps of its own heads."""

import json
import shutil
from pathlib import Path

from nerfgen_ns.dataset_format.label_maps import Legend
from nerfgen_ns.semantics.config import LabelConfig
from nerfgen_ns.semantics.labeling import label

FEW = LabelConfig(steps=20, rays=512, most_rays=3000, hidden_dim=8)
"""A head that is trained in a second."""


def write_masks(heads: Path, folder: Path, numbers: tuple[int, ...] = (0, 1, 2)) -> Path:
    """Write a folder of the label maps of some heads of a prepared folder, named as their photographs."""
    transforms = json.loads((heads / "transforms.json").read_text())
    folder.mkdir(parents=True)
    Legend.of_names(transforms["semantic_labels"]).write(folder)
    for number in numbers:
        frame = transforms["frames"][number]
        shutil.copyfile(heads / frame["semantic_path"], folder / Path(frame["file_path"]).name)
    return folder


def label_run(config: Path, heads: Path, folder: Path, numbers: tuple[int, ...] = (0, 1)) -> Path:
    """Label a run in a folder; the labeled run's config.yml."""
    masks = write_masks(heads, folder / "masks", numbers)
    return label(config, masks, folder / "labeled", FEW).config
