from pathlib import Path

import pytest
import torch

import nerfgen_ns
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.run import load_run
from nerfgen_ns.shipped.model_file import HEADS, pack, unpack


def test_a_run_comes_out_of_its_file_as_it_went_in(trained_config: Path, tmp_path: Path):
    run = load_run(trained_config)
    pack(run, tmp_path / "model.safetensors")
    again = load_run(unpack(tmp_path / "model.safetensors", tmp_path / "run"))
    assert torch.equal(again.codes, run.codes)
    camera = run.cameras[:1]
    for name, output in run.render(1, camera).items():
        torch.testing.assert_close(again.render(1, camera)[name], output, rtol=0, atol=2e-3)
    torch.testing.assert_close(again.cameras.camera_to_worlds, run.cameras.camera_to_worlds)


def test_the_shipped_heads_are_small_and_differ_from_each_other(tmp_path: Path):
    assert HEADS.stat().st_size < 2e6
    heads = nerfgen_ns.load(unpack(HEADS, tmp_path / "heads"))
    assert len(heads.codes) == 256
    first, second = (heads.render(code, heads.camera(size=24)) for code in heads.codes[:2])
    assert 0.2 < float((first["accumulation"] > 0.5).float().mean()) < 0.9
    assert float((first["rgb"] - second["rgb"]).abs().mean()) > 0.03


@pytest.mark.parametrize("damage", [b"", b"not a model", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_a_damaged_file_ends_with_one_line(tmp_path: Path, damage: bytes):
    path = tmp_path / "model.safetensors"
    path.write_bytes(damage)
    with pytest.raises(NerfgenError, match=r"model\.safetensors: not a whole model file"):
        unpack(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
