"""A folder of small heads, a test folder of the same heads, and a run that has hardly begun."""

import copy
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
    from nerfgen_ns.configs import nerfgen_tiny

    config = copy.deepcopy(nerfgen_tiny.config)
    config.pipeline.datamanager.data = small_heads / "train"
    config.output_dir = tmp_path_factory.mktemp("runs") / "begun"
    config.experiment_name, config.timestamp = "ablate", "run"
    config.max_num_iterations, config.vis = 2, "tensorboard"
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.train()
    return config.get_base_dir() / "config.yml"
