"""`nerfgen mesh`: objects of a run as files."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from nerfgen_ns.latents.code_files import write_codes
from nerfgen_ns.meshing.extraction import extract_mesh, save_mesh
from nerfgen_ns.meshing.field import object_field
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run


@pytest.fixture(scope="module")
def run(trained_config: Path) -> Run:
    return load_run(trained_config)


@pytest.fixture(scope="module")
def level(run: Run) -> float:
    """The hardly trained model is a fog: a density that a part of it exceeds."""
    positions = torch.rand(2000, 3) * 2.0 - 1.0
    return float(object_field(run.model, run.codes[0]).density(positions).quantile(0.7).detach())


@pytest.fixture
def call(call_nerfgen: Callable[..., int], trained_config: Path) -> Callable[..., int]:
    """Call the command with further options; gives its exit status."""
    return partial(call_nerfgen, "mesh", "--load-config", trained_config)


def test_meshes_points_and_voxels_of_an_identity(
    call: Callable[..., int], run: Run, level: float, tmp_path: Path
) -> None:
    shared = ("--identity", 1, "--resolution", 24, "--level", level)
    mesh_path, points_path, voxels_path = (tmp_path / name for name in ("a.ply", "b.ply", "c.npz"))
    assert call(*shared, "--output-path", mesh_path) == 0
    expected = extract_mesh(object_field(run.model, run.codes[1]), 24, level=level, cameras=run.cameras)
    read = trimesh.load(mesh_path, process=False)
    np.testing.assert_array_equal(read.vertices, expected.vertices)
    np.testing.assert_array_equal(read.visual.vertex_colors[:, :3], expected.visual.vertex_colors[:, :3])
    assert read.is_watertight

    assert call(*shared, "--kind", "points", "--points", 50, "--output-path", points_path) == 0
    assert trimesh.load(points_path).vertices.shape == (50, 3)
    assert call(*shared, "--kind", "voxels", "--output-path", voxels_path) == 0
    with np.load(voxels_path, allow_pickle=False) as arrays:
        assert arrays["occupancy"].shape == (24, 24, 24)
        assert arrays["color"].dtype == np.uint8


def test_the_object_is_chosen_by_identity_by_code_or_is_the_mean(
    call: Callable[..., int], run: Run, level: float, tmp_path: Path
) -> None:
    codes = tmp_path / "codes.npz"
    write_codes(codes, run.codes + 0.1 * torch.randn_like(run.codes), ["anna", "bert", "carl"])
    only = tmp_path / "only.npz"
    write_codes(only, run.codes[:1])
    shared = ("--resolution", 16, "--level", level, "--output-path")
    choices: dict[str, tuple[object, ...]] = {
        "mean": (),
        "identity": ("--identity", 1),
        "named": ("--code", f"{codes}:bert"),
        "row": ("--code", f"{codes}:1"),
        "only": ("--code", only),
    }
    files = {}
    for name, choice in choices.items():
        assert call(*shared, tmp_path / f"{name}.ply", *choice) == 0
        files[name] = (tmp_path / f"{name}.ply").read_bytes()
    assert files["named"] == files["row"]
    assert len(set(files.values())) == 4
    save_mesh(run.model, run.model.latent_table.mean(), tmp_path / "saved.ply", 16, run.cameras, level)
    assert (tmp_path / "saved.ply").read_bytes() == files["mean"]


@pytest.mark.parametrize(
    ("arguments", "status", "named"),
    [
        (("--output-path", "a.stl"), 2, "--output-path a.stl"),
        (("--output-path", "a.npz"), 2, "--kind voxels"),
        (("--output-path", "a.ply", "--kind", "voxels"), 2, "--kind mesh"),
        (("--output-path", "a.ply", "--texture", "512"), 2, "--texture"),
        (("--output-path", "a.ply", "--identity", "3"), 2, "identity 3"),
        (("--output-path", "a.ply", "--identity", "-1"), 2, "identity -1"),
        (("--output-path", "a.ply", "--identity", "1", "--code", "c.npz"), 2, "--identity"),
        (("--output-path", "a.ply", "--code", "absent.npz"), 2, "absent.npz"),
        (("--output-path", "a.ply", "--code", "codes.npz"), 2, "--code codes.npz"),
        (("--output-path", "a.ply", "--code", "codes.npz:dora"), 2, "anna, bert, carl"),
        (("--output-path", "a.ply", "--code", "small.npz:0"), 2, "small.npz"),
        (("--output-path", "a.ply", "--resolution", "4096"), 2, "resolution 4096"),
        (("--output-path", "a.ply", "--level", "1e6"), 1, "1e+06"),
        (("--output-path", "codes.npz/a.ply", "--level", "LEVEL"), 1, "codes.npz/a.ply"),
    ],
)
def test_a_wrong_call_is_one_line_and_writes_nothing(
    call: Callable[..., int],
    level: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    status: int,
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_codes(Path("codes.npz"), torch.randn(3, 96), ["anna", "bert", "carl"])
    write_codes(Path("small.npz"), torch.randn(3, 7))
    before = sorted(tmp_path.iterdir())
    arguments = tuple(str(level) if argument == "LEVEL" else argument for argument in arguments)
    assert call("--resolution", "16", *arguments) == status
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("nerfgen: ") and named in error
    assert sorted(tmp_path.iterdir()) == before
