"""Test folders of the three heads of the tests' run, and of people that it has never seen."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Frames = list[dict[str, Any]]


@pytest.fixture(scope="session")
def seen_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three further views of each of the heads that train; their roles are one `query` and two `target`."""
    from nerfgen_ns.synthetic.dataset import write_dataset

    return write_dataset(tmp_path_factory.mktemp("tests") / "seen", 3, views=3, size=32)


@pytest.fixture(scope="session")
def new_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three views of each of two further heads."""
    from nerfgen_ns.synthetic.dataset import write_dataset

    return write_dataset(tmp_path_factory.mktemp("tests") / "new", 2, views=3, size=32, first_identity=3)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """A function that makes a test folder like another, its frames changed."""

    def change(folder: Path, edit: Callable[[Frames], Frames], name: str = "changed") -> Path:
        transforms = json.loads((folder / "transforms.json").read_text())
        for frame in transforms["frames"]:
            for key in ("file_path", "mask_path", "depth_path", "semantic_path"):
                frame[key] = str(folder / frame[key])
        transforms["frames"] = edit(transforms["frames"])
        (tmp_path / name).mkdir()
        (tmp_path / name / "transforms.json").write_text(json.dumps(transforms))
        return tmp_path / name

    return change
