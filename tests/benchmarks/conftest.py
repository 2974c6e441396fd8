"""A folder of small heads, a test folder of the same heads, and a run that has hardly begun."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `train` of four heads, and `test` of two views of each of the same."""
    from nerfgen_ns.synthetic.dataset import write_dataset

    folder = tmp_path_factory.mktemp("heads")
    write_dataset(folder / "train", 4, size=32)
    write_dataset(folder / "test", 4, views=2, size=32)
    return folder


@pytest.fixture(scope="session")
def begun_run(small_heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config.yml of a run of two steps on the four heads, which tests must leave as it is."""
    from tests.helpers.short_trainings import short_config, train

    return train(short_config(small_heads / "train", tmp_path_factory.mktemp("runs") / "begun", 2))
