"""`python -m nerfgen_ns.synthetic`: write an embedded class as a prepared folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nerfgen_ns.errors import exit_with_one_line
from nerfgen_ns.synthetic import ClassName
from nerfgen_ns.synthetic.dataset import write_dataset
from nerfgen_ns.utils.console import show_on_any_console


@dataclass
class WriteClass:
    """Write a prepared folder of procedural objects with their true cameras, mattes, depth and labels.

    Training folders of cars have neither mattes nor depth nor labels: a white background is enough there.
    """

    output_dir: Path
    """Folder to make. One that was made with the same options is left as it is."""
    class_name: Annotated[ClassName, tyro.conf.arg(name="class")] = "heads"
    """The class of the objects."""
    identities: int = 256
    """How many objects."""
    views: int = 1
    """Images of each object: 1 makes a folder to train on, more a folder to test on."""
    size: int = 128
    """Width and height of the images in pixels."""
    seed: int = 0
    """Another seed makes other objects."""
    first_identity: int = 0
    """Number of the first object: a later start makes objects that a training folder does not hold."""


if __name__ == "__main__":
    show_on_any_console()
    with exit_with_one_line():
        print(write_dataset(**vars(tyro.cli(WriteClass)), progress=True))
