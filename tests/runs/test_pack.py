from pathlib import Path

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType

import nerfgen_ns
from nerfgen_ns.class_model import ClassModel
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.pretrained import HEADS, pack, unpack


def test_a_run_comes_out_of_its_file_as_it_went_in(trained_config: Path, tmp_path: Path):
    run = load_run(trained_config)
    pack(run, tmp_path / "model.safetensors")
    again = load_run(unpack(tmp_path / "model.safetensors", tmp_path / "run"))
    assert torch.equal(again.codes, run.codes)
    camera = run.cameras[:1]
    for name, output in run.render(run.code(1), camera).items():
        torch.testing.assert_close(again.render(again.code(1), camera)[name], output, rtol=0, atol=2e-3)
    torch.testing.assert_close(again.cameras.camera_to_worlds, run.cameras.camera_to_worlds)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> ClassModel:
    return nerfgen_ns.load(unpack(HEADS, tmp_path_factory.mktemp("shipped") / "heads"))


def test_the_shipped_heads_are_small_and_differ_from_each_other(shipped: ClassModel):
    assert HEADS.stat().st_size < 2e6
    heads = shipped
    assert len(heads.codes) == 256
    first, second = (heads.render(code, heads.camera(size=24)) for code in heads.codes[:2])
    assert 0.2 < float((first["accumulation"] > 0.5).float().mean()) < 0.9
    assert float((first["rgb"] - second["rgb"]).abs().mean()) > 0.03


@pytest.mark.parametrize(
    "kind",
    [
        "EQUIRECTANGULAR",
        "FISHEYE",
        "OMNIDIRECTIONALSTEREO_L",
        "OMNIDIRECTIONALSTEREO_R",
        "VR180_L",
        "VR180_R",
    ],
)
def test_panoramas_and_stereo_show_a_head_in_the_middle(shipped: ClassModel, kind: str):
    width, height = 128, 64
    is_fisheye = kind == "FISHEYE"
    camera = Cameras(
        camera_to_worlds=shipped.camera().camera_to_worlds,
        # nerfstudio gives what shows all around these focal lengths.
        fx=float(height) if is_fisheye else 0.5 * width,
        fy=float(height),
        cx=0.5 * width,
        cy=0.5 * height,
        width=width,
        height=height,
        camera_type=CameraType[kind],
        metadata={"cam_idx": 3},
    )
    outputs = shipped.run.model.get_outputs_for_camera(camera)
    assert outputs["rgb"].shape == (height, width, 3) and outputs["rgb"].isfinite().all()
    solid = outputs["accumulation"][..., 0] > 0.5
    rows, columns = solid.nonzero(as_tuple=True)
    assert abs(float(columns.float().mean()) - width / 2) < 0.04 * width
    assert abs(float(rows.float().mean()) - height / 2) < 0.15 * height
    assert 0.003 < float(solid.float().mean()) < 0.5
    assert not solid[:, :4].any() and not solid[:, -4:].any()


@pytest.mark.parametrize("damage", [b"", b"not a model", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_a_damaged_file_ends_with_one_line(tmp_path: Path, damage: bytes):
    path = tmp_path / "model.safetensors"
    path.write_bytes(damage)
    with pytest.raises(NerfgenError, match=r"model\.safetensors: not a whole model file"):
        unpack(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
