"""Films as .mp4, .gif or a folder of frames."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.utils.images import check_film, write_film


def frames(count: int = 5) -> list[np.ndarray]:
    shades = np.linspace(0, 255, count).astype(np.uint8)
    return [np.full((32, 32, 3), shade, dtype=np.uint8) for shade in shades]


@pytest.mark.parametrize("name", ["film.mp4", "film.gif", "film"])
def test_a_film_shows_its_frames_in_order(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_film(path, iter(frames()), fps=20)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    if path.is_dir():
        files = sorted(path.iterdir())
        assert [file.name for file in files] == [f"frame_{number:05d}.png" for number in range(5)]
        shown = np.stack([iio.imread(file) for file in files])
    else:
        shown = np.stack(list(iio.imiter(path)))
    assert np.abs(shown[..., :3].astype(int) - np.stack(frames())).max() <= 4
    if name == "film.gif":
        assert iio.immeta(path)["duration"] == 50


@pytest.mark.parametrize("name", ["film.mp4", "film.gif", "film"])
def test_a_film_that_breaks_off_leaves_the_one_before(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_film(path, frames(3), fps=20)

    def breaking_off():
        yield from frames(2)
        raise KeyboardInterrupt

    before = sorted((file, file.stat().st_size) for file in tmp_path.rglob("*") if file.is_file())
    with pytest.raises(KeyboardInterrupt):
        write_film(path, breaking_off(), fps=20)
    assert sorted((file, file.stat().st_size) for file in tmp_path.rglob("*") if file.is_file()) == before


@pytest.mark.parametrize(
    ("name", "size", "named"),
    [
        ("film.avi", 64, "/film.avi: "),
        ("film.mp4", 65, "--size.* 65"),
        ("film.gif", 8, "--size.* 8"),
        ("folder.gif", 64, "/folder.gif: "),
    ],
)
def test_a_film_that_cannot_be_is_refused(tmp_path: Path, name: str, size: int, named: str) -> None:
    (tmp_path / "folder.gif").mkdir()
    with pytest.raises(UsageError, match=named):
        check_film(tmp_path / name, size)


def test_odd_sizes_are_fine_where_no_video_is_encoded(tmp_path: Path) -> None:
    check_film(tmp_path / "film.gif", 65)
    check_film(tmp_path / "film", 65)


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match=f"{tmp_path}: "):
        write_film(tmp_path, frames(), fps=20)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["film.mp4", "film.gif", "film"])
def test_an_unwritable_place_is_named_before_a_frame_is_made(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()

    def never():
        pytest.fail("a frame was made")
        yield

    with pytest.raises(NerfgenError, match=f"/file/{name}: "):
        write_film(tmp_path / "file" / name, never(), fps=20)
