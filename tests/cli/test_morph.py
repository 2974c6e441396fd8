"""`nerfgen morph`: what it films, and what is said where it cannot."""

from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from nerfgen_ns.cameras.trajectories import turned_cameras
from nerfgen_ns.latents.code_files import write_codes
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from nerfgen_ns.utils.images import to_bytes


@pytest.fixture(scope="module")
def run(trained_config: Path) -> Run:
    return load_run(trained_config)


@pytest.fixture
def call(call_nerfgen: Callable[..., int], trained_config: Path) -> Callable[..., int]:
    """Call the command with further options; gives its exit status."""

    def call(*options: object, load_config: Path = trained_config) -> int:
        return call_nerfgen("morph", "--load-config", load_config, "--size", 16, *options)

    return call


def frames_of(folder: Path) -> np.ndarray:
    return np.stack([iio.imread(path) for path in sorted(folder.iterdir())])


def test_a_standing_camera_sees_each_identity_in_turn(call, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "frames"
    options = ["--camera", "standing", "--frames", "5", "--output-path", str(path)]
    assert call("--identities", "2", "0", "1", *options) == 0
    camera = turned_cameras(run.cameras, np.zeros((1, 2)), 16)
    shown = frames_of(path)
    assert len(shown) == 5
    for frame, row in ((0, 2), (2, 0), (4, 1)):
        np.testing.assert_array_equal(shown[frame], to_bytes(run.render(run.code(row), camera)["rgb"]))


def test_a_turning_camera_moves_and_a_closed_morph_does_not_end_where_an_open_one_does(
    call, run: Run, tmp_path: Path
) -> None:
    options = ["--identities", "0", "0", "--frames", "4", "--output-path"]
    assert call(*options, str(tmp_path / "turning")) == 0
    assert call(*options, str(tmp_path / "standing"), "--camera", "standing") == 0
    turning, standing = frames_of(tmp_path / "turning"), frames_of(tmp_path / "standing")
    np.testing.assert_array_equal(turning[0], standing[0])
    assert (turning[1] != standing[1]).any() and (standing[1] == standing[0]).all()

    options = ["--identities", "0", "2", "--frames", "3", "--camera", "standing", "--closed", "--output-path"]
    assert call(*options, str(tmp_path / "closed")) == 0
    camera = turned_cameras(run.cameras, np.zeros((1, 2)), 16)
    last = to_bytes(run.render(run.code(2), camera)["rgb"])
    assert (frames_of(tmp_path / "closed")[2] != last).any()


def test_codes_from_files_follow_the_identities(call, run: Run, tmp_path: Path) -> None:
    file, path = tmp_path / "codes.npz", tmp_path / "frames"
    write_codes(file, run.codes[:2] + 0.5, ["anna", "otto"])
    options = ["--camera", "standing", "--frames", "2", "--kind", "spherical", "--output-path", str(path)]
    assert call("--identities", "1", "--codes", f"{file}:otto", *options) == 0
    camera = turned_cameras(run.cameras, np.zeros((1, 2)), 16)
    expected = to_bytes(run.render(run.codes[1:2] + 0.5, camera)["rgb"])
    assert np.abs(frames_of(path)[1].astype(int) - expected).max() <= 1
    assert call("--codes", str(file), *options) == 0


@pytest.mark.parametrize("name", ["morph.mp4", "morph.gif"])
def test_films_have_as_many_frames_as_asked_for(call, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert call("--identities", "0", "1", "--frames", "6", "--output-path", str(path)) == 0
    shown = list(iio.imiter(path))
    assert len(shown) == 6 and shown[0].shape[:2] == (16, 16)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--identities", "1"], "--identities"),
        ([], "--identities"),
        (["--identities", "0", "3"], "identity 3"),
        (["--codes", "other.npz"], "other.npz"),
        (["--codes", "missing.npz"], "missing.npz"),
        (["--codes", "own.npz:nobody"], "'nobody'"),
        (["--codes", "own.npz:0"], "--codes"),
        (["--identities", "0", "1", "2", "--frames", "2"], "--frames"),
        (["--identities", "0", "1", "--fps", "0"], "--fps"),
        (["--identities", "0", "1", "--size", "15"], "--size"),
        (["--identities", "0", "1", "--output-path", "morph.avi"], "morph.avi"),
    ],
)
def test_a_wrong_call_has_status_2_and_one_line_and_writes_nothing(
    call,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_codes(Path("other.npz"), run.codes[:, :5])
    write_codes(Path("own.npz"), run.codes)
    assert call("--output-path", "morph.mp4", *options) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"other.npz", "own.npz"}


@pytest.mark.parametrize("name", ["morph.mp4", "morph.gif", "frames"])
def test_an_unwritable_film_has_status_1(
    call, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "file").touch()
    assert call("--identities", "0", "1", "--output-path", str(tmp_path / "file" / name)) == 1
    assert f"file/{name}" in capsys.readouterr().err


def test_a_run_without_a_checkpoint_has_status_2(
    call, trained_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / Path(*trained_config.parent.parts[-3:]) / "config.yml"
    bare.parent.mkdir(parents=True)
    bare.write_bytes(trained_config.read_bytes())
    path = tmp_path / "morph.mp4"
    assert call("--identities", "0", "1", "--output-path", str(path), load_config=bare) == 2
    assert str(bare.parent) in capsys.readouterr().err
    assert not path.exists()
