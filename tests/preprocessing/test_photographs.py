import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.listing import list_photographs
from nerfgen_ns.preprocessing.photographs import LONGEST_SIDE, RejectedError, read_photograph


@pytest.fixture
def picture():
    rows, columns = np.mgrid[:80, :120]
    return Image.fromarray(np.stack([2 * columns, 3 * rows, 0 * rows + 50], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, picture, orientation):
    undo = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}
    stored = picture
    for operation in undo.get(orientation, []):
        stored = stored.transpose(Image.Transpose(operation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_photograph(tmp_path / "a.png"), np.asarray(picture))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1", "I;16", "I", "F"])
def test_every_mode_becomes_rgb_of_the_same_brightness(tmp_path, picture, mode):
    path = tmp_path / ("a.tif" if mode in ("CMYK", "I", "F") else "a.png")
    gray = np.asarray(picture.convert("L"))
    if mode == "I;16":
        Image.fromarray(gray.astype(np.uint16) * 257).save(path)
    elif mode == "I":
        Image.fromarray(gray.astype(np.int32) * 257).save(path)
    elif mode == "F":
        Image.fromarray(gray.astype(np.float32) / 255).save(path)
    else:
        picture.convert(mode).save(path)
    photograph = read_photograph(path)
    assert photograph.shape == (80, 120, 3) and photograph.dtype == np.uint8
    assert np.asarray(Image.fromarray(photograph).convert("L")).mean() == pytest.approx(gray.mean(), abs=2)


def test_transparency_is_laid_over_white(tmp_path, picture):
    picture.putalpha(Image.new("L", picture.size, 0))
    picture.save(tmp_path / "a.png")
    assert (read_photograph(tmp_path / "a.png") == 255).all()


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_huge_photographs_are_read_small(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (8000, 6000), "red").save(path)
    assert read_photograph(path).shape == (LONGEST_SIDE * 6 // 8, LONGEST_SIDE, 3)


def test_unusable_files_are_rejected_with_reason_and_mend(tmp_path, picture):
    (tmp_path / "text.jpg").write_text("this is no image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    Image.new("RGB", (1, 1)).save(tmp_path / "tiny.png")
    picture.resize((600, 400)).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "head.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    for name in ("text.jpg", "empty.jpg", "tiny.png", "truncated.jpg", "head.png"):
        with pytest.raises(RejectedError) as caught:
            read_photograph(tmp_path / name)
        assert caught.value.reason and caught.value.mend
    with pytest.raises(RejectedError, match="1×1"):
        read_photograph(tmp_path / "tiny.png")


def test_listing_takes_photographs_by_name_and_passes_over_the_rest(tmp_path):
    for name in ("b ü.JPG", "a.jpeg", "a.png", ".hidden.jpg", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert [path.name for path in list_photographs(tmp_path)] == ["a.jpeg", "a.png", "b ü.JPG"]


def test_an_empty_or_missing_folder_is_a_wrong_call_that_names_the_suffixes(tmp_path):
    with pytest.raises(UsageError, match=rf"^{tmp_path}: .*\.jpg"):
        list_photographs(tmp_path)
    with pytest.raises(UsageError, match="nowhere"):
        list_photographs(tmp_path / "nowhere")
