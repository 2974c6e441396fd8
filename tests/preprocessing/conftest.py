"""Preparing without waiting: the landmark model, the matte model and the fit are stand-ins that take no time.

The files are all real.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.cameras.projection import Cameras
from nerfgen_ns.preprocessing import prepare as stages
from nerfgen_ns.preprocessing.camera_fitting.canonical_model import CanonicalModel
from nerfgen_ns.preprocessing.camera_fitting.fit import CollectionFit
from nerfgen_ns.preprocessing.landmarks import models
from nerfgen_ns.preprocessing.plan import Plan
from nerfgen_ns.preprocessing.prepare import PrepareConfig
from tests.helpers.prepared_contents import COUNT


@dataclass(frozen=True)
class MadeUpCapture:
    """Finds the same in a photograph whenever asked; nothing in the fourth. Tells which it was asked for."""

    asked: list[str]

    def __call__(self, photograph, files):
        self.asked.append(photograph.name)
        if photograph.name == "3.png":
            return {"reason": "no face was found", "mend": "use another"}
        seed = int.from_bytes(hashlib.sha256(photograph.name.encode()).digest()[:4], "big")
        generator = np.random.default_rng(seed)
        Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(files.image)
        Image.fromarray(generator.integers(0, 256, (4, 4), dtype=np.uint8)).save(files.matte)
        return {
            "landmarks": generator.uniform(0, 32, (468, 3)),
            "principal_point": generator.uniform(15, 17, 2).tolist(),
            "photograph_to_crop": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
            "notes": ["a remark"] if seed % 2 else [],
        }


def made_up_fit(rows, centers, found, plan, config):
    """Cameras of some kind, that depend on nothing but each row; the one of 1.png explains nothing."""
    count = len(rows)
    cameras = Cameras(
        np.tile(np.eye(3), (count, 1, 1)),
        np.array(rows[:, 0, :3], dtype=float),
        np.full(count, plan.focal * config.size),
        centers,
    )
    bad = np.array([hashlib.sha256(row.tobytes()).hexdigest() == made_up_fit.bad for row in rows])
    model = CanonicalModel.rigid(np.ones((468, 3)))
    return CollectionFit(cameras, model, np.zeros((count, 0)), np.where(bad, 1e9, 0.01))


@pytest.fixture
def asked(monkeypatch):
    """Names of the photographs that were captured, and everything slow replaced."""
    asked: list[str] = []
    plan_of = Plan.of
    monkeypatch.setattr(Plan, "of", lambda config: replace(plan_of(config), capture=MadeUpCapture(asked)))
    monkeypatch.setattr(stages, "_fit", made_up_fit)
    # Looking through all installed packages takes as long as the rest.
    monkeypatch.setattr(models, "entry_points", cache(models.entry_points))
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(b"1.png").digest()[:4], "big"))
    generator.integers(0, 256, (4, 4, 3), dtype=np.uint8), generator.integers(0, 256, (4, 4), dtype=np.uint8)
    rows = np.ones((468, 4), np.float32)
    rows[:, :3] = generator.uniform(0, 32, (468, 3))
    made_up_fit.bad = hashlib.sha256(rows.tobytes()).hexdigest()
    return asked


@pytest.fixture
def call(tmp_path, asked) -> Callable[..., PrepareConfig]:
    """A function that makes the options of a call with its output in a folder of the given name."""
    data = tmp_path / "photographs"
    data.mkdir()
    for number in range(COUNT):
        (data / f"{number}.png").write_bytes(b"photograph %d" % number)

    def config(name: str, **changes) -> PrepareConfig:
        options = {"data": data, "output_dir": tmp_path / name, "size": 32, "workers": 1}
        return PrepareConfig(**options | changes)

    return config
