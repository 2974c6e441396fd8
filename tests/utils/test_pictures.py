"""Contact sheets and videos: what they show, and that they appear whole or not at all."""

from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.utils.images import (
    GAP,
    LABEL_WIDTH,
    contact_sheet,
    data_url,
    depth_picture,
    enlarge,
    to_bytes,
    write_image,
    write_video,
)


def plain(color: tuple[int, int, int], size: int = 16) -> np.ndarray:
    return np.full((size, size, 3), color, dtype=np.uint8)


def test_colors_become_bytes_and_are_clamped() -> None:
    colors = torch.tensor([[[0.0, 1.0, 0.5], [-1.0, 2.0, 0.2]]])
    assert to_bytes(colors).tolist() == [[[0, 255, 128], [0, 255, 51]]]


def test_enlarged_images_keep_plain_colors() -> None:
    enlarged = enlarge(torch.full((3, 5, 3), 0.2), factor=2)
    assert enlarged.shape == (6, 10, 3)
    assert (enlarged == 51).all()


def test_depth_picture_tells_near_from_far_and_is_white_off_the_object() -> None:
    depth = torch.tensor([[[1.0], [2.0], [9.0]]])
    accumulation = torch.tensor([[[1.0], [1.0], [0.0]]])
    near, far, outside = depth_picture({"depth": depth, "accumulation": accumulation})[0].tolist()
    assert near != far
    assert outside == [255, 255, 255]


def test_depth_picture_of_nothing_is_plain() -> None:
    picture = depth_picture({"depth": torch.ones(2, 2, 1), "accumulation": torch.zeros(2, 2, 1)})
    assert (picture == 255).all()


def test_contact_sheet_has_a_row_for_each_name_and_a_column_for_each_identity() -> None:
    red, green, blue, gray = (200, 0, 0), (0, 200, 0), (0, 0, 200), (99, 99, 99)
    sheet = contact_sheet({"one": [plain(red), plain(green)], "two": [plain(blue), plain(gray)]})
    assert sheet.shape == (GAP + 2 * (16 + GAP), LABEL_WIDTH + 2 * (16 + GAP), 3)
    middles = [GAP + 8, GAP + 8 + 16 + GAP]
    columns = [LABEL_WIDTH + 8, LABEL_WIDTH + 8 + 16 + GAP]
    shown = [[tuple(sheet[row, column].tolist()) for column in columns] for row in middles]
    assert shown == [[red, green], [blue, gray]]
    assert sheet[:, :LABEL_WIDTH].min() < 100, "the labels are not there"


def test_video_holds_every_frame_in_order(tmp_path: Path) -> None:
    levels = [20, 120, 220, 60]
    write_video(tmp_path / "video.mp4", (plain((level, level, level), 32) for level in levels), fps=4)
    frames = imageio.imread(tmp_path / "video.mp4")
    assert frames.shape == (4, 32, 32, 3)
    assert frames.mean(axis=(1, 2, 3)) == pytest.approx(levels, abs=4)
    assert [path.name for path in tmp_path.iterdir()] == ["video.mp4"]


def test_an_interrupted_video_leaves_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_text("before")

    def frames() -> Iterator[np.ndarray]:
        yield plain((0, 0, 0), 32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "video.mp4", frames())
    assert (tmp_path / "video.mp4").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["video.mp4"]


def test_a_missing_ffmpeg_is_named_with_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_ffmpeg() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr("imageio_ffmpeg._io.get_ffmpeg_exe", no_ffmpeg)
    with pytest.raises(NerfgenError, match=r"video\.mp4: .*ffmpeg.*nerfgen doctor"):
        write_video(tmp_path / "video.mp4", [plain((0, 0, 0), 32)])
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(NerfgenError, match=r"file.picture\.png: "):
        write_image(tmp_path / "file/picture.png", plain((1, 2, 3)))


def test_images_are_read_back_as_written(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_image(tmp_path / "picture.png", image)
    np.testing.assert_array_equal(imageio.imread(tmp_path / "picture.png"), image)


def test_a_data_url_contains_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    kind, content = data_url(image).split(",")
    assert kind == "data:image/png;base64"
    np.testing.assert_array_equal(imageio.imread(b64decode(content), extension=".png"), image)
