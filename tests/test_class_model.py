import json
from pathlib import Path

import pytest
import torch

import nerfgen_ns
from nerfgen_ns.class_model import ClassModel
from nerfgen_ns.errors import UsageError
from nerfgen_ns.inversion.config import FitConfig
from nerfgen_ns.runs.code_runs import unpack
from nerfgen_ns.runs.pack import HEADS


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> ClassModel:
    return nerfgen_ns.load(HEADS)


def test_a_render_has_every_output_at_the_size_of_its_camera(shipped: ClassModel):
    outputs = shipped.render(shipped.codes[0], shipped.camera(yaw=20.0, pitch=5.0, size=16))
    channels = {"rgb": 3, "foreground": 3, "background": 3, "normals": 3, "accumulation": 1, "depth": 1}
    assert {name: outputs[name].shape for name in channels} == {
        name: (16, 16, count) for name, count in channels.items()
    }


def test_positive_yaw_stands_at_the_objects_left(shipped: ClassModel):
    assert float(shipped.camera(yaw=30.0).camera_to_worlds[0, 0, 3]) > 0.5


def test_a_morph_begins_and_ends_at_its_ends_and_samples_repeat(shipped: ClassModel):
    first, second = shipped.sample(2, seed=3)
    for kind in ("linear", "spherical"):
        torch.testing.assert_close(shipped.morph(first, second, 0.0, kind), first, atol=1e-5, rtol=0)
        torch.testing.assert_close(shipped.morph(first, second, 1.0, kind), second, atol=1e-5, rtol=0)
    assert torch.equal(shipped.sample(2, seed=3)[0], first)


def test_a_fitted_photograph_is_found_again_among_the_identities(shipped: ClassModel, tmp_path: Path):
    photographs = unpack(HEADS, tmp_path / "run").parent / "data"
    transforms = json.loads((photographs / "transforms.json").read_text())
    transforms["frames"] = transforms["frames"][:32]
    (photographs / "transforms.json").write_text(json.dumps(transforms))
    found = shipped.fit([photographs], FitConfig(steps=60, search_cameras=False))
    distances = torch.cdist(found.codes, shipped.codes)
    assert (distances.argmin(dim=1) == torch.arange(32)).sum() >= 10  # chance: 0.13


def test_a_mesh_is_closed_and_lies_in_the_class_frame(shipped: ClassModel, tmp_path: Path):
    import trimesh

    shipped.save_mesh(shipped.codes[0], tmp_path / "head.ply", resolution=32)
    mesh = trimesh.load(tmp_path / "head.ply")
    assert mesh.is_watertight
    assert abs(mesh.bounds).max() <= 1.0 + 2 / 32


def test_what_is_no_run_is_named():
    with pytest.raises(UsageError, match=r"nowhere\.yml"):
        nerfgen_ns.load("nowhere.yml")
