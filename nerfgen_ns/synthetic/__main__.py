"""`python -m nerfgen_ns.synthetic`: write heads as a prepared folder."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.synthetic.dataset import write_dataset


@dataclass
class WriteHeads:
    """Write a prepared folder of procedural heads, with true cameras, mattes, depth and labels."""

    output_dir: Path
    """Folder to make. One that was made with the same options is left as it is."""
    identities: int = 256
    """How many heads."""
    views: int = 1
    """Images of each head: 1 makes a folder to train on, more a folder to test on."""
    size: int = 128
    """Width and height of the images in pixels."""
    seed: int = 0
    """Another seed makes other heads."""
    first_identity: int = 0
    """Number of the first head: a later start makes heads that a training folder does not hold."""


if __name__ == "__main__":
    options = tyro.cli(WriteHeads)
    try:
        print(write_dataset(**vars(options), progress=True))
    except NerfgenError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
