import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from safetensors import safe_open
from safetensors.torch import save

import nerfgen_ns
from nerfgen_ns.class_model import ClassModel
from nerfgen_ns.cli import sample
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.runs.code_runs import unpack
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.pack import HEADS, read_thumbnails, write_pack
from nerfgen_ns.runs.run import Run


@pytest.fixture
def packed(trained_config: Path, tmp_path: Path) -> Path:
    write_pack(load_run(trained_config), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def check_same(made: Run, run: Run) -> None:
    assert torch.equal(made.codes, run.codes)
    camera = run.cameras[:1]
    for name, output in run.render(run.code(1), camera).items():
        torch.testing.assert_close(made.render(made.code(1), camera)[name], output, rtol=0, atol=2e-3)


def test_a_run_comes_out_of_its_file_as_it_went_in(
    trained_config: Path, packed: Path, tmp_path: Path
) -> None:
    run, again = load_run(trained_config), load_run(packed)
    check_same(again, run)
    assert (again.step, again.method_name, again.model_fingerprint) == (
        run.step,
        run.method_name,
        run.model_fingerprint,
    )
    for name in ("camera_to_worlds", "fx", "fy", "cx", "cy", "width", "height"):
        torch.testing.assert_close(getattr(again.cameras, name), getattr(run.cameras, name))
    assert again.record.identities == run.record.identities
    assert again.record.canonical_landmarks == run.record.canonical_landmarks
    check_same(load_run(unpack(packed, tmp_path / "run")), run)


def test_a_file_names_nobody(trained_config: Path, packed: Path) -> None:
    run = load_run(trained_config)
    record = replace(run.record, identities=["Alice", "Bob", "Carol"])
    write_pack(replace(run, record=record), packed)
    assert b"Alice" not in packed.read_bytes()
    assert load_run(packed).record.identities == [0, 1, 2]


def test_a_file_shows_no_photograph_and_no_place_unless_asked(trained_config: Path, packed: Path) -> None:
    run, contents = load_run(trained_config), packed.read_bytes()
    assert read_thumbnails(packed) is None
    assert str(run.data).encode() not in contents and run.record.sources[0].encode() not in contents
    with pytest.raises(UsageError, match=r"model\.safetensors"):
        load_run(packed).open_photographs()
    write_pack(run, packed, thumbnails=True)
    thumbnails = read_thumbnails(packed)
    assert thumbnails is not None and thumbnails.shape == (3, 32, 32, 3)


def test_every_command_with_load_config_takes_the_file(
    packed: Path, tmp_path: Path, call_nerfgen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pack(load_run(packed), tmp_path / "again.safetensors")
    monkeypatch.setattr(sample, "FRAMES", 4)
    options = ["--output-dir", tmp_path / "new", "--num-samples", 2, "--picture-size", 16]
    assert call_nerfgen("sample", "--load-config", packed, *options) == 0
    options = ["--output-path", tmp_path / "m.mp4", "--size", 16, "--frames", 4]
    assert call_nerfgen("morph", "--load-config", packed, "--identities", 0, 1, *options) == 0


def test_the_python_class_saves_it(trained_config: Path, tmp_path: Path) -> None:
    faces = nerfgen_ns.load(trained_config)
    faces.save(tmp_path / "faces.safetensors")
    check_same(nerfgen_ns.load(tmp_path / "faces.safetensors").run, faces.run)
    with pytest.raises(UsageError, match=r"faces\.pt"):
        faces.save(tmp_path / "faces.pt")


@pytest.fixture(scope="module")
def shipped() -> ClassModel:
    return nerfgen_ns.load(HEADS)


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
def test_a_damaged_file_ends_with_one_line(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(damage)
    with pytest.raises(NerfgenError, match=r"model\.safetensors"):
        unpack(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda header, tensors: tensors.pop("model.latent_table.codes.weight"),
        lambda header, tensors: tensors.update({"model.latent_table.codes.weight": torch.zeros(9, 9)}),
        lambda header, tensors: tensors.pop("record.fx"),
        lambda header, tensors: header["model"].update(latent_dim="many"),
        lambda header, tensors: header["model"].update(latent_dim=0),
        lambda header, tensors: header["model"]["foreground"].update(num_layers=10**6),
        lambda header, tensors: header["model"]["foreground"].update(hidden_dim=16_000),
        lambda header, tensors: header["model"]["sampler"].update(grid_resolution=800),
        lambda header, tensors: header["model"].update(foreground=5),
        lambda header, tensors: header.update(downscale_factor=0),
        lambda header, tensors: header.update(step=[1]),
        lambda header, tensors: tensors["record.camera_to_worlds"].fill_(float("nan")),
        lambda header, tensors: tensors.update({"record.rows": torch.tensor(1)}),
        lambda header, tensors: header["record"].update(format=99),
        lambda header, tensors: header.update(format=99),
        lambda header, tensors: header.pop("model"),
    ],
)
def test_a_file_that_lacks_something_or_was_tampered_with_is_refused(packed: Path, change: Any) -> None:
    with safe_open(packed, "pt") as file:
        header = json.loads(file.metadata()["nerfgen"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    packed.with_name("changed.safetensors").write_bytes(save(tensors, {"nerfgen": json.dumps(header)}))
    with pytest.raises(NerfgenError, match=r"changed\.safetensors"):
        load_run(packed.with_name("changed.safetensors"))
