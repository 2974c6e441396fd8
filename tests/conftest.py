"""Small data for the tests: random images, mattes and cameras in a prepared folder."""

import inspect
import json
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

MakePrepared = Callable[..., Path]
HEADS = 3
"""Heads of the small run."""

# A test and what it starts take one core each, so that several can run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)
# In the background of a script interruptions are ignored, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def frames_without_source(context: int = 0) -> list[inspect.FrameInfo]:
    """What `inspect.stack` returns, without lines of code."""
    return [
        inspect.FrameInfo(frame, frame.f_code.co_filename, line, frame.f_code.co_name, None, None)
        for frame, line in traceback.walk_stack(sys._getframe(1))
    ]


# nerfstudio's list of methods asks for the stack at each method that could be installed: with the source of
# each frame, that takes several seconds this deep in pytest.
stack_with_source, inspect.stack = inspect.stack, frames_without_source


def pytest_collection_finish() -> None:
    """From here on the stack has its source."""
    inspect.stack = stack_with_source


LONGEST = (
    "test_end_to_end.py", "test_distributed.py", "test_demo.py", "test_browser.py", "test_prepare_sources.py",
    "test_ablate.py", "test_prepare_resume.py", "test_options.py", "test_collection_fit.py",
    "test_throughput.py", "test_code_fit.py", "test_prepare_folder.py", "test_trainer.py",
)  # fmt: skip
"""Files that take a quarter of a minute or more, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, so that the last worker is not left alone with one of them."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same random numbers in every run of a test, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def make_prepared(tmp_path: Path) -> MakePrepared:
    """A function that writes a prepared folder of random images, one object each, and returns it."""

    def make(
        sizes: list[tuple[int, int]] | None = None,
        *,
        name: str = "prepared",
        mattes: bool = True,
        alpha: bool = False,
        identities: list[int] | None = None,
        shared_intrinsics: bool = False,
    ) -> Path:
        """Write images of the given (width, height); `identities` None leaves the key out."""
        random = np.random.default_rng(0)
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        (folder / "mattes").mkdir()
        frames: list[dict[str, Any]] = []
        sizes = sizes or [(12, 12)] * 4
        for place, (width, height) in enumerate(sizes):
            pixels = random.integers(0, 256, (height, width, 4 if alpha else 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"images/{place:04d}.png")
            frame: dict[str, Any] = {
                "file_path": f"images/{place:04d}.png",
                "transform_matrix": camera_to_world(0.3 * place - 0.4),
                "fl_x": 2.1 * width,
                "fl_y": 2.2 * height,
                "cx": 0.5 * width + 0.3,
                "cy": 0.5 * height - 0.2,
                "w": width,
                "h": height,
            }
            if mattes:
                matte = random.integers(0, 256, (height, width), dtype=np.uint8)
                Image.fromarray(matte).save(folder / f"mattes/{place:04d}.png")
                frame["mask_path"] = f"mattes/{place:04d}.png"
            if identities is not None:
                frame["identity"] = identities[place]
            frames.append(frame)
        transforms: dict[str, Any] = {"camera_model": "OPENCV", "frames": frames}
        if shared_intrinsics:
            for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
                transforms[key] = frames[0][key]
                for frame in frames:
                    del frame[key]
        (folder / "transforms.json").write_text(json.dumps(transforms))
        return folder

    return make


def camera_to_world(yaw: float, distance: float = 2.7) -> list[list[float]]:
    """OpenGL camera-to-world of a camera that looks at the origin from `yaw` radians right of +z."""
    sine, cosine = math.sin(yaw), math.cos(yaw)
    return [
        [cosine, 0.0, sine, distance * sine],
        [0.0, 1.0, 0.0, 0.0],
        [-sine, 0.0, cosine, distance * cosine],
        [0.0, 0.0, 0.0, 1.0],
    ]


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


@pytest.fixture(scope="session")
def labeled_config(trained_config: Path, heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config.yml of that run with labels of two of its heads, which tests must leave as it is."""
    from tests.helpers.labeled_runs import label_run

    return label_run(trained_config, heads, tmp_path_factory.mktemp("labels"))


@pytest.fixture(scope="session")
def distilled_config(trained_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config.yml of that run with features of its heads, which tests must leave as it is."""
    from tests.helpers.feature_runs import distill_run

    return distill_run(trained_config, tmp_path_factory.mktemp("features"))
