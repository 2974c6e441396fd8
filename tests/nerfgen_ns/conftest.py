"""A run of nerfgen-tiny, a few steps long, on three small heads, and calls of the command line."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HEADS = 3


@pytest.fixture
def call_nerfgen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """A function that calls `nerfgen` with arguments and returns its exit status."""
    from nerfgen_ns.cli.main import entrypoint

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["nerfgen", *map(str, arguments)])
        try:
            entrypoint()
        except SystemExit as ended:
            assert ended.code is None or isinstance(ended.code, int)
            return ended.code or 0
        return 0

    return call


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of three heads, 32 pixels wide and high."""
    from nerfgen_ns.synthetic.dataset import write_dataset

    return write_dataset(tmp_path_factory.mktemp("heads") / "train", HEADS, size=32)


@pytest.fixture(scope="session")
def trained_config(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config.yml of a run on `heads`, which tests must leave as it is."""
    from tests.helpers.short_trainings import short_config, train

    return train(short_config(heads, tmp_path_factory.mktemp("outputs"), 4))
